package grasp

import "github.com/nbd-wtf/go-nostr"

// KindRelayList and KindProfile say who somebody is, and where they write (NIP-65); KindGraspList which
// servers they prefer. All three are replaceable: nobody can keep more than one of each here.

// A Part is what a key has to do with what is served here. The zero Part is a stranger's.
type Part uint8

const (
	// Stranger: nothing that is served is theirs, or names them as a maintainer.
	Stranger Part = iota
	// Participant: something that was accepted because of a repository is theirs (G03-01).
	Participant
	// Member: they announced, stated or opened something, or are named as a maintainer (G01-806).
	Member
)

// ProfileKinds are the events about people that are fetched for those who take part (G03-01).
var ProfileKinds = []int{KindProfile, KindRelayList, KindGraspList}

// AdmitRelated decides about an event of a kind that the rules give no further meaning to. related says
// that something served connects to it (G01-801); part is what its author has to do with what is here, and
// matters for kinds 0 and 10002 alone (G01-806): those are kept of members, and of participants as well
// where plus is spoken (G03-01). Lists of servers come from anyone.
func AdmitRelated(kind int, related bool, part Part, plus bool) error {
	switch {
	case related, kind == KindGraspList:
		return nil
	case AboutPeople(kind) && (part == Member || plus && part == Participant):
		return nil
	}
	return Unrelated()
}

// AboutPeople reports whether events of kind may be kept because of who signed them, so that Part
// matters (G01-806).
func AboutPeople(kind int) bool { return kind == KindProfile || kind == KindRelayList }

// maxRelayTags is how many r tags of a relay list are read.
const maxRelayTags = 50

// WriteRelays returns the relays that a relay list (kind 10002) names as those its author writes to, in
// its order and as they are written there: r tags that are marked write, or not marked at all (NIP-65). It
// returns at most most.
func WriteRelays(ev *nostr.Event, most int) []string {
	var out []string
	seen := 0
	for _, t := range ev.Tags {
		if len(t) < 2 || t[0] != "r" || t[1] == "" {
			continue
		}
		if seen++; seen > maxRelayTags || len(out) == most {
			break
		}
		if len(t) < 3 || t[2] == "" || t[2] == "write" {
			out = append(out, t[1])
		}
	}
	return out
}
