package acceptance_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// finds asks a search and returns the ids, in the order in which they came. The count must agree.
func finds(t *testing.T, c *housetest.Conn, f nostr.Filter) []string {
	t.Helper()
	var ids []string
	for _, ev := range c.Query(f) {
		ids = append(ids, ev.ID)
	}
	if n := c.Count(f); n != int64(len(ids)) {
		t.Errorf("%v: %d events come and %d are counted", f, len(ids), n)
	}
	return ids
}

// foundAre fails the test unless the search finds exactly these, the best first.
func foundAre(t *testing.T, c *housetest.Conn, f nostr.Filter, want ...*nostr.Event) {
	t.Helper()
	var ids []string
	for _, ev := range want {
		ids = append(ids, ev.ID)
	}
	if got := finds(t, c, f); !slices.Equal(got, ids) {
		t.Errorf("%v finds %d events, want %d: %v, want %v", f, len(got), len(ids), got, ids)
	}
}

// N-042: announcements, issues, patches and pull requests are found by their words.
func TestSearchFinds(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo := h.Announcement(owner, "tool", at+5, nostr.Tag{"name", "Zürich line counter"}, nostr.Tag{"description", "Counts lines, 数行数"}, nostr.Tag{"t", "cli"})
	c.Accepted(repo)
	coord := nostr.Tag{"a", housetest.Coordinate(owner, "tool")}
	title := issue(owner, owner, "tool", "It stops.", nostr.Tag{"subject", "Counter forgets the last line"})
	body := issue(owner, owner, "tool", "On some days, and nobody knows why, the counter is not what it used to be: it forgets.", nostr.Tag{"subject", "Odd"}, nostr.Tag{"t", "bug"})
	patch := owner.Sign(grasp.KindPatch, 0, "Subject: [PATCH] count_lines: remember the last one", coord)
	comment := owner.Sign(1111, 0, "The counter forgets", nostr.Tag{"A", coord[1]})
	c.Accepted(title, body, patch, comment)
	pull := owner.Pull("tool", w.Commit(), owner)
	pull.Tags = append(pull.Tags, nostr.Tag{"subject", "A pull that remembers"})
	pull = owner.Sign(pull.Kind, 0, "", pull.Tags...)
	c.Held(pull)

	foundAre(t, c, nostr.Filter{Search: "zurich"}, repo)
	foundAre(t, c, nostr.Filter{Search: "tool"}, repo)
	foundAre(t, c, nostr.Filter{Search: "CLI counts"}, repo)
	foundAre(t, c, nostr.Filter{Search: "行数"}, repo)
	foundAre(t, c, nostr.Filter{Search: "counter forgets"}, title, body) // a title says more
	foundAre(t, c, nostr.Filter{Search: `"the last"`, Kinds: []int{grasp.KindPatch}}, patch)
	foundAre(t, c, nostr.Filter{Search: "count_lines"}, patch)
	foundAre(t, c, nostr.Filter{Search: "forg", Tags: nostr.TagMap{"t": {"bug"}}}, body)
	foundAre(t, c, nostr.Filter{Search: "forgets -stops"}, body)
	foundAre(t, c, nostr.Filter{Search: "counter", Authors: []string{housetest.NewKey(t).Pub}})
	foundAre(t, c, nostr.Filter{Search: "language:en", Kinds: []int{1111}}, comment)
	foundAre(t, c, nostr.Filter{Search: `" OR rowid:1 NEAR( * ^`})
	if got := c.Query(nostr.Filter{Search: "counter forgets", Limit: 1}); len(got) != 1 || got[0].ID != title.ID {
		t.Errorf("the best one is %v", got)
	}

	// N-045: what waits is not found, live or stored, until its push.
	listener := h.Dial()
	sub := listener.Subscribe(nostr.Filter{Search: "remembers"})
	if got := listener.Stored(sub); len(got) != 0 {
		t.Fatalf("a waiting pull request is found")
	}
	foundAre(t, c, nostr.Filter{Search: "remembers"})
	w.Git("push", h.Repo(owner, "tool"), "HEAD:"+housetest.PullRef(pull.ID))
	housetest.Same(t, listener.Live(sub), pull)
	listener.Silent(sub)
	foundAre(t, c, nostr.Filter{Search: "remembers"}, pull)

	// What is replaced, deleted or has expired is gone.
	renamed := h.Announcement(owner, "tool", at+6, nostr.Tag{"name", "Basel line counter"})
	c.Accepted(renamed)
	foundAre(t, c, nostr.Filter{Search: "zurich"})
	foundAre(t, c, nostr.Filter{Search: "basel"}, renamed)
	c.Must(owner.Deletion(0, nostr.Tag{"e", body.ID}))
	foundAre(t, c, nostr.Filter{Search: "counter forgets"}, title)
	soon := issue(owner, owner, "tool", "ephemeral words", nostr.Tag{"expiration", fmt.Sprint(h.Clock.Now().Unix() + 60)})
	c.Accepted(soon)
	foundAre(t, c, nostr.Filter{Search: "ephemeral"}, soon)
	h.Clock.Advance(2 * time.Minute)
	foundAre(t, c, nostr.Filter{Search: "ephemeral"})
	c.Must(owner.Sign(grasp.KindVanish, h.Clock.Now().Unix(), "", nostr.Tag{"relay", "ALL_RELAYS"}))
	for _, word := range []string{"counter", "basel", "remembers", "lines"} {
		foundAre(t, c, nostr.Filter{Search: word})
	}
}

// N-042: a search goes on live, by the same words, and its index outlives a restart.
func TestSearchLive(t *testing.T) {
	t.Parallel()
	h, c, owner, _, _ := settled(t)
	listener := h.Dial()
	words := listener.Subscribe(nostr.Filter{Search: "parser -old"})
	kinds := listener.Subscribe(nostr.Filter{Search: "pars", Kinds: []int{grasp.KindPatch}})
	listener.Stored(words)
	listener.Stored(kinds)
	ev := issue(owner, owner, "tool", "The Parser is slow")
	c.Accepted(issue(owner, owner, "tool", "the old parser"), issue(owner, owner, "tool", "the door"), ev)
	housetest.Same(t, listener.Live(words), ev)
	listener.Silent(words)
	listener.Silent(kinds)
	h.Restart(nil)
	c = h.Dial()
	foundAre(t, c, nostr.Filter{Search: "parser -old"}, ev)
}

// N-042: what cannot be a search is said to be none; a search cannot be reconciled; NIP-11 tells
// whether there is one.
func TestSearchRefusals(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c := h.Dial()
	for _, s := range []string{strings.Repeat("x", 1000), strings.Repeat("x ", 100)} {
		c.Send("REQ", "long", map[string]any{"search": s})
		if m := c.Message("CLOSED"); m[1] != "long" || !strings.HasPrefix(m[2], "invalid: ") {
			t.Errorf("%.10q…: got %q", s, m)
		}
	}
	c.Send("NEG-OPEN", "neg", map[string]any{"search": "x"}, "6100000200")
	if m := c.Message("NEG-ERR"); m[1] != "neg" || !strings.HasPrefix(m[2], "unsupported: ") {
		t.Errorf("got %q", m)
	}
	nips := func(h *housetest.House) (list []int) {
		_, body := h.Get("/", "Accept", "application/nostr+json")
		var doc struct {
			NIPs []int `json:"supported_nips"`
		}
		if err := json.Unmarshal([]byte(body), &doc); err != nil {
			t.Fatal(err)
		}
		return doc.NIPs
	}
	off := housetest.Start(t, func(cfg *config.Config) { cfg.Search = false })
	if !slices.Contains(nips(h), 50) || slices.Contains(nips(off), 50) {
		t.Errorf("NIP-11 names %v with a search and %v without", nips(h), nips(off))
	}
}
