package acceptance_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// past is a moment far enough back that a test can count on from it without reaching the future.
func past() int64 { return time.Now().Unix() - 100_000 }

// issue is an event of kind 1621 about owner's repository.
func issue(k, owner *housetest.Key, id, text string, more ...nostr.Tag) *nostr.Event {
	return k.Sign(grasp.KindIssue, 0, text, append([]nostr.Tag{{"a", housetest.Coordinate(owner, id)}}, more...)...)
}

// settled starts a house in which owner serves the repository "tool", with main at one commit
// since the returned time.
func settled(t *testing.T, change ...func(*config.Config)) (h *housetest.House, c *housetest.Conn, owner *housetest.Key, w *housetest.Copy, at int64) {
	t.Helper()
	h = housetest.Start(t, change...)
	c, owner, at = h.Dial(), housetest.NewKey(t), past()
	return h, c, owner, h.Served(c, owner, "tool", at), at
}

// check 89, N-002: the id is the hash of the serialisation that NIP-01 spells out.
func TestRelayIDsOfOddTexts(t *testing.T) {
	t.Parallel()
	_, c, owner, _, _ := settled(t)
	stranger := housetest.NewKey(t)
	for _, text := range []string{
		"plain", "<b>&amp;</b> <>&", "line\u2028paragraph\u2029", "😀🚀 ñ 漢字", "a\nb\"c\\d\re\tf\bg\f",
		"bell \a escape \x1b unit \x1f delete \x7f", "\\u003c stays", "",
	} {
		ev := issue(stranger, owner, "tool", text, nostr.Tag{"subject", text + "<"})
		byHand(t, stranger, ev)
		c.Accepted(ev)
	}
}

// byHand gives ev the id and signature that NIP-01 asks for, written down here once more.
func byHand(t *testing.T, k *housetest.Key, ev *nostr.Event) {
	t.Helper()
	quote := func(s string) string {
		return `"` + strings.NewReplacer("\n", `\n`, `"`, `\"`, `\`, `\\`, "\r", `\r`, "\t", `\t`, "\b", `\b`, "\f", `\f`).Replace(s) + `"`
	}
	var tags []string
	for _, tag := range ev.Tags {
		var values []string
		for _, v := range tag {
			values = append(values, quote(v))
		}
		tags = append(tags, "["+strings.Join(values, ",")+"]")
	}
	text := fmt.Sprintf(`[0,"%s",%d,%d,[%s],%s]`, ev.PubKey, ev.CreatedAt, ev.Kind, strings.Join(tags, ","), quote(ev.Content))
	hash := sha256.Sum256([]byte(text))
	secret, err := hex.DecodeString(k.Secret)
	if err != nil {
		t.Fatal(err)
	}
	key, _ := btcec.PrivKeyFromBytes(secret)
	sig, err := schnorr.Sign(key, hash[:])
	if err != nil {
		t.Fatal(err)
	}
	ev.ID, ev.Sig = hex.EncodeToString(hash[:]), hex.EncodeToString(sig.Serialize())
}

// check 90, N-002: the OK names the id that was sent, however wrong it is.
func TestRelayForgedEvents(t *testing.T) {
	t.Parallel()
	_, c, owner, _, _ := settled(t)
	good := issue(owner, owner, "tool", "x")
	for name, forge := range map[string]func(ev *nostr.Event){
		"signature of another event": func(ev *nostr.Event) { ev.Sig = issue(owner, owner, "tool", "y").Sig },
		"signature of zeros":         func(ev *nostr.Event) { ev.Sig = strings.Repeat("0", 128) },
		"id of zeros":                func(ev *nostr.Event) { ev.ID = strings.Repeat("0", 64) },
		"content changed":            func(ev *nostr.Event) { ev.Content = "z" },
		"author changed":             func(ev *nostr.Event) { ev.PubKey = housetest.NewKey(t).Pub },
		"time changed":               func(ev *nostr.Event) { ev.CreatedAt-- },
	} {
		ev := *good
		forge(&ev)
		if ok, msg := c.Publish(&ev); ok || !strings.HasPrefix(msg, "invalid: ") {
			t.Errorf("%s: OK %v %q, want false and invalid:", name, ok, msg)
		}
	}
	c.Hides(good)
	c.Accepted(good)
}

// checks 91, 107, N-003, N-013: every event is answered once, and real clients are not slowed down.
func TestRelayAnswersEveryEvent(t *testing.T) {
	t.Parallel()
	usual := config.Default().Limits
	t.Run("a hundred in one second", func(t *testing.T) {
		t.Parallel()
		_, c, owner, _, _ := settled(t)
		var evs []*nostr.Event
		for i := range 100 {
			evs = append(evs, issue(owner, owner, "tool", fmt.Sprint(i)))
		}
		for _, ev := range evs {
			c.Send("EVENT", ev)
		}
		for _, ev := range evs {
			if ok, msg := c.OK(ev.ID); !ok || msg != "" {
				t.Fatalf("OK %v %q", ok, msg)
			}
		}
		c.None("OK")
	})
	t.Run("within the limits of one connection", func(t *testing.T) {
		t.Parallel()
		h, _, owner, _, _ := settled(t, func(cfg *config.Config) {
			cfg.Limits.EventsPerMinute, cfg.Limits.EventBurst = usual.EventsPerMinute, usual.EventBurst
		})
		c := h.Dial()
		for i := range 120 {
			if i >= 60 {
				h.Clock.Advance(time.Second / 2) // a minute for 120
			}
			c.Accepted(issue(owner, owner, "tool", fmt.Sprint(i)))
		}
	})
	t.Run("beyond them", func(t *testing.T) {
		t.Parallel()
		h, _, owner, _, _ := settled(t, func(cfg *config.Config) {
			cfg.Limits.EventsPerMinute, cfg.Limits.EventBurst = usual.EventsPerMinute, usual.EventBurst
		})
		c := h.Dial()
		var evs []*nostr.Event
		for i := range 300 {
			evs = append(evs, issue(owner, owner, "tool", fmt.Sprint(i)))
		}
		for _, ev := range evs {
			c.Send("EVENT", ev)
		}
		accepted := 0
		for _, ev := range evs {
			ok, msg := c.OK(ev.ID)
			if ok {
				accepted++
			} else if !strings.HasPrefix(msg, "rate-limited: ") {
				t.Fatalf("refused with %q", msg)
			}
		}
		if accepted < 60 || accepted == len(evs) {
			t.Fatalf("%d of %d were accepted at once, want a burst of at least 60 and a limit", accepted, len(evs))
		}
	})
}

// check 92, N-004: what is here already is a duplicate; what waits still waits.
func TestRelayDuplicates(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	ev := issue(owner, owner, "tool", "x")
	c.Accepted(ev)
	again := func(ev *nostr.Event, want string) {
		t.Helper()
		if ok, msg := h.Dial().Publish(ev); !ok || msg != want {
			t.Fatalf("again: OK %v %q, want true %q", ok, msg, want)
		}
	}
	again(ev, "duplicate: already have this event")
	waiting := owner.State("tool", at+1, "main="+w.Commit())
	c.Held(waiting)
	again(waiting, housetest.HeldText)
	c.Hides(waiting)
	other := h.Announcement(owner, "other", at)
	c.Held(other)
	again(other, housetest.HeldText)
}

// check 93, N-004: an older version is refused and changes nothing.
func TestRelayOlderVersions(t *testing.T) {
	t.Parallel()
	h, c, owner, _, at := settled(t)
	newer := h.Announcement(owner, "tool", at+10, nostr.Tag{"description", "new"})
	c.Accepted(newer)
	c.Refused(h.Announcement(owner, "tool", at+5), "invalid: have a newer version of this event")
	c.Shows(newer)
	if got := c.Query(nostr.Filter{Kinds: []int{30617}, Authors: []string{owner.Pub}}); len(got) != 1 {
		t.Fatalf("%d announcements are served", len(got))
	}
}

// checks 94, 95, N-005: every letter is an index of its own, and several values are alternatives.
func TestRelayTagFilters(t *testing.T) {
	t.Parallel()
	_, c, owner, _, _ := settled(t)
	coord := housetest.Coordinate(owner, "tool")
	root := issue(owner, owner, "tool", "root", nostr.Tag{"t", "bug"})
	c.Accepted(root)
	about := map[string]*nostr.Event{ // by the letter that connects it; the other case names nothing
		"e": owner.Sign(1, 0, "e", nostr.Tag{"e", root.ID}, nostr.Tag{"t", "docs"}),
		"E": owner.Sign(1111, 0, "E", nostr.Tag{"E", root.ID}, nostr.Tag{"t", "rust", "go"}),
		"q": owner.Sign(1, 0, "q", nostr.Tag{"q", root.ID}, nostr.Tag{"t", "go"}),
		"a": owner.Sign(1617, 0, "a", nostr.Tag{"a", coord}),
		"A": owner.Sign(1111, 0, "A", nostr.Tag{"A", coord}),
	}
	for _, letter := range []string{"e", "E", "q", "a", "A"} {
		c.Accepted(about[letter])
	}
	find := func(filter nostr.Filter, want ...*nostr.Event) {
		t.Helper()
		got := map[string]bool{}
		for _, ev := range c.Query(filter) {
			got[ev.ID] = true
		}
		for _, ev := range want {
			if !got[ev.ID] {
				t.Errorf("%v does not find %q", filter, ev.Content)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%v finds %d events, want %d", filter, len(got), len(want))
		}
		if n := c.Count(filter); n != int64(len(want)) {
			t.Errorf("%v counts %d events, want %d", filter, n, len(want))
		}
	}
	for _, letter := range []string{"e", "E", "q"} {
		find(nostr.Filter{Tags: nostr.TagMap{letter: {root.ID}}}, about[letter])
	}
	find(nostr.Filter{Tags: nostr.TagMap{"a": {coord}}}, root, about["a"])
	find(nostr.Filter{Tags: nostr.TagMap{"A": {coord}}}, about["A"])
	find(nostr.Filter{Tags: nostr.TagMap{"t": {"bug", "docs", "nothing"}}}, root, about["e"])
	find(nostr.Filter{Tags: nostr.TagMap{"t": {"bug", "docs", "rust"}}}, root, about["e"], about["E"])
	// Only the first value of a tag counts: "go" is the second of one and the first of another.
	find(nostr.Filter{Tags: nostr.TagMap{"t": {"go"}}}, about["q"])
	find(nostr.Filter{Tags: nostr.TagMap{"t": {"bug"}, "a": {coord}}, Kinds: []int{grasp.KindIssue}}, root)
	find(nostr.Filter{Tags: nostr.TagMap{"t": {"bug"}, "A": {coord}}})
	find(nostr.Filter{Tags: nostr.TagMap{"t": {"bu"}}}) // no prefixes
	for _, empty := range []string{`{"ids":[]}`, `{"kinds":[]}`, `{"authors":[]}`, `{"#t":[]}`, `{"kinds":[1],"#e":[]}`} {
		c.SendRaw(`["REQ","empty",` + empty + `]`) // N-006: matches nothing
		if got := c.Stored("empty"); len(got) != 0 {
			t.Errorf("%s matches %d events", empty, len(got))
		}
	}
}

// check 96, N-005: since and until include their moment.
func TestRelaySinceAndUntil(t *testing.T) {
	t.Parallel()
	_, c, owner, _, at := settled(t)
	ev := owner.Sign(grasp.KindIssue, at+50, "x", nostr.Tag{"a", housetest.Coordinate(owner, "tool")})
	c.Accepted(ev)
	when := func(d int64) *nostr.Timestamp { s := nostr.Timestamp(at + 50 + d); return &s }
	for _, tc := range []struct {
		since, until *nostr.Timestamp
		want         int
	}{
		{when(0), nil, 1}, {nil, when(0), 1}, {when(0), when(0), 1}, {when(-1), when(1), 1},
		{when(1), nil, 0}, {nil, when(-1), 0}, {when(1), when(-1), 0},
	} {
		if got := c.Query(nostr.Filter{Kinds: []int{grasp.KindIssue}, Since: tc.since, Until: tc.until}); len(got) != tc.want {
			t.Errorf("since %v until %v: %d events, want %d", tc.since, tc.until, len(got), tc.want)
		}
	}
}

// checks 97, 98, N-005, N-006: an event comes once per subscription, stored or live.
func TestRelaySubscriptions(t *testing.T) {
	t.Parallel()
	h, c, owner, _, _ := settled(t)
	ev := issue(owner, owner, "tool", "x")
	c.Accepted(ev)
	both := []nostr.Filter{{Kinds: []int{grasp.KindIssue}}, {Authors: []string{owner.Pub}, Kinds: []int{grasp.KindIssue, 1617}}}
	sub := c.Subscribe(both...)
	if got := c.Stored(sub); len(got) != 1 || got[0].ID != ev.ID {
		t.Fatalf("two filters give %d events, want the one", len(got))
	}
	listener := h.Dial()
	zero := listener.Subscribe(nostr.Filter{Kinds: []int{grasp.KindIssue}, LimitZero: true})
	if got := listener.Stored(zero); len(got) != 0 {
		t.Fatalf("limit 0 gives %d stored events", len(got))
	}
	live := issue(owner, owner, "tool", "y")
	c.Accepted(live)
	housetest.Same(t, c.Live(sub), live)
	c.Silent(sub)
	housetest.Same(t, listener.Live(zero), live)
	listener.Silent(zero)
}

// check 99, N-006: what a filter asks for and nobody understands is not ignored.
func TestRelayUnknownFilterFields(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, func(cfg *config.Config) { cfg.Search = false })
	c := h.Dial()
	for i, field := range []string{`"search":"git"`, `"search":""`, `"whatever":1`, `"#word":["x"]`, `"&t":["x"]`} {
		c.SendRaw(fmt.Sprintf(`["REQ","u%d",{"kinds":[1],%s}]`, i, field))
		if m := c.Message("CLOSED"); m[1] != fmt.Sprintf("u%d", i) || !strings.HasPrefix(m[2], "unsupported: ") {
			t.Errorf("%s: got %q, want CLOSED unsupported:", field, m)
		}
		c.None("EOSE")
	}
}

// checks 100, 101, N-007: an empty answer is fast, and what was accepted can be asked for.
func TestRelayAnswersAtOnce(t *testing.T) {
	t.Parallel()
	_, c, owner, _, _ := settled(t)
	// One of many: the machine may be busy with something else.
	housetest.Within(t, housetest.Wait, "an empty answer in less than 100 ms", func() bool {
		start := time.Now()
		if got := c.Query(nostr.Filter{Kinds: []int{1337}}); len(got) != 0 {
			t.Fatalf("%d events match nothing", len(got))
		}
		return time.Since(start) < 100*time.Millisecond
	})
	for i := range 20 {
		ev := issue(owner, owner, "tool", fmt.Sprint(i))
		c.Must(ev)
		c.Shows(ev)
	}
}

// check 102, N-008: CLOSE ends a subscription, and its id may be used again.
func TestRelayReusesSubscriptionIDs(t *testing.T) {
	t.Parallel()
	_, c, owner, _, _ := settled(t)
	issues := nostr.Filter{Kinds: []int{grasp.KindIssue}, LimitZero: true}
	patches := nostr.Filter{Kinds: []int{grasp.KindPatch}, LimitZero: true}
	patch := func(n int) *nostr.Event {
		return owner.Sign(grasp.KindPatch, 0, fmt.Sprint(n), nostr.Tag{"a", housetest.Coordinate(owner, "tool")})
	}
	c.Send("REQ", "mine", issues)
	c.Stored("mine")
	c.Send("CLOSE", "mine")
	c.Accepted(issue(owner, owner, "tool", "unheard"))
	c.Silent("mine")
	c.Send("REQ", "mine", issues)
	c.Stored("mine")
	c.Send("REQ", "mine", patches) // replaces the other without a CLOSE
	c.Stored("mine")
	first := patch(1)
	c.Accepted(issue(owner, owner, "tool", "unheard as well"), first)
	housetest.Same(t, c.Live("mine"), first)
	c.Silent("mine")
	c.None("NOTICE")
	c.None("CLOSED")
}

// check 103, N-009: of two that are equally old the lower id wins, whichever came first.
func TestRelayBreaksTies(t *testing.T) {
	t.Parallel()
	_, c, owner, w, at := settled(t)
	oid := w.Git("rev-parse", "HEAD")
	for i, lowFirst := range []bool{true, false} {
		a := owner.State("tool", at+10+int64(i), "main="+oid)
		b := owner.State("tool", at+10+int64(i), "main="+oid, "dev="+oid)
		if a.ID > b.ID {
			a, b = b, a
		}
		if lowFirst {
			c.Accepted(a)
			c.Refused(b, "invalid: have a newer version of this event")
		} else {
			c.Accepted(b, a)
		}
		c.Shows(a)
		c.Hides(b)
		if got := c.Query(nostr.Filter{Kinds: []int{30618}, Authors: []string{owner.Pub}}); len(got) != 1 {
			t.Fatalf("%d states are served", len(got))
		}
	}
}

// check 104, N-010: ephemeral events pass through, if they are related.
func TestRelayEphemeralEvents(t *testing.T) {
	t.Parallel()
	h, c, owner, _, _ := settled(t)
	listener := h.Dial()
	sub := listener.Subscribe(nostr.Filter{Kinds: []int{20001}})
	listener.Stored(sub)
	ev := owner.Sign(20001, 0, "typing", nostr.Tag{"a", housetest.Coordinate(owner, "tool")})
	c.Must(ev)
	housetest.Same(t, listener.Live(sub), ev)
	c.Hides(ev)
	c.Refused(owner.Sign(20001, 0, "typing"), "blocked: ")
	listener.Silent(sub)
}

// check 105, N-011: the future is refused, the past is not.
func TestRelayTimes(t *testing.T) {
	t.Parallel()
	h, c, owner, _, _ := settled(t)
	now := h.Clock.Now().Unix()
	at := func(when int64) *nostr.Event {
		return owner.Sign(grasp.KindIssue, when, "x", nostr.Tag{"a", housetest.Coordinate(owner, "tool")})
	}
	c.Refused(at(now+3600), "invalid: created_at too far in the future")
	c.Refused(owner.State("tool", now+3600, "main="+strings.Repeat("1", 40)), "invalid: created_at too far in the future")
	c.Accepted(at(now+10*60), at(now-10*365*24*3600), at(1))
}

// check 106, N-012: what makes no sense is said to make none, and the connection stays.
func TestRelayNonsense(t *testing.T) {
	t.Parallel()
	_, c, owner, _, _ := settled(t)
	for _, text := range []string{
		`["BOGUS"]`, `["REQ"`, `{}`, `[]`, `nonsense`, `["EVENT"]`, `["EVENT",17]`, `["REQ"]`, `["REQ","",{}]`, `["CLOSE"]`, `[["EVENT"]]`,
	} {
		c.SendRaw(text)
		if m := c.Message("NOTICE"); len(m) != 2 || m[1] == "" {
			t.Errorf("%s: got %q", text, m)
		}
	}
	if err := c.WS().WriteMessage(websocket.BinaryMessage, []byte(`["REQ","x",{}]`)); err != nil {
		t.Fatal(err)
	}
	c.Message("NOTICE")
	c.Accepted(issue(owner, owner, "tool", "still here"))
}

// check 108, N-013: a state of a large repository fits through.
func TestRelayTakesLargeStates(t *testing.T) {
	t.Parallel()
	_, c, owner, _, at := settled(t)
	var refs []string
	for i := range 11_000 {
		refs = append(refs, fmt.Sprintf("refs/heads/release/branch-%05d=%040x", i, i+1))
	}
	ev := owner.State("tool", at+1, refs...)
	if n := len(ev.String()); n < 800<<10 {
		t.Fatalf("the event has only %d bytes", n)
	}
	c.Held(ev)
}
