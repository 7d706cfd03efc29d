package store

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/search"
	"github.com/gitroost/gitroost/internal/steward"
)

// A plan is a Change in the form in which it is stored. All parsing and checking is done on the
// caller's time, so the writer does nothing but write.
type plan struct {
	put     *row
	plain   bool // put is all, and fits on the tray
	file    int  // of the tray, so many events; then that is all
	words   bool // of those that have words
	release []id32
	drop    []id32
	extend  []extension
	tombs   []tomb
	repos   []repoRow
	weighed []weightRow
	orphans []orphanRow
	moves   []move
	jobs    []jobRow

	unsettled, settled string

	catchUp bool // index some of what is unsearched; a plan of its own
	// book writes what is no Change of the ledger, or is nil. It may be called again if the
	// transaction fails.
	book func(a *applier) error
}

// A row is an event as it is stored, with the keys it is found under.
type row struct {
	seq        int64
	id, author id32
	kind       int
	at         int64
	d          string
	versioned  bool // d is part of its coordinate
	shelf      grasp.Shelf
	received   any
	deadline   any
	expires    any
	source     string
	subjects   []string
	raw        []byte
	keys       [][]byte
	charges    []steward.Charge
	words      search.Words
}

// dColumn is d, or NULL where there is no such thing.
func (r *row) dColumn() any {
	if !r.versioned {
		return nil
	}
	return r.d
}

// beats reports whether r is the newer of two versions (N-009).
func (r *row) beats(at int64, id id32) bool {
	return r.at > at || r.at == at && string(r.id[:]) < string(id[:])
}

type extension struct {
	id       id32
	deadline int64
}

const (
	tombID = iota + 1
	tombCoordinate
	tombVanish
)

// everything is the name in a tombVanish: the driver makes NULL of an empty blob.
var everything = []byte{0}

type tomb struct {
	by    id32
	what  int
	name  []byte
	until int64

	id   id32 // of tombID
	kind int  // these two of a tombCoordinate that can cover anything
	d    string
	some bool
}

type repoRow struct {
	owner   id32
	id      string
	hosting grasp.Hosting
	since   any
}

type weightRow struct {
	owner      id32
	id         string
	box        bool
	own, pulls int64
}

type orphanRow struct {
	box      bool
	owner    id32
	id       string
	event    id32
	deadline any
}

type move struct {
	box   bool
	owner id32
	id    string
	refs  []refMove
	cause any
	push  any
}

type refMove struct {
	name     string
	event    id32 // in the name of a box's ref
	old, new []byte
}

func prepare(c steward.Change) (*plan, error) {
	p := &plan{unsettled: c.Unsettled, settled: c.Settled}
	var err error
	if c.Put != nil {
		if p.put, err = rowOf(c.Put); err != nil {
			return nil, err
		}
	}
	if p.release, err = idList(c.Release); err != nil {
		return nil, err
	}
	if p.drop, err = idList(c.Drop); err != nil {
		return nil, err
	}
	for id, until := range c.Extend {
		b, err := need32("event", id)
		if err != nil {
			return nil, err
		}
		p.extend = append(p.extend, extension{b, clampNanos(until)})
	}
	for _, t := range c.Tombs {
		list, err := tombsOf(t)
		if err != nil {
			return nil, err
		}
		p.tombs = append(p.tombs, list...)
	}
	for _, r := range c.Repos {
		if r.Addr.Box {
			return nil, fault.E(fault.Invalid, "store: encode", "a box among the repositories that somebody announced")
		}
		owner, err := need32("owner", r.Addr.Owner)
		if err != nil {
			return nil, err
		}
		p.repos = append(p.repos, repoRow{owner, r.Addr.ID, r.Hosting, nanos(r.Since)})
	}
	for _, w := range c.Weighed {
		owner, err := need32("owner", w.Repo.Owner)
		if err != nil {
			return nil, err
		}
		if w.Weight.Own < 0 || w.Weight.Pulls < 0 {
			return nil, fault.E(fault.Invalid, "store: encode", "a repository weighs less than nothing")
		}
		p.weighed = append(p.weighed, weightRow{owner, w.Repo.ID, w.Repo.Box, w.Weight.Own, w.Weight.Pulls})
	}
	for _, o := range c.Orphans {
		owner, err := need32("owner", o.Repo.Owner)
		if err != nil {
			return nil, err
		}
		event, err := need32("event", o.Event)
		if err != nil {
			return nil, err
		}
		p.orphans = append(p.orphans, orphanRow{o.Repo.Box, owner, o.Repo.ID, event, nanos(o.Deadline)})
	}
	for _, m := range c.Moves {
		out, err := moveOf(m)
		if err != nil {
			return nil, err
		}
		p.moves = append(p.moves, out)
	}
	p.jobs, err = jobRows(c.Jobs)
	p.plain = p.fits()
	return p, err
}

func idList(ids []grasp.EventID) ([]id32, error) {
	out := make([]id32, 0, len(ids))
	for _, id := range ids {
		b, err := need32("event", id)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

// rowOf trusts nothing but e.Raw about what the event says: its tags are parsed from there now and
// when it is removed, so both see the same.
func rowOf(e *steward.Entry) (*row, error) {
	const op = "store: put"
	if e.Event == nil || len(e.Raw) == 0 {
		return nil, fault.E(fault.Invalid, op, "an event without its JSON")
	}
	if e.Shelf != grasp.Waiting && e.Shelf != grasp.Served {
		return nil, fault.E(fault.Invalid, op, "an event for no shelf")
	}
	ev := new(nostr.Event)
	if err := ev.UnmarshalJSON(e.Raw); err != nil {
		return nil, &fault.Error{Code: fault.Invalid, Op: op, Text: "JSON that does not parse", Err: err}
	}
	if ev.ID != e.Event.ID {
		return nil, fault.E(fault.Invalid, op, "the JSON is another event's")
	}
	id, err := need32("event", ev.ID)
	if err != nil {
		return nil, err
	}
	author, err := need32("author", ev.PubKey)
	if err != nil {
		return nil, err
	}
	r := &row{
		id: id, author: author, kind: ev.Kind, at: int64(ev.CreatedAt), shelf: e.Shelf,
		charges: once(e.Charges), received: nanos(e.Received), expires: seconds(e.Expires), source: e.Source,
		subjects: slices.Clone(e.Subjects), raw: e.Raw, keys: tagKeys(ev),
	}
	r.d, r.versioned = version(ev)
	if viewed(r.kind) && !slices.Contains(r.subjects, r.d) {
		r.subjects = append(r.subjects, r.d)
	}
	if e.Shelf == grasp.Waiting {
		r.deadline = nanos(e.Deadline)
	} else {
		r.words = search.Of(ev)
	}
	return r, nil
}

func (r *row) subjectsColumn() (string, error) {
	if len(r.subjects) == 0 {
		return "[]", nil
	}
	b, err := json.Marshal(r.subjects)
	return string(b), err
}

// tombsOf returns what t covers, one thing per tomb.
func tombsOf(t steward.Tomb) ([]tomb, error) {
	by, err := need32("author", t.By)
	if err != nil {
		return nil, err
	}
	var out []tomb
	if t.ID != "" {
		id, err := need32("event", t.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, tomb{by: by, what: tombID, name: id[:], id: id, until: t.Until})
	}
	if t.Coordinate != "" {
		one := tomb{by: by, what: tombCoordinate, name: []byte(t.Coordinate), until: t.Until}
		if kind, author, d, ok := parseCoordinate(t.Coordinate); ok && author == by {
			one.kind, one.d, one.some = kind, d, true
		}
		out = append(out, one)
	}
	if t.Vanish {
		out = append(out, tomb{by: by, what: tombVanish, name: everything, until: t.Until})
	}
	if len(out) == 0 {
		return nil, fault.E(fault.Invalid, "store: encode", "a tomb for nothing")
	}
	return out, nil
}

// parseCoordinate splits "kind:pubkey:d" of a replaceable or addressable event, of which there is
// one spelling. d may contain colons; for replaceable kinds it is empty.
func parseCoordinate(s string) (kind int, author id32, d string, ok bool) {
	number, rest, ok := strings.Cut(s, ":")
	if !ok || len(rest) < 65 || rest[64] != ':' {
		return 0, author, "", false
	}
	kind, err := strconv.Atoi(number)
	if err != nil || strconv.Itoa(kind) != number {
		return 0, author, "", false
	}
	if author, ok = parse32(rest[:64]); !ok {
		return 0, author, "", false
	}
	d = rest[65:]
	switch {
	case nostr.IsAddressableKind(kind):
		return kind, author, d, true
	case nostr.IsReplaceableKind(kind):
		return kind, author, d, d == ""
	}
	return 0, author, "", false
}

func moveOf(m steward.Moved) (move, error) {
	owner, err := need32("owner", m.Repo.Owner)
	if err != nil {
		return move{}, err
	}
	out := move{box: m.Repo.Box, owner: owner, id: m.Repo.ID}
	if m.Cause != "" {
		cause, err := need32("event", m.Cause)
		if err != nil {
			return move{}, err
		}
		out.cause = cause[:]
	}
	if m.Push != "" {
		out.push = m.Push
	}
	for _, c := range m.Changes {
		r := refMove{name: string(c.Ref)}
		if m.Repo.Box {
			event, _ := c.Ref.Pull()
			if r.event, err = need32("event", event); err != nil {
				return move{}, err
			}
		}
		if r.old, err = oidBytes(c.Old); err != nil {
			return move{}, err
		}
		if r.new, err = oidBytes(c.New); err != nil {
			return move{}, err
		}
		out.refs = append(out.refs, r)
	}
	return out, nil
}

// longestWait is how long after its first arrival an event may wait at most (G01-312).
const longestWait = 24 * time.Hour

// once returns list without repetitions.
func once(list []steward.Charge) []steward.Charge {
	out := slices.Clone(list)
	slices.SortFunc(out, func(a, b steward.Charge) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(out)
}
