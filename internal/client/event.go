package client

import (
	"maps"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// An Announcement says that a repository exists and where (kind 30617).
type Announcement struct {
	ID          string // the identifier
	Name        string
	Description string
	Clone       []string
	Relays      []string
	Web         []string
	Maintainers []grasp.PubKey // besides the owner
	Root        grasp.OID      // the earliest commit, by which copies find each other; or ""
}

// Event returns the event, not signed.
func (a Announcement) Event(at time.Time) *nostr.Event {
	tags := nostr.Tags{{"d", a.ID}}
	list := func(name string, values ...string) {
		if len(values) > 0 && values[0] != "" {
			tags = append(tags, append(nostr.Tag{name}, values...))
		}
	}
	list("name", a.Name)
	list("description", a.Description)
	list("clone", a.Clone...)
	list("relays", a.Relays...)
	list("web", a.Web...)
	keys := make([]string, len(a.Maintainers))
	for i, k := range a.Maintainers {
		keys[i] = string(k)
	}
	list("maintainers", keys...)
	if a.Root != "" {
		tags = append(tags, nostr.Tag{"r", string(a.Root), "euc"})
	}
	return &nostr.Event{Kind: grasp.KindAnnouncement, CreatedAt: nostr.Timestamp(at.Unix()), Tags: tags}
}

// A State says where the refs of a repository shall be (kind 30618).
type State struct {
	ID     string // the identifier
	Refs   grasp.Refs
	Peeled map[grasp.RefName]grasp.OID // of annotated tags: what they finally point to
	Head   grasp.RefName               // left out unless Refs has it
}

// Event returns the event, not signed. An annotated tag is named by its tag object, with its
// commit beside it under the same name and ^{} (G01-304).
func (s State) Event(at time.Time) *nostr.Event {
	tags := nostr.Tags{{"d", s.ID}}
	for _, n := range s.Refs.Sorted() {
		tags = append(tags, nostr.Tag{string(n), string(s.Refs[n])})
		if o, ok := s.Peeled[n]; ok {
			tags = append(tags, nostr.Tag{string(n) + "^{}", string(o)})
		}
	}
	if _, ok := s.Refs[s.Head]; ok {
		tags = append(tags, nostr.Tag{"HEAD", "ref: " + string(s.Head)})
	}
	return &nostr.Event{Kind: grasp.KindState, CreatedAt: nostr.Timestamp(at.Unix()), Tags: tags}
}

// equal reports whether s says what the state event was says.
func (s State) equal(was grasp.State) bool {
	head := s.Head
	if _, ok := s.Refs[head]; !ok {
		head = ""
	}
	return maps.Equal(s.Refs, was.Refs) && head == was.Head && len(was.Unsatisfiable) == 0
}
