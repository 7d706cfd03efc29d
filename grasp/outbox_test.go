package grasp_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// TestAdmitRelated: profiles and relay lists come in for who has to do with what is here, lists of
// servers for anybody, all else by what it is about (G01-801, G01-806, G03-01).
func TestAdmitRelated(t *testing.T) {
	for _, c := range []struct {
		name    string
		kind    int
		related bool
		part    grasp.Part
		plus    bool
		allow   bool
	}{
		{"a list of servers of a stranger", grasp.KindGraspList, false, grasp.Stranger, false, true},
		{"a profile of a stranger", grasp.KindProfile, false, grasp.Stranger, false, false},
		{"with plus", grasp.KindProfile, false, grasp.Stranger, true, false},
		{"a profile of a member", grasp.KindProfile, false, grasp.Member, false, true},
		{"with plus", grasp.KindProfile, false, grasp.Member, true, true},
		{"a profile of who answered", grasp.KindProfile, false, grasp.Participant, false, false},
		{"with plus", grasp.KindProfile, false, grasp.Participant, true, true},
		{"a relay list of a stranger", grasp.KindRelayList, false, grasp.Stranger, true, false},
		{"a relay list of who answered", grasp.KindRelayList, false, grasp.Participant, true, true},
		{"a relay list that somebody names", grasp.KindRelayList, true, grasp.Stranger, false, true},
		{"contacts of a member", 3, false, grasp.Member, true, false},
		{"a note of a member", 1, false, grasp.Member, true, false},
		{"an answer of a stranger", 1111, true, grasp.Stranger, false, true},
	} {
		err := grasp.AdmitRelated(c.kind, c.related, c.part, c.plus)
		var no *grasp.Refusal
		if (err == nil) != c.allow || err != nil && (!errors.As(err, &no) || !no.Unrelated) {
			t.Errorf("%s, plus %t: %v, want allowed %t", c.name, c.plus, err, c.allow)
		}
	}
}

// TestWriteRelays: what is marked write, or not at all, in the order of the list (NIP-65).
func TestWriteRelays(t *testing.T) {
	list := &nostr.Event{Kind: grasp.KindRelayList, Tags: nostr.Tags{
		{"r", "wss://a.example"}, {"r", "wss://b.example", "read"}, {"r", "wss://c.example", "write"}, {"p", "wss://d.example"},
		{"r"}, {"r", ""}, {"r", "wss://e.example", ""}, {"r", "wss://f.example", "both"},
	}}
	for most, want := range map[int][]string{
		9: {"wss://a.example", "wss://c.example", "wss://e.example"},
		2: {"wss://a.example", "wss://c.example"},
		0: nil,
	} {
		if got := grasp.WriteRelays(list, most); !slices.Equal(got, want) {
			t.Errorf("at most %d: %q, want %q", most, got, want)
		}
	}
	long := &nostr.Event{Kind: grasp.KindRelayList}
	for range 10_000 {
		long.Tags = append(long.Tags, nostr.Tag{"r", "wss://x.example", "read"})
	}
	long.Tags = append(long.Tags, nostr.Tag{"r", "wss://late.example"})
	if got := grasp.WriteRelays(long, 3); len(got) != 0 {
		t.Errorf("of 10,000 relays %q", got)
	}
}
