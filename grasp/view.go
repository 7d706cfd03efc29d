package grasp

import "github.com/nbd-wtf/go-nostr"

// A Shelf says where an event rests.
type Shelf uint8

const (
	// Nowhere: the event is not kept.
	Nowhere Shelf = iota
	// Waiting events authorise pushes but are not served ("purgatory").
	Waiting
	// Served events are visible to everybody.
	Served
)

func (s Shelf) String() string { return [...]string{"nowhere", "waiting", "served"}[s] }

// An Announcement is a parsed event of kind 30617.
type Announcement struct {
	Event       *nostr.Event
	Addr        Addr
	Shelf       Shelf
	ListsUs     bool     // names this site in both clone and relays (G01-102)
	Archived    bool     // does not, and is kept as an archive (G05-01)
	Maintainers []PubKey // as listed, without garbage (G01-114)
	Clone       []string
	Relays      []string
}

// A State is a parsed event of kind 30618.
type State struct {
	Event  *nostr.Event
	ID     EventID
	Author PubKey
	Repo   string // the identifier
	At     int64  // created_at, seconds
	Shelf  Shelf
	Refs   Refs    // what it declares below refs/heads/ and refs/tags/ (G01-302)
	Head   RefName // the branch HEAD shall point to, or ""

	// Unsatisfiable lists refs whose value is no object id: the state can wait, but never be
	// complete.
	Unsatisfiable []RefName
}

// A Pull is a parsed event of kind 1618 or 1619.
type Pull struct {
	Event *nostr.Event
	ID    EventID
	Shelf Shelf
	Tip   OID      // the first c tag; "" if it is a SHA-256 id, which no repository here can satisfy
	Repos []Addr   // what its a tags name
	Clone []string // its clone URLs

	// Boxes are the contributor's boxes of its author that its clone URLs name, for identifiers
	// that its a tags name (G06-07); Site.Pull finds them. They are where its commits come from
	// if nothing else here connects to it.
	Boxes []Addr

	// Root is the pull request that an update without a tags belongs to, by its E tag; "" if
	// there is none. What that one names, the update concerns too (G01-709).
	Root EventID
}

// A Hosting says how a repository lives here. The zero value: it does not.
type Hosting uint8

const (
	// NotHosted: there is no repository at this path.
	NotHosted Hosting = iota
	// Live repositories are read and pushed to.
	Live
	// Withdrawn repositories are read until their grace ends; their owner's announcement no
	// longer lists this site (G01-115).
	Withdrawn
	// Deleted repositories answer 404; their data is kept for a while (G01-902).
	Deleted
)

// A View is all that this server knows of one identifier, served or waiting. It is a value:
// build one, ask it, throw it away. Its zero value knows nothing and permits nothing.
type View struct {
	ID            string // the identifier
	Announcements map[PubKey]Announcement
	States        map[PubKey][]State // in any order
	Pulls         map[EventID]Pull   // those that wait, and those that somebody asked about

	// Sealed says that no repository here takes branches and tags by a push (G05-03).
	Sealed bool

	// Hosted says, by owner, which repositories of this identifier have a home here.
	Hosted map[PubKey]Hosting

	// Foreign are events that are known here but are not pull requests of this identifier;
	// only the ids that somebody asked about. No PR ref may carry their id (G01-702).
	Foreign map[EventID]struct{}
}
