package grasp

import (
	"iter"
	"slices"
	"sort"
	"strings"
)

// Tips is what a set of refs can be asked: Refs, where there are few, and RefList.
type Tips interface {
	// Tip returns what a ref points to.
	Tip(RefName) (OID, bool)
	// Coded yields every ref that is not below refs/nostr/, in any order.
	Coded() iter.Seq2[RefName, OID]
}

// Tip implements Tips.
func (r Refs) Tip(n RefName) (OID, bool) { o, ok := r[n]; return o, ok }

// PiecesFrom is Pieces without the refs that come before n.
func (l RefList) PiecesFrom(n RefName) iter.Seq[[]Ref] {
	return func(yield func([]Ref) bool) {
		if l.n == 0 {
			return
		}
		for i, c := range l.chunks[l.at(n):] {
			if i == 0 {
				c = c[sort.Search(len(c), func(i int) bool { return c[i].Name >= n }):]
			}
			if len(c) > 0 && !yield(c) {
				return
			}
		}
	}
}

// Coded implements Tips.
func (r Refs) Coded() iter.Seq2[RefName, OID] {
	return func(yield func(RefName, OID) bool) {
		for n, o := range r {
			if !n.IsNostr() && !yield(n, o) {
				return
			}
		}
	}
}

// List returns r in byte order, with nothing peeled.
func (r Refs) List() RefList {
	out := make([]Ref, 0, len(r))
	for _, n := range r.Sorted() {
		out = append(out, Ref{Name: n, OID: r[n]})
	}
	return ListOf(out)
}

// A Ref is one ref of a RefList. Peeled is what an annotated tag finally points to; "" otherwise.
type Ref struct {
	Name        RefName
	OID, Peeled OID
}

// A RefList is any number of refs in byte order. It does not change: With returns another one, which
// shares with it what is the same, so that moving one ref among 50,000 costs what moving one among a
// few hundred does, and so does finding out which one it was. The zero RefList is empty.
type RefList struct {
	chunks [][]Ref // none is empty; each goes on where the one before ends
	n      int
}

// A chunk begins with so many refs, and is cut when it has grown to twice as many.
const chunkLen = 256

// ListOf returns a list of refs, which are in byte order, each name once. It keeps the slice.
func ListOf(refs []Ref) RefList {
	l := RefList{n: len(refs)}
	if len(refs) > 0 {
		l.chunks = slices.AppendSeq(make([][]Ref, 0, len(refs)/chunkLen+1), slices.Chunk(refs, chunkLen))
	}
	return l
}

// Len returns how many refs there are.
func (l RefList) Len() int { return l.n }

// at returns the chunk in which n is, or would be.
func (l RefList) at(n RefName) int {
	return max(0, sort.Search(len(l.chunks), func(i int) bool { return l.chunks[i][0].Name > n })-1)
}

// Get returns the ref called n.
func (l RefList) Get(n RefName) (Ref, bool) {
	if l.n == 0 {
		return Ref{}, false
	}
	c := l.chunks[l.at(n)]
	i, ok := slices.BinarySearchFunc(c, n, func(r Ref, n RefName) int { return strings.Compare(string(r.Name), string(n)) })
	if !ok {
		return Ref{}, false
	}
	return c[i], true
}

// Tip implements Tips.
func (l RefList) Tip(n RefName) (OID, bool) {
	r, ok := l.Get(n)
	return r.OID, ok
}

// OID returns what n points to; "" if there is no such ref.
func (l RefList) OID(n RefName) OID {
	r, _ := l.Get(n)
	return r.OID
}

// All yields every ref, in byte order.
func (l RefList) All() iter.Seq[Ref] { return l.From("") }

// From yields the refs that do not come before n, in byte order.
func (l RefList) From(n RefName) iter.Seq[Ref] {
	return func(yield func(Ref) bool) {
		for c := range l.PiecesFrom(n) {
			for i := range c {
				if !yield(c[i]) {
					return
				}
			}
		}
	}
}

// Pieces yields every ref, in byte order, some hundreds at a time: for those to whom a call for each is
// too much. They are not to be changed.
func (l RefList) Pieces() iter.Seq[[]Ref] { return slices.Values(l.chunks) }

// Coded implements Tips. It does not look at what is below refs/nostr/.
func (l RefList) Coded() iter.Seq2[RefName, OID] {
	return func(yield func(RefName, OID) bool) {
		for r := range l.All() {
			if r.Name >= nostrPrefix {
				break
			}
			if !yield(r.Name, r.OID) {
				return
			}
		}
		for r := range l.From("refs/nostr0") { // "0" comes after "/"
			if !yield(r.Name, r.OID) {
				return
			}
		}
	}
}

// Visible returns l without what is not to be told of; l itself if that is all of it.
func (l RefList) Visible() RefList {
	for r := range l.All() {
		if !r.Name.Visible() {
			var out []Ref
			for r := range l.All() {
				if r.Name.Visible() {
					out = append(out, r)
				}
			}
			return ListOf(out)
		}
	}
	return l
}

// Map returns what each ref points to.
func (l RefList) Map() Refs {
	out := make(Refs, l.n)
	for r := range l.All() {
		out[r.Name] = r.OID
	}
	return out
}

// With returns a list in which the refs of set are as they are there, and those of gone are not. Both
// are in byte order, and have no name in common.
func (l RefList) With(set []Ref, gone []RefName) RefList {
	if len(set) == 0 && len(gone) == 0 {
		return l
	}
	if l.n == 0 {
		return ListOf(slices.Clone(set))
	}
	out := RefList{chunks: make([][]Ref, 0, len(l.chunks)+1)}
	for i, c := range l.chunks {
		mine, without := len(set), len(gone) // how many of them belong into this chunk
		if i+1 < len(l.chunks) {
			next := l.chunks[i+1][0].Name
			mine = sort.Search(len(set), func(i int) bool { return set[i].Name >= next })
			without = sort.Search(len(gone), func(i int) bool { return gone[i] >= next })
		}
		if mine+without > 0 {
			c = merge(c, set[:mine], gone[:without])
			set, gone = set[mine:], gone[without:]
		}
		switch {
		case len(c) >= 2*chunkLen:
			out.chunks = slices.AppendSeq(out.chunks, slices.Chunk(c, chunkLen))
		case len(c) > 0:
			out.chunks = append(out.chunks, c)
		}
		out.n += len(c)
	}
	return out
}

// merge returns list with set added or replaced and gone left out. All are in byte order.
func merge(list, set []Ref, gone []RefName) []Ref {
	out := make([]Ref, 0, len(list)+len(set))
	for _, r := range list {
		for len(set) > 0 && set[0].Name < r.Name {
			out, set = append(out, set[0]), set[1:]
		}
		for len(gone) > 0 && gone[0] < r.Name {
			gone = gone[1:]
		}
		switch {
		case len(set) > 0 && set[0].Name == r.Name:
			out, set = append(out, set[0]), set[1:]
		case len(gone) == 0 || gone[0] != r.Name:
			out = append(out, r)
		}
	}
	return append(out, set...)
}

// Apply returns l with changes made. What is set has nothing peeled.
func (l RefList) Apply(changes []RefChange) RefList {
	var set []Ref
	var gone []RefName
	for _, c := range changes {
		if c.New.IsZero() {
			gone = append(gone, c.Ref)
		} else {
			set = append(set, Ref{Name: c.Ref, OID: c.New})
		}
	}
	slices.SortFunc(set, func(a, b Ref) int { return strings.Compare(string(a.Name), string(b.Name)) })
	slices.Sort(gone)
	return l.With(set, gone)
}

// Diff returns the changes that lead from was to l, in the order of their names. It does not look at
// what one shares with the other.
func (l RefList) Diff(was RefList) []RefChange {
	var out []RefChange
	a, b := was.chunks, l.chunks
	var x, y []Ref // what is left of the chunks begun
	for {
		if len(x) == 0 && len(y) == 0 {
			for len(a) > 0 && len(b) > 0 && len(a[0]) == len(b[0]) && &a[0][0] == &b[0][0] {
				a, b = a[1:], b[1:]
			}
		}
		if len(x) == 0 && len(a) > 0 {
			x, a = a[0], a[1:]
		}
		if len(y) == 0 && len(b) > 0 {
			y, b = b[0], b[1:]
		}
		switch {
		case len(x) == 0 && len(y) == 0:
			return out
		case len(y) == 0 || len(x) > 0 && x[0].Name < y[0].Name:
			out = append(out, RefChange{x[0].Name, x[0].OID, ZeroOID})
			x = x[1:]
		case len(x) == 0 || y[0].Name < x[0].Name:
			out = append(out, RefChange{y[0].Name, ZeroOID, y[0].OID})
			y = y[1:]
		default:
			if x[0].OID != y[0].OID {
				out = append(out, RefChange{x[0].Name, x[0].OID, y[0].OID})
			}
			x, y = x[1:], y[1:]
		}
	}
}
