package acceptance_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/housetest"
	"github.com/gitroost/gitroost/internal/negentropy"
)

// reconcile compares known with what the house serves of filter, over NIP-77. It returns the ids
// that only the one and only the other has, in order.
func reconcile(t *testing.T, c *housetest.Conn, filter nostr.Filter, known ...*nostr.Event) (have, need []string) {
	t.Helper()
	var own []negentropy.Item
	for _, ev := range known {
		it := negentropy.Item{At: uint64(ev.CreatedAt)}
		if _, err := hex.Decode(it.ID[:], []byte(ev.ID)); err != nil {
			t.Fatal(err)
		}
		own = append(own, it)
	}
	side := negentropy.NewClient(negentropy.NewSet(own), negentropy.Limits{Rounds: 100})
	msg := side.Start()
	c.Send("NEG-OPEN", "n", filter, hex.EncodeToString(msg))
	for {
		m := c.Next("NEG-MSG", func(l string, _ []json.RawMessage) bool { return strings.HasPrefix(l, "NEG-") })
		var text string
		if err := json.Unmarshal(m[2], &text); err != nil || string(m[0]) != `"NEG-MSG"` || string(m[1]) != `"n"` {
			t.Fatalf("got %s", m)
		}
		answer, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		step, err := side.Next(answer)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range step.Have {
			have = append(have, hex.EncodeToString(id[:]))
		}
		for _, id := range step.Need {
			need = append(need, hex.EncodeToString(id[:]))
		}
		if step.Next == nil {
			break
		}
		c.Send("NEG-MSG", "n", hex.EncodeToString(step.Next))
	}
	c.Send("NEG-CLOSE", "n")
	slices.Sort(have)
	slices.Sort(need)
	return have, need
}

// idsOf returns the ids of events in order.
func idsOf(events ...*nostr.Event) (ids []string) {
	for _, ev := range events {
		ids = append(ids, ev.ID)
	}
	slices.Sort(ids)
	return ids
}

// checks 124, 133, N-043, N-045: who has nothing learns exactly what is served; what waits is
// not in it until its git data is here; what is deleted is not in it any more.
func TestNegentropy(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, all := h.Repo(owner, "tool"), nostr.Filter{}
	learns := func(what string, f nostr.Filter, want ...string) {
		t.Helper()
		slices.Sort(want)
		if have, need := reconcile(t, c, f); len(have) != 0 || !slices.Equal(need, want) {
			t.Errorf("%s: has %v, needs %v, want %v", what, have, need, want)
		}
	}
	var issues []*nostr.Event
	for i := range 40 {
		ev := issue(owner, owner, "tool", fmt.Sprint(i))
		c.Accepted(ev)
		issues = append(issues, ev)
	}
	served := idsOf(c.Query(nostr.Filter{Limit: 500})...)
	if len(served) < 42 {
		t.Fatalf("%d events are served, want the announcement, its state and 40 issues", len(served))
	}

	state := owner.State("tool", at+1, "main="+w.Commit())
	announcement := h.Announcement(owner, "other", at)
	pull := owner.Pull("tool", strings.Repeat("7", 40), owner)
	c.Held(state, announcement, pull)
	learns("everything", all, served...)
	learns("issues", nostr.Filter{Kinds: []int{1621}}, idsOf(issues...)...)
	learns("a kind that nobody used", nostr.Filter{Kinds: []int{1}})
	learns("what waits", nostr.Filter{IDs: idsOf(state, announcement, pull)})
	learns("an announcement that waits", nostr.Filter{Kinds: []int{30617}, Tags: nostr.TagMap{"d": {"other"}}})

	// Both sides have something that the other lacks.
	have, need := reconcile(t, c, nostr.Filter{Kinds: []int{1621, 1618}}, append(issues[:30:30], pull)...)
	if !slices.Equal(have, idsOf(pull)) || !slices.Equal(need, idsOf(issues[30:]...)) {
		t.Errorf("has %v and needs %d, want the pull request and ten issues", have, len(need))
	}

	w.Git("push", "-q", repo, "main")
	c.Shows(state)
	learns("a state that was released", nostr.Filter{Kinds: []int{30618}}, idsOf(state)...)
	deletion := owner.Deletion(0, nostr.Tag{"e", issues[0].ID})
	c.Must(deletion)
	learns("issues after one is deleted", nostr.Filter{Kinds: []int{1621, 5}}, idsOf(append(issues[1:], deletion)...)...)
}

// N-023, N-043: the NIP-11 document says that NIP-77 is spoken.
func TestNegentropyIsTold(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	_, body := h.Get(h.URL, "Accept", "application/nostr+json")
	var doc struct {
		NIPs []int `json:"supported_nips"`
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil || !slices.Contains(doc.NIPs, 77) {
		t.Errorf("supported_nips %v (%v), want 77 among them", doc.NIPs, err)
	}
}
