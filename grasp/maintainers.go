package grasp

import "math/bits"

// MaxMaintainers is the most members that one maintainer set can have (G01-201).
const MaxMaintainers = 1000

// maxNamesRead is how many names are read, in all announcements of a chain together, to find one
// maintainer set. It is far beyond what people list, and keeps those who list each other by the
// hundred from making every question slow.
const maxNamesRead = 50 * MaxMaintainers

// Maintainers returns who may move the refs of owner's repository: owner, whom owner's
// announcement names, whom theirs name in turn (G01-201). The order of events does not matter
// and circles end. Who is named but has announced nothing is a full member (G01-202). The set is
// empty if owner has announced nothing, and has at most MaxMaintainers members: those nearest to
// the owner.
func (v View) Maintainers(owner PubKey) KeySet {
	c := newCensus(v)
	m := c.maintainers(owner)
	if len(m) == 0 {
		return nil
	}
	set := KeySet{}
	c.each(m, func(k PubKey) { set[k] = struct{}{} })
	return set
}

// A census knows who maintains what in one View. It numbers the keys that it meets and reads each
// announcement once, because a question may be about every owner of an identifier.
type census struct {
	view   View
	number map[PubKey]int
	keys   []PubKey // by number
	lists  [][]int  // by number: whom the announcement names; nil until it was read
	read   []bool
	met    []int // by number: the last walk that met it
	walks  int
	queue  []int
}

func newCensus(v View) *census { return &census{view: v, number: map[PubKey]int{}} }

// of returns the number of k.
func (c *census) of(k PubKey) int {
	n, ok := c.number[k]
	if !ok {
		n = len(c.keys)
		c.number[k] = n
		c.keys = append(c.keys, k)
		c.lists = append(c.lists, nil)
		c.read = append(c.read, false)
		c.met = append(c.met, 0)
	}
	return n
}

// list returns the numbers of those whom the announcement of n names, if there is one.
func (c *census) list(n int) []int {
	if !c.read[n] {
		c.read[n] = true
		names := c.view.Announcements[c.keys[n]].Maintainers
		list := make([]int, len(names))
		for i, k := range names {
			list[i] = c.of(k)
		}
		c.lists[n] = list
	}
	return c.lists[n]
}

// maintainers is View.Maintainers.
func (c *census) maintainers(owner PubKey) people {
	if _, ok := c.view.Announcements[owner]; !ok {
		return nil
	}
	c.walks++
	meet := func(n int) {
		c.met[n] = c.walks
		c.queue = append(c.queue, n)
	}
	c.queue = c.queue[:0]
	meet(c.of(owner))
	names := 0
walk:
	for i := 0; i < len(c.queue); i++ {
		for _, n := range c.list(c.queue[i]) {
			if names++; names > maxNamesRead || len(c.queue) == MaxMaintainers {
				break walk
			}
			if c.met[n] != c.walks {
				meet(n)
			}
		}
	}
	m := make(people, (len(c.keys)+63)/64)
	for _, n := range c.queue {
		m.add(n)
	}
	return m
}

// each calls f with every key of m.
func (c *census) each(m people, f func(PubKey)) {
	for i, w := range m {
		for ; w != 0; w &= w - 1 {
			f(c.keys[i*64+bits.TrailingZeros64(w)])
		}
	}
}

// named returns the owners of repositories of this identifier that p names.
func (c *census) named(p Pull) people {
	var m people
	for _, a := range p.Repos {
		if a.ID == c.view.ID {
			m.add(c.of(a.Owner))
		}
	}
	return m
}

// people is a set of numbers in a census.
type people []uint64

func (p people) has(n int) bool { return n/64 < len(p) && p[n/64]>>(n%64)&1 != 0 }

func (p *people) add(n int) {
	for n/64 >= len(*p) {
		*p = append(*p, 0)
	}
	(*p)[n/64] |= 1 << (n % 64)
}

func (p *people) addAll(q people) {
	for i, w := range q {
		if i == len(*p) {
			*p = append(*p, 0)
		}
		(*p)[i] |= w
	}
}

// meets reports whether somebody is in both sets.
func (p people) meets(q people) bool {
	for i := range min(len(p), len(q)) {
		if p[i]&q[i] != 0 {
			return true
		}
	}
	return false
}
