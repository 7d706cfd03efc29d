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
	var m RefListMaker
	for _, n := range r.Sorted() {
		m.Add(Ref{Name: n, OID: r[n]})
	}
	return m.List()
}

// A Ref is one ref of a RefList. Peeled is what an annotated tag finally points to; "" otherwise.
type Ref struct {
	Name        RefName
	OID, Peeled OID
}

// A RefList is any number of refs in byte order. It does not change: With returns another one, which
// shares with it what is the same, so that moving one ref among 50,000 costs what moving one among a
// few hundred does, and so does finding out which one it was. What it says of a ref is part of it: who
// keeps a name or an id for long, and not the list, keeps some hundred others with it. The zero RefList is
// empty.
type RefList struct {
	chunks []*chunk // none is empty; each goes on where the one before ends
	n      int
}

// ListOf returns a list of refs, which are in byte order, each name once.
func ListOf(refs []Ref) RefList {
	var m RefListMaker
	for i := range refs {
		m.Add(refs[i])
	}
	return m.List()
}

// Len returns how many refs there are.
func (l RefList) Len() int { return l.n }

// at returns the chunk in which n is, or would be.
func (l RefList) at(n RefName) int {
	return max(0, sort.Search(len(l.chunks), func(i int) bool { return l.chunks[i].name(0) > n })-1)
}

// Get returns the ref called n.
func (l RefList) Get(n RefName) (Ref, bool) {
	if l.n == 0 {
		return Ref{}, false
	}
	c := l.chunks[l.at(n)]
	i := c.search(n)
	if i == c.len() || c.name(i) != n {
		return Ref{}, false
	}
	return c.ref(i), true
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
		if l.n == 0 {
			return
		}
		at := l.at(n)
		from := l.chunks[at].search(n)
		for _, c := range l.chunks[at:] {
			for i := from; i < c.len(); i++ {
				if !yield(c.ref(i)) {
					return
				}
			}
			from = 0
		}
	}
}

// Spans yields every ref, in byte order, some hundreds at a time.
func (l RefList) Spans() iter.Seq[Span] { return l.Below("") }

// Below is Spans of the refs whose name begins with prefix. It does not look at the others.
func (l RefList) Below(prefix RefName) iter.Seq[Span] {
	return func(yield func(Span) bool) {
		if l.n == 0 {
			return
		}
		at := l.at(prefix)
		from := l.chunks[at].search(prefix)
		for _, c := range l.chunks[at:] {
			to := c.len()
			last := !strings.HasPrefix(string(c.name(to-1)), string(prefix))
			if last { // of those from there on, the ones that begin so come first
				to = from + sort.Search(to-from, func(i int) bool { return !strings.HasPrefix(string(c.name(from+i)), string(prefix)) })
			}
			if from < to && !yield(Span{c, from, to}) || last && from < c.len() {
				return
			}
			from = 0
		}
	}
}

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
	var hidden []RefName
	for _, c := range l.chunks {
		for i := range c.len() {
			if n := c.name(i); !n.Visible() {
				hidden = append(hidden, n)
			}
		}
	}
	return l.With(nil, hidden)
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
		return ListOf(set)
	}
	m := RefListMaker{list: RefList{chunks: make([]*chunk, 0, len(l.chunks)+1)}}
	for i, c := range l.chunks {
		mine, without := len(set), len(gone) // how many of them belong into this chunk
		if i+1 < len(l.chunks) {
			next := l.chunks[i+1].name(0)
			mine = sort.Search(len(set), func(i int) bool { return set[i].Name >= next })
			without = sort.Search(len(gone), func(i int) bool { return gone[i] >= next })
		}
		if mine+without == 0 {
			m.list.add(c)
			continue
		}
		m.merge(c, set[:mine], gone[:without])
		set, gone = set[mine:], gone[without:]
	}
	return m.list
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
	var x, y Span // what is left of the chunks begun
	for {
		if x.Len() == 0 && y.Len() == 0 {
			for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
				a, b = a[1:], b[1:]
			}
		}
		if x.Len() == 0 && len(a) > 0 {
			x, a = Span{a[0], 0, a[0].len()}, a[1:]
		}
		if y.Len() == 0 && len(b) > 0 {
			y, b = Span{b[0], 0, b[0].len()}, b[1:]
		}
		switch {
		case x.Len() == 0 && y.Len() == 0:
			return out
		case y.Len() == 0 || x.Len() > 0 && x.first() < y.first():
			r := x.Ref(0)
			out = append(out, RefChange{r.Name, r.OID, ZeroOID})
			x.from++
		case x.Len() == 0 || y.first() < x.first():
			r := y.Ref(0)
			out = append(out, RefChange{r.Name, ZeroOID, r.OID})
			y.from++
		default:
			if is, now := x.Ref(0), y.Ref(0); is.OID != now.OID {
				out = append(out, RefChange{is.Name, is.OID, now.OID})
			}
			x.from++
			y.from++
		}
	}
}
