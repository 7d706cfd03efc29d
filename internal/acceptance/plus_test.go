package acceptance_test

import (
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// plus makes a house ask where people write (GRASP-03).
func plus(c *config.Config) {
	housetest.Syncing(c)
	c.Sync.Plus = true
}

func relayList(k *housetest.Key, write ...string) *nostr.Event {
	tags := []nostr.Tag{{"r", "wss://read.example", "read"}}
	for _, u := range write {
		tags = append(tags, nostr.Tag{"r", u, "write"})
	}
	return k.Sign(grasp.KindRelayList, 0, "", tags...)
}

// G03-01: what is about a repository that is served here, and who takes part in it, is fetched from a
// plain relay that only the relay list of one of them names, and followed there; nothing else is, and what
// strangers have there never comes.
func TestPlus(t *testing.T) {
	t.Parallel()
	f := newForeign(t, 100)
	h := housetest.Start(t, plus)
	owner, guest, other, stranger := housetest.NewKey(t), housetest.NewKey(t), housetest.NewKey(t), housetest.NewKey(t)
	c := h.Dial()
	h.Served(c, owner, "demo", 0)
	issue := issueAt(guest, owner, "demo", "it does not work", 0)
	c.Must(issue)

	profile, list := guest.Sign(grasp.KindProfile, 0, "{}"), guest.Sign(grasp.KindGraspList, 0, "", tag("g", "wss://x.example"))
	answer := answerTo(other, issue, "here neither")
	wish := issueAt(other, owner, "demo", "a wish", 0)
	about := other.Sign(grasp.KindProfile, 0, "{}")
	foreign := []*nostr.Event{
		stranger.Sign(grasp.KindProfile, 0, "{}"), stranger.Sign(1, 0, "hello"), guest.Sign(1, 0, "hello"),
		owner.Sign(grasp.KindAnnouncement, 0, "", tag("d", "else"), tag("clone", "https://x.example/x.git"), tag("relays", f.url)),
	}
	f.has(profile, list, answer, wish, about)
	f.has(foreign...)
	c.Must(relayList(guest, f.url))
	h.Arrives(profile, list, answer, wish, about) // the last because its author has answered
	live := answerTo(stranger, wish, "I wish it too")
	f.has(live)
	f.BroadcastEvent(live)
	h.Arrives(live)
	for _, ev := range foreign[1:] { // the stranger takes part by now
		if h.Has(ev) {
			t.Errorf("an event of kind %d came that nobody here asked for", ev.Kind)
		}
	}
	if _, document := h.Get("/", "Accept", "application/nostr+json"); !strings.Contains(document, `"GRASP-02","GRASP-03"`) {
		t.Errorf("NIP-11: %s", document)
	}
	if _, page := h.Get("/status.json"); !strings.Contains(page, f.url) || !strings.Contains(page, `"people": `) {
		t.Errorf("/status.json: %s", page)
	}
}

// G03-01: without the setting relays of people are nothing to us, and the profile does not name itself.
func TestPlusOff(t *testing.T) {
	t.Parallel()
	f := newForeign(t, 100)
	both := housetest.Together(t, 2)
	h := both[0]
	owner, guest := housetest.NewKey(t), housetest.NewKey(t)
	hostedAt(t, owner, "demo", both...)
	issue := issueAt(guest, owner, "demo", "x", 0)
	f.has(guest.Sign(grasp.KindProfile, 0, "{}"))
	h.Dial().Must(issue, relayList(guest, f.url))
	late := issueAt(owner, owner, "demo", "by then it would have happened", 0)
	both[1].Dial().Must(late)
	h.Arrives(late)
	h.Dial().Refused(answerOnly(t, owner, h).Sign(grasp.KindProfile, 0, "{}"), "must reference")
	if _, page := h.Get("/status.json"); strings.Contains(page, f.url) {
		t.Errorf("/status.json: %s", page)
	}
	if _, document := h.Get("/", "Accept", "application/nostr+json"); strings.Contains(document, "GRASP-03") {
		t.Errorf("NIP-11: %s", document)
	}
}

// answerOnly returns somebody who has answered something at h, and opened nothing.
func answerOnly(t *testing.T, owner *housetest.Key, h *housetest.House) *housetest.Key {
	t.Helper()
	k := housetest.NewKey(t)
	issue := issueAt(owner, owner, "demo", "to be answered", 0)
	h.Dial().Must(issue, answerTo(k, issue, "so be it"))
	return k
}

// G03-01: the profiles of who takes part are asked for at the relays of the announcement where nobody
// knows where they write, and the lists found there lead on.
func TestPlusFindsLists(t *testing.T) {
	t.Parallel()
	outbox := newForeign(t, 100)
	a, b := housetest.Start(t, plus), housetest.Start(t, plus)
	owner, guest := housetest.NewKey(t), housetest.NewKey(t)
	hostedAt(t, owner, "demo", a, b)
	issue := issueAt(guest, owner, "demo", "x", 0)
	list, profile := relayList(guest, outbox.url), guest.Sign(grasp.KindProfile, 0, "{}")
	outbox.has(profile)
	a.Dial().Must(issue, list)
	b.Arrives(issue, list, profile)
	a.Arrives(profile)
}
