package steward

import (
	"context"
	"io"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/jobs"
)

// A Ledger remembers events, repositories and settled refs. Everything that Commit reported as
// done survives a crash of the process and of the machine. All methods are safe for concurrent
// use. Errors are *fault.Error.
type Ledger interface {
	// View returns all that is known of identifier id: the announcements, the states, the
	// waiting pull requests, and which owners have a repository.
	View(ctx context.Context, id string) (Facts, error)

	// Event returns the event with this id from either shelf, or a fault.NotFound.
	Event(ctx context.Context, id grasp.EventID) (Entry, error)

	// Lookup answers everything that admission of ev depends on and that is not in a View.
	Lookup(ctx context.Context, q Question) (Answer, error)

	// Commit writes the whole of c or nothing. The Receipt says what became of c.Put.
	Commit(ctx context.Context, c Change) (Receipt, error)

	// Due returns what Sweep has to look at: everything whose time is up at now.
	Due(ctx context.Context, now time.Time, limit int) (Due, error)

	// Unsettled returns the identifiers whose last settlement may not have been finished, and
	// those with waiting events.
	Unsettled(ctx context.Context) ([]string, error)

	// Unrecorded returns how the refs of repo, which are now, differ from those as of the last Commit that moved
	// any, in the order of their names.
	Unrecorded(ctx context.Context, repo grasp.Addr, now grasp.RefList) ([]grasp.RefChange, error)

	// Placeholders returns the PR refs in contributors' boxes that have no accepted event: of one
	// box, of all boxes of an identifier if Repo has no Owner, or of one Event if Repo is zero.
	// Those of one box follow each other.
	Placeholders(ctx context.Context, of Orphan) ([]Orphan, error)

	// Lost returns the settled PR refs in boxes of identifier id whose event is on no shelf, and
	// that are no placeholders. Their Deadline is zero.
	Lost(ctx context.Context, id string) ([]Orphan, error)

	// Weight returns what was last recorded of repo, which may be a box; nothing weighs nothing.
	Weight(ctx context.Context, repo grasp.Addr) (Weight, error)

	// Kept sums up what the announced repositories of owner hold, or owner's boxes.
	Kept(ctx context.Context, owner grasp.PubKey, boxes bool) (Kept, error)

	// Thread returns what of a served event matters to those that answer it. Of one that is not
	// served it is nothing.
	Thread(ctx context.Context, id grasp.EventID) (Thread, error)

	// Tally returns how many events, of both shelves, count for each of list.
	Tally(ctx context.Context, list []Charge) ([]int, error)

	// Walk returns up to limit repositories behind after, with what is recorded of each: first
	// those that have a row, by identifier and owner, then the boxes that weigh anything. Behind
	// the zero Addr are all.
	Walk(ctx context.Context, after grasp.Addr, limit int) ([]Weighed, error)
}

// Facts is a View as the ledger tells it: events as they came, to be parsed by grasp.
type Facts struct {
	Entries []Entry // kinds 30617 and 30618 of the identifier, and waiting pull requests that name it
	Repos   []Repo
	Orphans []Orphan // PR refs that have no accepted event; of those in boxes only the ones whose time is over
}

// An Entry is an event with what the ledger keeps beside it.
type Entry struct {
	Event    *nostr.Event
	Raw      []byte      // the canonical JSON of the event; what readers are sent
	Shelf    grasp.Shelf // Waiting or Served
	Subjects []string    // the identifiers whose View holds it
	Received time.Time   // first arrival
	Deadline time.Time   // when a waiting event is let go; zero for served ones
	Expires  time.Time   // NIP-40; zero if never
	Charges  []Charge    // what it counts for; written by Commit, not read back
	Source   string      // the address prefix it came from, for limits on what waits
}

// A Repo is a repository that has a home here, or had one until recently.
type Repo struct {
	Addr    grasp.Addr
	Hosting grasp.Hosting
	Since   time.Time // when Hosting became what it is
}

// A Weight is what a repository holds on disk, in bytes, and who answers for it (G01-109).
type Weight struct {
	Own   int64 // counts for the owner
	Pulls int64 // was brought by PR refs, which anybody may push; 0 for boxes
}

// Total is all that the repository holds.
func (w Weight) Total() int64 { return w.Own + w.Pulls }

// Weighed says what a repository was found to hold.
type Weighed struct {
	Repo   grasp.Addr
	Weight Weight
}

// Kept is what all repositories of one owner, or all boxes of one submitter, hold together.
type Kept struct {
	Repos  int    // Live and Withdrawn ones; boxes with a ref in them
	Refs   int    // in boxes, those under way included
	Weight Weight // of these

	Deleted       int    // repositories in their grace
	DeletedWeight Weight // of these
	Oldest        []Repo // of these, the first deleted first; at most MaxOldest
}

// MaxOldest is how many deleted repositories Kept names.
const MaxOldest = 100

// An Orphan is a PR ref without an accepted event. It is removed at Deadline (G01-707).
type Orphan struct {
	Repo     grasp.Addr
	Event    grasp.EventID
	Deadline time.Time
}

// A Question asks, for one event, what its admission depends on.
type Question struct {
	ID         grasp.EventID
	Author     grasp.PubKey
	Created    int64
	Coordinate string   // kind:pubkey:d of a replaceable or addressable event, else ""
	IDs        []string // values of e, E, q that look like ids
	Addrs      []string // values of a, A, q that look like coordinates
	Source     string   // address prefix; "" has none that is counted

	// Brief says that nothing but Related is needed if that is true: Commit finds out about the
	// rest. Then the rest of the Answer may be left out.
	Brief bool
}

// An Answer to a Question.
type Answer struct {
	Known   grasp.Shelf // where an event with this id rests already
	Deleted bool        // a tombstone covers it (N-033, N-035)
	Newer   bool        // a served newer version of its coordinate exists, or an equal one with a lower id (N-009)
	Related bool        // a served event is named by IDs or Addrs, or names ID or Coordinate (G01-801)

	WaitingByAuthor int // how many events of this author wait
	WaitingBySource int // how many from this source
	WaitingInAll    int
}

// A Thread is what of an event matters to those that answer it. Nobody changes it.
type Thread struct {
	Served     bool
	Kind       int
	Coordinate string   // of a replaceable or addressable event
	Charges    []Charge // what the event counts for, in any order
	Addrs      []string // the coordinates that it names
}

// A Change is all that one step writes. Commit writes the whole of it or nothing.
type Change struct {
	// Put is a new event. If a tomb covers it that is a fault.Refused (N-033). If its id is
	// known already nothing of the Change is written and the Receipt says Duplicate. A served replaceable or addressable event removes the served
	// older version, or is not written if a newer one is served (Receipt says Stale); one
	// statement decides (N-009). A waiting announcement replaces a waiting one of the same
	// coordinate; waiting states and pull requests stand beside each other (G01-309).
	Put *Entry

	Release []grasp.EventID // from waiting to served, in this order; same rule as for Put
	Drop    []grasp.EventID // removed without a tombstone

	// Extend moves deadlines of waiting events forward, never backward, and never beyond
	// 24 hours after their first arrival (G01-312).
	Extend map[grasp.EventID]time.Time

	// Tombs are written, and the events they cover are removed from both shelves. Their ids
	// are in the Receipt. Kinds 5 and 62 are only ever removed by a Tomb of kind vanish, which
	// also marks the subjects of what it removes as unsettled: nobody can name them before.
	Tombs []Tomb

	Repos   []Repo   // written as they are; Hosting NotHosted removes the row, and its weight
	Orphans []Orphan // added, or their deadline moved; a zero Deadline removes the row

	// Weighed is recorded after Repos; of a repository without a row nothing is, unless it is a
	// box. What weighs nothing leaves no trace.
	Weighed []Weighed

	// Moves are recorded in the journal of moves, and applied to the settled refs.
	Moves []Moved

	// Jobs are what these moves ask for. They are queued by the rules of jobs.Queue.
	Jobs []jobs.Job

	// Unsettled and Settled mark and clear an identifier as in need of a settlement.
	Unsettled, Settled string
}

// Moved is what one repository's refs did.
type Moved struct {
	Repo    grasp.Addr
	Changes []grasp.RefChange
	Cause   grasp.EventID // the state or pull request that asked for it, if one did
	Push    string        // the push that delivered it, if one did
}

// A Tomb says that something was deleted and must not come back.
type Tomb struct {
	By grasp.PubKey // only events of this author are covered

	ID         grasp.EventID // this event, or
	Coordinate string        // every version of this coordinate up to Until, or
	Vanish     bool          // everything up to Until, kinds 5 and 62 included (NIP-62)
	Until      int64         // created_at, seconds, inclusive
}

// A Receipt says what became of a Change.
type Receipt struct {
	Duplicate bool            // Put was known already
	Stale     bool            // Put lost against a newer served version
	Removed   []Entry         // what Tombs removed, from either shelf
	Replaced  []grasp.EventID // what Put and Release removed

	// Ended are those of Jobs that ended as they were written: they were done before, a newer one took
	// their place, there is no room for them.
	Ended map[jobs.ID]JobEnd
}

// A JobEnd is how a job ended, and why.
type JobEnd struct {
	State  jobs.State
	Reason string
}

// Due is what Sweep works on.
type Due struct {
	Waiting []Entry // their deadline has passed
	Expired []Entry // served events whose NIP-40 expiration has passed
	Orphans []Orphan
	Repos   []Repo // withdrawn or deleted, oldest first; the steward knows the grace periods
}

// A Vault holds the bare repositories. Everything that a method reported as done survives a
// crash of the process and of the machine. All methods are safe for concurrent use; those that
// change the refs of one repository are called by one goroutine at a time.
type Vault interface {
	// Refs returns the refs and HEAD of repo as they are on disk. A repository that has no
	// folder has no refs; that is no error. The answer comes from memory when nothing has
	// changed, without starting a process.
	Refs(ctx context.Context, repo grasp.Addr) (*grasp.Snapshot, error)

	// Have returns which of want are complete in repo: present together with everything
	// reachable from them (G01-307).
	Have(ctx context.Context, repo grasp.Addr, want []grasp.OID) (grasp.OIDSet, error)

	// Copy brings oids and all that is reachable from them from one repository to another,
	// creating the latter if need be. They are complete in from.
	Copy(ctx context.Context, from, to grasp.Addr, oids []grasp.OID) error

	// Apply makes edits, all or none, whose Old must be what the refs are now, then points
	// HEAD at head unless it is "". The repository is created if need be. A heads or PR ref that would
	// not point at a commit is a fault.Refused; a lost race is a fault.Stale.
	Apply(ctx context.Context, repo grasp.Addr, edits []grasp.RefChange, head grasp.RefName) error

	// Ingest reads a pack into a quarantine of repo, where nothing else sees it. The pack is
	// checked (format, fsck, thin packs are completed) but nothing is visible until Admit.
	// progress receives lines for a person and may be called from another goroutine.
	Ingest(ctx context.Context, repo grasp.Addr, pack io.Reader, opt IngestOptions) (Quarantine, error)

	// Size returns how many bytes the objects of repo take on disk: packs and what belongs to
	// them. It is cheap, also where the repository was not looked at before. Without a folder
	// it is 0.
	Size(ctx context.Context, repo grasp.Addr) (int64, error)

	// Remove makes repo disappear at once; its files are deleted behind the scenes.
	Remove(ctx context.Context, repo grasp.Addr) error
}

// An Attic keeps what an archive showed once (G05-06), in refs that nobody is told of; Apply makes them
// and takes them away. A Vault may be one. Its methods are safe for concurrent use.
type Attic interface {
	// Kept returns the older tips that are kept of repo.
	Kept(ctx context.Context, repo grasp.Addr) ([]grasp.Kept, error)

	// Leaving returns those of edits after which no branch or tag leads to what Old is any more, of
	// what is here.
	Leaving(ctx context.Context, repo grasp.Addr, edits []grasp.RefChange) ([]grasp.RefChange, error)
}

// IngestOptions bound one delivery.
type IngestOptions struct {
	MaxBytes   int64 // of the pack as sent; 0 means no limit
	MaxObjects uint32
	Progress   func(line string)
}

// A Quarantine holds the objects of one push until it is decided about.
type Quarantine interface {
	// Check verifies that every tip is complete given what the repository holds, and that
	// tips of branches and PR refs are commits (H-253). A violation is a fault.Refused.
	Check(ctx context.Context, updates []grasp.RefChange) error

	// Size returns by how many bytes Size of the repository grows if this is admitted, at most.
	// It is 0 if Check found that nothing of it is needed.
	Size() int64

	// Admit makes the objects part of the repository, durably.
	Admit(ctx context.Context) error

	// Discard removes what was not admitted. It may be called at any time, and twice.
	Discard()
}
