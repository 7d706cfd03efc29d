package acceptance_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// authorization signs a call the way NIP-98 says. change may spoil the event before it is signed.
func authorization(t testing.TB, k *housetest.Key, u, body string, at int64, change ...func(*nostr.Event)) string {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	ev := &nostr.Event{Kind: 27235, CreatedAt: nostr.Timestamp(at), Tags: nostr.Tags{
		{"u", u}, {"method", "POST"}, {"payload", hex.EncodeToString(sum[:])},
	}}
	for _, c := range change {
		c(ev)
	}
	if err := ev.Sign(k.Secret); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	return "Nostr " + base64.StdEncoding.EncodeToString(raw)
}

// calls counts, so that no two calls of one second are signed alike.
var calls = make(chan int, 1)

func init() { calls <- 0 }

func fresh(ev *nostr.Event) {
	n := <-calls
	calls <- n + 1
	ev.Tags = append(ev.Tags, nostr.Tag{"nonce", string(rune('a'+n%26)) + strings.Repeat("x", n/26)})
}

type rpc struct {
	Result json.RawMessage
	Error  string
}

// manage makes a call of NIP-86 as its clients do, and returns the answer.
func manage(t testing.TB, h *housetest.House, k *housetest.Key, method string, params ...any) (int, rpc) {
	t.Helper()
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(map[string]any{"method": method, "params": params})
	if err != nil {
		t.Fatal(err)
	}
	// nak names the relay by its WebSocket URL.
	resp, text := h.Do(http.MethodPost, "/", strings.NewReader(string(body)), "Content-Type", "application/nostr+json+rpc",
		"Authorization", authorization(t, k, h.RelayURL(), string(body), h.Clock.Now().Unix(), fresh))
	housetest.CORS(t, method, resp.Header)
	if ct := resp.Header.Get("Content-Type"); ct != "application/nostr+json+rpc" {
		t.Errorf("%s: content type %q", method, ct)
	}
	var out rpc
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%s: %d %q: %v", method, resp.StatusCode, text, err)
	}
	return resp.StatusCode, out
}

// does makes a call that has to succeed, and returns its result as text.
func does(t testing.TB, h *housetest.House, k *housetest.Key, method string, params ...any) string {
	t.Helper()
	status, out := manage(t, h, k, method, params...)
	if status != http.StatusOK || out.Error != "" {
		t.Fatalf("%s %v: %d %q", method, params, status, out.Error)
	}
	return string(out.Result)
}

// check 270, N-044: a call is let in by a NIP-98 event of an operator for this server and this very
// body, once and in time; else it is 401 with the headers that browsers need, 403 for somebody who
// is no operator, and never 5xx.
func TestManagementIsForOperators(t *testing.T) {
	t.Parallel()
	owner, admin, mallory := housetest.NewKey(t), housetest.NewKey(t), housetest.NewKey(t)
	h := housetest.Start(t, func(c *config.Config) {
		c.Owner = grasp.PubKey(owner.Pub)
		c.Admin.Keys = []grasp.PubKey{grasp.PubKey(admin.Pub)}
	})
	for _, k := range []*housetest.Key{owner, admin} {
		if got := does(t, h, k, "supportedmethods"); !strings.Contains(got, `"banpubkey"`) {
			t.Errorf("supportedmethods: %s", got)
		}
	}
	if status, out := manage(t, h, mallory, "supportedmethods"); status != http.StatusForbidden || out.Error == "" {
		t.Errorf("a stranger gets %d %+v", status, out)
	}
	secret, err := os.ReadFile(filepath.Join(h.Data(), "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	self := &housetest.Key{Secret: strings.TrimSpace(string(secret))}
	body := `{"method":"supportedmethods","params":[]}`
	call := func(header string) *http.Response {
		t.Helper()
		resp, text := h.Do(http.MethodPost, "/", strings.NewReader(body), "Content-Type", "application/nostr+json+rpc", "Authorization", header)
		housetest.CORS(t, "a call", resp.Header)
		if resp.StatusCode == http.StatusUnauthorized {
			if !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Nostr") || !strings.Contains(text, `"error"`) {
				t.Errorf("401 with %q and %q", resp.Header.Get("WWW-Authenticate"), text)
			}
		}
		return resp
	}
	now := func() int64 { return h.Clock.Now().Unix() }
	for _, u := range []string{h.URL, h.URL + "/", h.RelayURL(), "https://" + h.Host, "wss://" + strings.Replace(h.Host, "127.0.0.1", "LOCALHOST", 1) + "/"} {
		if resp := call(authorization(t, self, u, body, now(), fresh)); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", u, resp.StatusCode)
		}
	}
	good := authorization(t, owner, h.URL, body, now(), fresh)
	if resp := call(good); resp.StatusCode != http.StatusOK {
		t.Fatalf("a good call gets %d", resp.StatusCode)
	}
	tag := func(name, value string) func(*nostr.Event) {
		return func(ev *nostr.Event) {
			for i := range ev.Tags {
				if ev.Tags[i][0] == name {
					ev.Tags[i][1] = value
				}
			}
		}
	}
	without := func(name string) func(*nostr.Event) {
		return func(ev *nostr.Event) {
			ev.Tags = slices.DeleteFunc(ev.Tags, func(t nostr.Tag) bool { return t[0] == name })
		}
	}
	sign := func(at int64, change ...func(*nostr.Event)) string {
		return authorization(t, owner, h.URL, body, at, append(change, fresh)...)
	}
	spoil := func(header string, f func(map[string]any)) string {
		raw, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(header, "Nostr "))
		var ev map[string]any
		if err := json.Unmarshal(raw, &ev); err != nil {
			t.Fatal(err)
		}
		f(ev)
		raw, _ = json.Marshal(ev)
		return "Nostr " + base64.StdEncoding.EncodeToString(raw)
	}
	for name, header := range map[string]string{
		"nothing":           "",
		"a password":        "Basic YTpi",
		"no base64":         "Nostr !!!",
		"no JSON":           "Nostr " + base64.StdEncoding.EncodeToString([]byte("{")),
		"an empty object":   "Nostr e30=",
		"null":              "Nostr bnVsbA==",
		"used before":       good,
		"another kind":      sign(now(), func(ev *nostr.Event) { ev.Kind = 1 }),
		"another server":    sign(now(), tag("u", "https://elsewhere.example/")),
		"another path":      sign(now(), tag("u", h.URL+"/x")),
		"another scheme":    sign(now(), tag("u", "ftp://"+h.Host)),
		"no u":              sign(now(), without("u")),
		"GET":               sign(now(), tag("method", "GET")),
		"no method":         sign(now(), without("method")),
		"another body":      sign(now(), tag("payload", strings.Repeat("0", 64))),
		"no payload":        sign(now(), without("payload")),
		"no tags":           sign(now(), func(ev *nostr.Event) { ev.Tags = nostr.Tags{{}, {"u"}} }),
		"too old":           sign(now() - 70),
		"too new":           sign(now() + 70),
		"a wrong signature": spoil(sign(now()), func(ev map[string]any) { ev["sig"] = strings.Repeat("0", 128) }),
		"a wrong id":        spoil(sign(now()), func(ev map[string]any) { ev["id"] = strings.Repeat("0", 64) }),
		"another author":    spoil(sign(now()), func(ev map[string]any) { ev["pubkey"] = admin.Pub }),
		"a short pubkey":    spoil(sign(now()), func(ev map[string]any) { ev["pubkey"] = "ab" }),
		"tags of numbers":   spoil(sign(now()), func(ev map[string]any) { ev["tags"] = []any{[]any{1}} }),
	} {
		if resp := call(header); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d, want 401", name, resp.StatusCode)
		}
	}
	// What the body says is looked at only when it is known whose it is.
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"no JSON":       {"{", 400},
		"a list":        {"[]", 400},
		"nothing":       {"", 400},
		"null":          {"null", 400},
		"no method":     {`{"params":[]}`, 400},
		"many params":   {`{"method":"x","params":[` + strings.Repeat("1,", 100) + `1]}`, 400},
		"large":         {strings.Repeat(" ", 65<<10), 413},
		"no such thing": {`{"method":"nothing","params":[]}`, 200},
		"no params":     {`{"method":"banpubkey"}`, 200},
		"null params":   {`{"method":"banpubkey","params":[null,null]}`, 200},
		"odd params":    {`{"method":"banpubkey","params":[{"a":1},7]}`, 200},
		"no key":        {`{"method":"banpubkey","params":["npub1x"]}`, 200},
		"odd kind":      {`{"method":"disallowkind","params":[1.5]}`, 200},
		"large kind":    {`{"method":"disallowkind","params":[1e30]}`, 200},
		"our kind":      {`{"method":"disallowkind","params":[30617]}`, 200},
		"odd address":   {`{"method":"blockip","params":["localhost"]}`, 200},
		"this computer": {`{"method":"blockip","params":["::ffff:127.0.0.1"]}`, 200},
		"everybody":     {`{"method":"blockip","params":["0.0.0.0/0"]}`, 200},
		"two lines":     {`{"method":"changerelayname","params":["a\nb"]}`, 200},
		"an odd icon":   {`{"method":"changerelayicon","params":["javascript:alert(1)"]}`, 200},
		"an odd reason": {`{"method":"banevent","params":["` + strings.Repeat("a", 64) + `","\u202e"]}`, 200},
	} {
		resp, text := h.Do(http.MethodPost, "/", strings.NewReader(c.body), "Content-Type", "application/nostr+json+rpc; charset=utf-8",
			"Authorization", authorization(t, owner, h.URL, c.body, now(), fresh))
		if resp.StatusCode != c.status || !strings.Contains(text, `"error":"`) {
			t.Errorf("%s: %d %s, want %d with an error", name, resp.StatusCode, text, c.status)
		}
		housetest.CORS(t, name, resp.Header)
	}
	if resp, _ := h.Do(http.MethodOptions, "/", nil, "Access-Control-Request-Headers", "authorization,content-type"); resp.StatusCode != http.StatusNoContent {
		t.Errorf("OPTIONS: %d", resp.StatusCode)
	}
	if got := does(t, h, owner, "listbannedevents"); got != "[]" {
		t.Errorf("a call that failed did something: %s", got)
	}
	// Within the window an event cannot be used again, and after it is too old.
	h.Clock.Advance(2 * time.Minute)
	if resp := call(good); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("used much later: %d", resp.StatusCode)
	}
}

// N-044, G01-109: the methods of NIP-86, in the forms in which their clients send and read them;
// what is decided holds at once, on the relay, for git and on the pages, and outlives a restart.
func TestManagement(t *testing.T) {
	t.Parallel()
	owner, alice, bob := housetest.NewKey(t), housetest.NewKey(t), housetest.NewKey(t)
	h := housetest.Start(t, func(c *config.Config) { c.Owner = grasp.PubKey(owner.Pub); c.Admin.Listen = "127.0.0.1:0" })
	c := h.Dial()
	now := time.Now().Unix()
	h.Served(c, alice, "hello", now-100)
	issue := bob.Sign(1621, now-50, "it does not work", nostr.Tag{"a", housetest.Coordinate(alice, "hello")})
	c.Accepted(issue)

	// Every method that is offered is known, and none else.
	want := []string{"allowevent", "allowkind", "allowpubkey", "banevent", "banpubkey", "blockip", "changerelaydescription", "changerelayicon",
		"changerelayname", "disallowkind", "listallowedkinds", "listallowedpubkeys", "listbannedevents", "listbannedpubkeys", "listblockedips",
		"listdisallowedkinds", "supportedmethods", "unallowpubkey", "unbanpubkey", "unblockip"}
	var methods []string
	if err := json.Unmarshal([]byte(does(t, h, owner, "supportedmethods")), &methods); err != nil || !slices.Equal(methods, want) {
		t.Errorf("methods %v, %v", methods, err)
	}
	for _, list := range []string{"listallowedkinds", "listallowedpubkeys", "listbannedevents", "listbannedpubkeys", "listblockedips", "listdisallowedkinds"} {
		if got := does(t, h, owner, list); got != "[]" {
			t.Errorf("%s: %s on a new server, want []", list, got)
		}
	}

	// An event goes, and stays away until it is allowed again.
	if got := does(t, h, owner, "banevent", issue.ID, "rude"); got != "true" {
		t.Errorf("banevent: %s", got)
	}
	c.Hides(issue)
	c.Refused(issue, "blocked: this server does not take this event: rude")
	if got := does(t, h, owner, "listbannedevents"); got != `[{"id":"`+issue.ID+`","reason":"rude"}]` {
		t.Errorf("listbannedevents: %s", got)
	}
	does(t, h, owner, "allowevent", issue.ID)
	c.Accepted(issue)

	// A key.
	does(t, h, owner, "banpubkey", bob.Pub, "spam")
	c.Hides(issue)
	c.Refused(issue, "blocked: this server takes nothing from this key: spam")
	c.Refused(h.Announcement(bob, "his", 0), "spam")
	if got := does(t, h, owner, "listbannedpubkeys"); got != `[{"pubkey":"`+bob.Pub+`","reason":"spam"}]` {
		t.Errorf("listbannedpubkeys: %s", got)
	}
	// A refusal costs no signature: a forged event of that key is refused for the key.
	forged := bob.Sign(1, 0, "x")
	forged.Sig = forged.Sig[:126] + "00"
	c.Refused(forged, "blocked:")
	if n := h.Metric("gitroost_relay_bad_signatures_total"); n != 0 {
		t.Errorf("%v signatures were looked at in vain", n)
	}
	if n := h.Metric(`gitroost_moderation_refused_total{about="author",source="table"}`); n < 3 {
		t.Errorf("%v refusals are counted", n)
	}
	if n := h.Metric(`gitroost_moderation_rules{about="author",action="deny"}`); n != 1 {
		t.Errorf("%v rules are counted", n)
	}
	h.Restart(nil)
	c = h.Dial()
	c.Refused(issue, "spam")
	does(t, h, owner, "unbanpubkey", bob.Npub)
	c.Accepted(issue)

	// Kinds.
	does(t, h, owner, "disallowkind", 1621)
	c.Hides(issue)
	if got := does(t, h, owner, "listdisallowedkinds"); got != "[1621]" {
		t.Errorf("listdisallowedkinds: %s", got)
	}
	does(t, h, owner, "allowkind", 1621) // lifts it, and begins no list
	if got := does(t, h, owner, "listallowedkinds"); got != "[]" {
		t.Errorf("listallowedkinds: %s", got)
	}
	c.Accepted(issue)
	does(t, h, owner, "allowkind", 1621)
	if got := does(t, h, owner, "listallowedkinds"); got != "[1621]" {
		t.Errorf("listallowedkinds: %s", got)
	}
	patch := bob.Sign(1617, now-40, "diff", nostr.Tag{"a", housetest.Coordinate(alice, "hello")})
	c.Refused(patch, "blocked: this server takes the kinds of its own list only")
	c.Must(h.Announcement(alice, "another", 0)) // what the server is made of is on every list
	does(t, h, owner, "disallowkind", 1621)
	does(t, h, owner, "allowkind", 1621)
	c.Must(patch)

	// The list of those whose repositories are taken (check 255), and what the document says of it
	// (check 114).
	document := func() map[string]any {
		t.Helper()
		_, body := h.Get("/", "Accept", "application/nostr+json")
		var doc map[string]any
		if err := json.Unmarshal([]byte(body), &doc); err != nil {
			t.Fatal(err)
		}
		return doc
	}
	open := document()
	if open["curation"] != nil || open["repo_acceptance_criteria"] == "" {
		t.Errorf("an open server says %v", open)
	}
	does(t, h, owner, "allowpubkey", alice.Pub, "a friend")
	c.Refused(h.Announcement(bob, "new", 0), "restricted:")
	c.Must(h.Announcement(alice, "new", 0))
	if doc := document(); doc["curation"] == nil || doc["curation"] == "" || doc["repo_acceptance_criteria"] == open["repo_acceptance_criteria"] {
		t.Errorf("a server with a list says %v", doc)
	}
	if got := does(t, h, owner, "listallowedpubkeys"); got != `[{"pubkey":"`+alice.Pub+`","reason":"a friend"}]` {
		t.Errorf("listallowedpubkeys: %s", got)
	}
	does(t, h, owner, "banpubkey", alice.Pub, "no friend any more")
	if resp, body := h.Get(h.Repo(alice, "hello") + "/info/refs?service=git-upload-pack"); resp.StatusCode != 404 || !strings.Contains(body, "no friend any more") {
		t.Errorf("a closed repository answers %d %q", resp.StatusCode, body)
	}
	if resp, body := h.Get(h.Repo(alice, "hello")); resp.StatusCode != 404 || !strings.Contains(body, "no friend any more") {
		t.Errorf("the page of a closed repository answers %d %q", resp.StatusCode, body)
	}
	does(t, h, owner, "unbanpubkey", alice.Pub)
	does(t, h, owner, "unallowpubkey", alice.Pub)
	c.Must(h.Announcement(bob, "new", 0))

	// What the server says of itself.
	does(t, h, owner, "changerelayname", "The <Nest>")
	does(t, h, owner, "changerelaydescription", "For birds & co.")
	does(t, h, owner, "changerelayicon", "https://example.com/nest.png")
	for range 2 {
		doc := document()
		if doc["name"] != "The <Nest>" || doc["description"] != "For birds & co." || doc["icon"] != "https://example.com/nest.png" {
			t.Errorf("the document says %v", doc)
		}
		if nips, _ := json.Marshal(doc["supported_nips"]); !strings.Contains(string(nips), "86") {
			t.Errorf("NIPs %s", nips)
		}
		if _, page := h.Get("/", "Accept", "text/html"); !strings.Contains(page, "The &lt;Nest&gt;") || !strings.Contains(page, "For birds &amp; co.") {
			t.Errorf("the page does not say so")
		}
		h.Restart(nil)
	}
	does(t, h, owner, "changerelayname", "")
	if doc := document(); doc["name"] != "gitroost" {
		t.Errorf("the name of the configuration is not back: %v", doc["name"])
	}
}

// Addresses: a blocked one is let in nowhere, what it had open is closed, and loopback never is
// blocked. Who a visitor is says a trusted proxy.
func TestBlockedAddresses(t *testing.T) {
	t.Parallel()
	owner := housetest.NewKey(t)
	h := housetest.Start(t, func(c *config.Config) {
		c.Owner = grasp.PubKey(owner.Pub)
		loaded, err := config.Load(config.Sources{Flags: []string{"--trusted_proxies=127.0.0.1"}})
		if err != nil {
			t.Fatal(err)
		}
		c.TrustedProxies = loaded.Config.TrustedProxies
	})
	from := func(ip, path string) int {
		t.Helper()
		resp, _ := h.Get(path, "X-Forwarded-For", ip)
		housetest.CORS(t, path, resp.Header)
		return resp.StatusCode
	}
	if got := from("192.0.2.7", "/"); got != 200 {
		t.Fatalf("before: %d", got)
	}
	does(t, h, owner, "blockip", "192.0.2.7", "a scraper")
	does(t, h, owner, "blockip", "2001:db8::/32")
	if got := does(t, h, owner, "listblockedips"); got != `[{"ip":"192.0.2.7","reason":"a scraper"},{"ip":"2001:db8::/32","reason":""}]` {
		t.Errorf("listblockedips: %s", got)
	}
	for ip, want := range map[string]int{"192.0.2.7": 403, "192.0.2.8": 200, "2001:db8:1::5": 403, "2001:db9::5": 200, "::ffff:192.0.2.7": 403, "127.0.0.1": 200} {
		if got := from(ip, "/"); got != want {
			t.Errorf("%s: %d, want %d", ip, got, want)
		}
	}
	resp, body := h.Get("/x/info/refs", "X-Forwarded-For", "192.0.2.7")
	if resp.StatusCode != 403 || !strings.Contains(body, "does not serve your address: a scraper") {
		t.Errorf("git: %d %q", resp.StatusCode, body)
	}
	resp, _ = h.Get("/", "X-Forwarded-For", "192.0.2.7", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	if resp.StatusCode != 403 {
		t.Errorf("a WebSocket: %d", resp.StatusCode)
	}
	if _, out := manage(t, h, owner, "blockip", "127.0.0.1"); !strings.Contains(out.Error, "cannot be blocked") {
		t.Errorf("loopback can be blocked: %+v", out)
	}
	does(t, h, owner, "unblockip", "192.0.2.7")
	if got := from("192.0.2.7", "/"); got != 200 {
		t.Errorf("after: %d", got)
	}
}

// G01-109: keys and kinds that the configuration denies are refused, and the table cannot take such a
// rule back.
func TestConfiguredRules(t *testing.T) {
	t.Parallel()
	owner, alice, bob := housetest.NewKey(t), housetest.NewKey(t), housetest.NewKey(t)
	h := housetest.Start(t, func(c *config.Config) {
		c.Owner = grasp.PubKey(owner.Pub)
		c.Authors.Deny = []grasp.PubKey{grasp.PubKey(bob.Pub)}
		c.Kinds.Deny = []int{1622}
	})
	c := h.Dial()
	h.Served(c, alice, "hello", time.Now().Unix()-100)
	c.Refused(bob.Sign(1621, 0, "x", nostr.Tag{"a", housetest.Coordinate(alice, "hello")}), "blocked: this server takes nothing from this key")
	c.Refused(alice.Sign(1622, 0, "x", nostr.Tag{"a", housetest.Coordinate(alice, "hello")}), "blocked: this server does not take events of kind 1622")
	if _, out := manage(t, h, owner, "unbanpubkey", bob.Pub); !strings.Contains(out.Error, "comes from the configuration") {
		t.Errorf("a rule of the configuration is taken back: %+v", out)
	}
	if got := does(t, h, owner, "listbannedpubkeys"); !strings.Contains(got, bob.Pub) {
		t.Errorf("listbannedpubkeys: %s", got)
	}
}
