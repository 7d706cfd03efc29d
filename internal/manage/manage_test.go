package manage_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/manage"
	"github.com/gitroost/gitroost/internal/nip98"
)

// A desk keeps rules in memory, and removes what it was told.
type desk struct {
	mu     sync.Mutex
	config []grasp.Rule
	rules  []grasp.Rule
	last   int
	effect manage.Effect
	fail   error
	panics bool

	profile map[string]string
}

func (d *desk) Moderation() *grasp.Moderation {
	d.mu.Lock()
	defer d.mu.Unlock()
	return grasp.NewModeration("", append(append([]grasp.Rule(nil), d.config...), d.rules...))
}

func (d *desk) Decide(_ context.Context, r grasp.Rule, dry bool) (grasp.Rule, manage.Effect, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.panics {
		panic("on purpose")
	}
	if d.fail != nil || dry {
		return r, d.effect, d.fail
	}
	d.drop(r.Subject)
	d.last++
	r.Source, r.Number, r.At = grasp.FromTable, d.last, 1_750_000_000
	d.rules = append(d.rules, r)
	return r, d.effect, nil
}

func (d *desk) drop(s grasp.Subject) {
	for i, r := range d.rules {
		if r.Subject == s {
			d.rules = append(d.rules[:i:i], d.rules[i+1:]...)
			return
		}
	}
}

func (d *desk) Withdraw(_ context.Context, s grasp.Subject, a grasp.Action) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.rules {
		if r.Subject == s && r.Action == a {
			d.drop(s)
			return true, nil
		}
	}
	return false, nil
}

func (d *desk) ExplainEvent(_ context.Context, id grasp.EventID) (grasp.Explanation, bool, error) {
	return d.Moderation().ExplainID(id), false, nil
}

func (d *desk) SetProfile(_ context.Context, name, value, _ string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.profile == nil {
		d.profile = map[string]string{}
	}
	d.profile[name] = value
	return d.fail
}

func (d *desk) Holding(_ context.Context, k grasp.PubKey) (manage.Holding, error) {
	if d.fail != nil {
		return manage.Holding{}, d.fail
	}
	h := manage.Holding{Key: k, Npub: k.Npub(), Bytes: 48 << 20, Repos: 2, ReposLimit: 1000}
	if strings.HasPrefix(string(k), "cd") {
		h.BytesLimit, h.PRBytes, h.Deleted, h.DeletedBytes = 512<<20, 3<<20, 1, 5
		h.Boxes, h.BoxesLimit, h.BoxRefs, h.BoxRefsLimit, h.BoxBytes, h.BoxBytesLimit = 1, 100, 3, 1000, 1<<20, 1<<30
	}
	return h, nil
}

func (d *desk) Holders(_ context.Context, limit int) (manage.Holders, error) {
	return manage.Holders{Bytes: 3 << 20, PRBytes: 1 << 10, List: []manage.Holder{
		{Npub: "npub1a", Repos: 2, Boxes: 1, Bytes: 2 << 20, Pulls: 1 << 10}, {Npub: "npub1b", Repos: 1, Bytes: 1 << 20},
	}}, d.fail
}

func (d *desk) Size(context.Context, grasp.Addr) (int64, error) { return 1536, nil }

var now = time.Unix(1_750_000_000, 0)

func open(d *desk) *manage.Handler {
	return manage.New(manage.Config{
		Now: func() time.Time { return now }, Authorities: []string{"git.example.com", "127.0.0.1:7334"},
		Never: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Grace: 90 * 24 * time.Hour,
	}, d, d, slog.New(slog.DiscardHandler))
}

// types carries out what was typed, and returns the lines.
func types(t *testing.T, h *manage.Handler, method string, param any) (string, error) {
	t.Helper()
	var params []any
	if param != nil {
		params = append(params, param)
	}
	raw, err := h.Call(context.Background(), manage.CommandLine, method, params...)
	if err != nil {
		return "", err
	}
	var rep manage.Report
	if err := json.Unmarshal(raw, &rep); err != nil {
		t.Fatalf("%s: %s: %v", method, raw, err)
	}
	return strings.Join(rep.Lines, "\n"), nil
}

var alice = grasp.PubKey(strings.Repeat("ab", 32))

// What the command line says, step by step: what is, what would be, and what to do.
func TestWords(t *testing.T) {
	npub := alice.Npub()
	event := strings.Repeat("e", 64)
	note, err := nip19.EncodeNote(event)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{}
	h := open(d)
	effect := manage.Effect{Events: map[int]int{1621: 3, 30617: 1, -1: 7}, Repos: []grasp.Addr{{Owner: alice, ID: "a"}, {Owner: alice, ID: "b"}}, More: 2}
	for i, c := range []struct {
		method string
		param  any
		effect manage.Effect
		want   string
	}{
		{manage.MethodRules, nil, manage.Effect{}, "there are no rules: whatever belongs to a repository here is taken"},
		{manage.MethodDecide, manage.Order{Action: "deny", About: npub, DryRun: true}, effect, "would deny " + npub + "\n" +
			"would remove 7 events of other kinds\nwould remove 3 events of kind 1621\nwould remove 1 event of kind 30617\n" +
			"would close " + npub + "/a (1.5 KiB)\nwould close " + npub + "/b (1.5 KiB)\nwould close 2 more repositories\n" +
			"3.0 KiB in 4 repositories\nthe git data is kept for 90 days"},
		{manage.MethodRules, nil, manage.Effect{}, "there are no rules: whatever belongs to a repository here is taken"},
		{manage.MethodDecide, manage.Order{Action: "deny", About: npub, Reason: " spam "}, manage.Effect{}, "rule 1 (deny " + npub + "): spam\nnothing of it is here"},
		{manage.MethodExplain, manage.Question{About: npub, Identifier: "x"}, manage.Effect{}, "refused: rule 1 (deny " + npub + "): spam\n  rule 1  deny  " + npub + "  spam  (command line, 2025-06-15 15:06)"},
		{manage.MethodDecide, manage.Order{Action: "allow", About: npub + "/x"}, manage.Effect{}, "still refused: rule 1 (deny " + npub + "): spam"},
		{manage.MethodDecide, manage.Order{Action: "allow", About: npub, DryRun: true}, manage.Effect{}, "would remove rule 1 (deny " + npub + ")"},
		{manage.MethodDecide, manage.Order{Action: "allow", About: npub}, manage.Effect{}, "removed rule 1 (deny " + npub + ")\nwhat it removed comes back when its author publishes it again; git data was kept for the grace period"},
		{manage.MethodDecide, manage.Order{Action: "allow", About: npub}, manage.Effect{}, "nothing to do: there is no list of what is allowed, so whatever is not denied is taken\nto take nothing but what you allow from now on, say it with --only"},
		{manage.MethodDecide, manage.Order{Action: "allow", About: npub, Only: true, DryRun: true}, manage.Effect{}, "would allow " + npub + "\nnothing else would be taken from then on; what is here would stay"},
		{manage.MethodDecide, manage.Order{Action: "allow", About: npub, Only: true}, manage.Effect{}, "rule 2 (allow " + npub + ")\nthis begins the list of what is allowed: nothing else is taken from now on; what is here stays"},
		{manage.MethodDecide, manage.Order{Action: "allow", About: "linux"}, manage.Effect{}, "rule 3 (allow linux)"},
		{manage.MethodExplain, manage.Question{About: strings.Replace(npub, npub, grasp.PubKey(strings.Repeat("cd", 32)).Npub(), 1), Identifier: "y"}, manage.Effect{}, "refused: it is not on the list of what is allowed (rule 2, rule 3)"},
		{manage.MethodDecide, manage.Order{Action: "deny", About: "linux"}, manage.Effect{}, "rule 4 (deny linux)\nnothing of it is here"},
		{manage.MethodDecide, manage.Order{Action: "allow", About: "linux"}, manage.Effect{}, "rule 5 (allow linux)\nin place of rule 4 (deny linux)"},
		{manage.MethodDecide, manage.Order{Action: "allow", About: "linux", Remove: true}, manage.Effect{}, "removed rule 5 (allow linux)"},
		{manage.MethodDecide, manage.Order{Action: "deny", About: "linux", Remove: true}, manage.Effect{}, "no rule says deny linux"},
		{manage.MethodDecide, manage.Order{Action: "deny", About: note}, manage.Effect{}, "rule 6 (deny event " + event + ")\nnothing of it is here"},
		{manage.MethodExplain, manage.Question{About: event}, manage.Effect{}, "refused: rule 6 (deny event " + event + ")\n  rule 6  deny  event " + event + "  (command line, 2025-06-15 15:06)\nthe event is not here; what it says is not known"},
		{manage.MethodDecide, manage.Order{Action: "allow", About: strings.ToUpper(event)}, manage.Effect{}, "removed rule 6 (deny event " + event + ")\nwhat it removed comes back when its author publishes it again; git data was kept for the grace period"},
		{manage.MethodDecide, manage.Order{Action: "deny", Kind: "1621"}, manage.Effect{Events: map[int]int{1621: 1}}, "rule 7 (deny kind 1621)\nremove 1 event of kind 1621"},
		{manage.MethodDecide, manage.Order{Action: "deny", Address: "192.0.2.77/24"}, manage.Effect{}, "rule 8 (deny address 192.0.2.0/24)\nnothing of it is here"},
		{manage.MethodExplain, manage.Question{About: "192.0.2.9"}, manage.Effect{}, "refused: rule 8 (deny address 192.0.2.0/24)\n  rule 8  deny  address 192.0.2.0/24  (command line, 2025-06-15 15:06)"},
		{manage.MethodExplain, manage.Question{About: "192.0.3.9"}, manage.Effect{}, "accepted: no rule is about it"},
		{manage.MethodRules, nil, manage.Effect{}, manage.Precedence + "\nrule 2  allow  " + npub + "  (command line, 2025-06-15 15:06)\n" +
			"rule 7  deny  kind 1621  (command line, 2025-06-15 15:06)\nrule 8  deny  address 192.0.2.0/24  (command line, 2025-06-15 15:06)"},
	} {
		d.effect = c.effect
		if got, err := types(t, h, c.method, c.param); err != nil || got != c.want {
			t.Errorf("step %d, %s %+v: %v\n%s\nwant\n%s", i, c.method, c.param, err, got, c.want)
		}
	}
	for _, c := range []struct {
		order manage.Order
		want  string
	}{
		{manage.Order{Action: "deny"}, "name what it is about"},
		{manage.Order{Action: "ban", About: npub}, "neither deny nor allow"},
		{manage.Order{Action: "deny", About: npub, Kind: "1"}, "one thing"},
		{manage.Order{Action: "deny", About: "nsec1abc"}, "secret key"},
		{manage.Order{Action: "deny", About: "a/b"}, "npub1…/identifier"},
		{manage.Order{Action: "deny", About: "note1abc"}, "not an event id"},
		{manage.Order{Action: "deny", Kind: "one"}, "not a kind"},
		{manage.Order{Action: "deny", Kind: "30618"}, "cannot be denied"},
		{manage.Order{Action: "deny", About: npub, Reason: "a\nb"}, "one line"},
		{manage.Order{Action: "deny", Address: "example.com"}, "not an address"},
		{manage.Order{Action: "deny", Address: "127.0.0.1"}, "cannot be blocked"},
		{manage.Order{Action: "deny", Address: "::1"}, "cannot be blocked"},
		{manage.Order{Action: "deny", Address: "::/0"}, "cannot be blocked"},
		{manage.Order{Action: "deny", Address: "10.1.2.3"}, "trusted proxy"},
	} {
		if _, err := types(t, h, manage.MethodDecide, c.order); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.order, err, c.want)
		}
	}
}

// Of several rules about an address the one with the lowest number is found; this computer never is.
func TestBlocks(t *testing.T) {
	var rules []grasp.Rule
	for i, s := range []string{"192.0.2.0/24", "192.0.2.7", "2001:db8::/32", "127.0.0.1", "0.0.0.0/1", "::/0", "odd"} {
		rules = append(rules, grasp.Rule{Number: i + 1, Subject: grasp.Subject{Topic: grasp.OfAddress, Name: s}})
	}
	b := manage.NewBlocks(rules)
	for a, want := range map[string]int{
		"192.0.2.7": 1, "192.0.2.8": 1, "192.0.3.1": 0, "2001:db8::1": 3, "2001:db9::1": 6, "127.0.0.1": 0, "::1": 0,
		"::ffff:192.0.2.7": 1, "::ffff:127.0.0.1": 0, "8.8.8.8": 5, "fe80::1%eth0": 6,
	} {
		got := 0
		if r := b.Find(netip.MustParseAddr(a)); r != nil {
			got = r.Number
		}
		if got != want {
			t.Errorf("%s: rule %d, want %d", a, got, want)
		}
	}
	if b.Find(netip.Addr{}) != nil || (*manage.Blocks)(nil).Find(netip.MustParseAddr("8.8.8.8")) != nil {
		t.Error("nobody is found")
	}
}

// What goes wrong inside is told by an id and no more, and never as 5xx.
func TestFaultsInside(t *testing.T) {
	d := &desk{fail: fault.E(fault.Internal, "store", "the secret of the disk")}
	h := open(d)
	post := func(body string) (int, string) {
		w := httptest.NewRecorder()
		h.Local().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)))
		return w.Code, w.Body.String()
	}
	ban := `{"method":"banpubkey","params":["` + string(alice) + `"]}`
	if code, body := post(ban); code != 200 || !strings.Contains(body, "internal error") || strings.Contains(body, "secret") {
		t.Errorf("%d %s", code, body)
	}
	d.fail, d.panics = nil, true
	if code, body := post(ban); code != 200 || !strings.Contains(body, "internal error") {
		t.Errorf("after a panic: %d %s", code, body)
	}
	d.panics = false
	if code, body := post(ban); code != 200 || body != `{"result":true}`+"\n" {
		t.Errorf("and then: %d %s", code, body)
	}
	w := httptest.NewRecorder()
	h.Local().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", w.Code)
	}
}

// Whatever stands in the header is an event with usable fields, or an error.
func FuzzAuthorization(f *testing.F) {
	for _, s := range []string{"", "Nostr ", "Nostr e30=", "nostr eyJpZCI6MX0", "Basic x", "Nostr bnVsbA==", "Nostr W10="} {
		f.Add(s)
	}
	ev := nostr.Event{Kind: 27235, CreatedAt: 1, Tags: nostr.Tags{{"u", "https://git.example.com"}, {}}}
	if err := ev.Sign(nostr.GeneratePrivateKey()); err != nil {
		f.Fatal(err)
	}
	h := open(&desk{})
	f.Fuzz(func(t *testing.T, header string) {
		ev, err := nip98.ParseAuthorization(header)
		if (err == nil) != (ev != nil) {
			t.Fatalf("%v and %v", ev, err)
		}
		if ev != nil && (len(ev.ID) != 64 || len(ev.PubKey) != 64 || len(ev.Sig) != 128) {
			t.Fatalf("unusable: %v", ev)
		}
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}"))
		r.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized {
			t.Fatalf("status %d", w.Code)
		}
	})
}

// Whatever a call says, it is answered by one JSON object with a result or an error.
func FuzzCall(f *testing.F) {
	for _, s := range []string{
		"", "{}", "null", `{"method":"supportedmethods"}`, `{"method":"banpubkey","params":["x","y"]}`, `{"method":"allowkind","params":[1]}`,
		`{"method":"disallowkind","params":[1e3]}`, `{"method":"blockip","params":["::ffff:1.2.3.4/100"]}`, `{"method":"changerelayicon","params":["%"]}`,
		`{"method":"gitroost.decide","params":[{"action":"deny","about":"nevent1qqs"}]}`, `{"method":"gitroost.explain","params":[{"about":"1.2.3.4"}]}`,
		`{"method":"banevent","params":["nevent1qqqqqqqq"]}`, `{"method":"gitroost.rules","params":[[]]}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		w := httptest.NewRecorder()
		open(&desk{}).Local().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)))
		if w.Code >= 500 {
			t.Fatalf("status %d", w.Code)
		}
		var out struct {
			Result json.RawMessage
			Error  string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || (out.Result == nil) == (out.Error == "") {
			t.Fatalf("%q: %v", w.Body, err)
		}
		if strings.Contains(out.Error, "internal error") {
			t.Fatalf("%s for %s", out.Error, body)
		}
	})
}

// An event is named in three ways, and nothing else is one.
func FuzzParseEvent(f *testing.F) {
	id := strings.Repeat("0a", 32)
	note, _ := nip19.EncodeNote(id)
	nevent, _ := nip19.EncodeEvent(id, []string{"wss://a"}, id)
	for _, s := range []string{"", id, strings.ToUpper(id), note, nevent, "note1", "nevent1", "npub1", nevent[:40]} {
		f.Add(s)
	}
	for _, s := range []string{id, note, nevent} {
		if got, ok := manage.ParseEvent(s); !ok || string(got) != id {
			f.Errorf("%s: %s %v", s, got, ok)
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := manage.ParseEvent(s); ok && !grasp.IsHex(string(id), 64) {
			t.Fatalf("%q is %q", s, id)
		}
	})
}
