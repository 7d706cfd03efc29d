package syncer

import (
	"slices"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// batch is the most values of one filter (G02-05).
const batch = 100

// kindPatch and kindIssue are roots of threads, beside pull requests.
var rootKinds = []int{grasp.KindPatch, grasp.KindPull, grasp.KindPullUpdate, grasp.KindIssue}

func isRoot(kind int) bool { return slices.Contains(rootKinds, kind) }

// A want is what one peer may have that belongs here: of repositories whose announcement waits only
// the states, of served ones everything (G02-04).
type want struct {
	ids     []string // identifiers, sorted
	coords  []string // 30617:owner:identifier of the served ones, sorted
	authors []string // who announced any of these, sorted
	people  []string // whose profiles are asked for there (GRASP-03), sorted
	named   bool     // an announcement names the peer, or the operator does: it may have announcements
}

// discovery asks for announcements that may name us, and for the lists of servers that people use.
func discovery() nostr.Filter {
	return nostr.Filter{Kinds: []int{grasp.KindAnnouncement, grasp.KindGraspList}}
}

// states asks for what moves refs. Announcements are asked for as well: maintainers have their own.
func states(ids []string) []nostr.Filter {
	return batches(ids, func(list []string) nostr.Filter {
		return nostr.Filter{Kinds: []int{grasp.KindAnnouncement, grasp.KindState}, Tags: nostr.TagMap{"d": list}}
	})
}

// related asks for what names repositories.
func related(coords []string) []nostr.Filter {
	var out []nostr.Filter
	for _, letter := range []string{"a", "A", "q"} {
		out = append(out, batches(coords, func(list []string) nostr.Filter {
			return nostr.Filter{Tags: nostr.TagMap{letter: list}}
		})...)
	}
	return out
}

// threads asks for what answers roots.
func threads(roots []string) []nostr.Filter {
	var out []nostr.Filter
	for _, letter := range []string{"e", "E", "q"} {
		out = append(out, batches(roots, func(list []string) nostr.Filter {
			return nostr.Filter{Tags: nostr.TagMap{letter: list}}
		})...)
	}
	return out
}

// deletions asks for what those who announced withdraw.
func deletions(authors []string) []nostr.Filter {
	return batches(authors, func(list []string) nostr.Filter {
		return nostr.Filter{Kinds: []int{grasp.KindDeletion}, Authors: list}
	})
}

// profiles asks for who people are and where they write (G03-01).
func profiles(people []string) []nostr.Filter {
	return batches(people, func(list []string) nostr.Filter {
		return nostr.Filter{Kinds: grasp.ProfileKinds, Authors: list}
	})
}

// rootsOf finds the roots of threads about repositories.
func rootsOf(coords []string) []nostr.Filter {
	return batches(coords, func(list []string) nostr.Filter {
		return nostr.Filter{Kinds: rootKinds, Tags: nostr.TagMap{"a": list}}
	})
}

func batches(values []string, f func([]string) nostr.Filter) []nostr.Filter {
	var out []nostr.Filter
	for list := range slices.Chunk(values, batch) {
		out = append(out, f(list))
	}
	return out
}

// first is what is asked for before anything depends on it: everything but threads.
func (w want) first() []nostr.Filter {
	out := states(w.ids)
	out = append(out, related(w.coords)...)
	out = append(out, profiles(w.people)...)
	return append(out, deletions(w.authors)...)
}

// without returns what of w is not in other.
func (w want) without(other want) want {
	return want{
		ids: minus(w.ids, other.ids), coords: minus(w.coords, other.coords), authors: minus(w.authors, other.authors),
		people: minus(w.people, other.people), named: w.named && !other.named,
	}
}

func (w want) empty() bool {
	return len(w.ids)+len(w.coords)+len(w.authors)+len(w.people) == 0 && !w.named
}

// minus returns what of a, sorted, is not in b, sorted.
func minus(a, b []string) []string {
	var out []string
	for _, s := range a {
		if _, ok := slices.BinarySearch(b, s); !ok {
			out = append(out, s)
		}
	}
	return out
}
