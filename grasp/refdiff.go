package grasp

// A RefDiff finds what leads to a list from refs that come one after another, so that of those nothing need be
// kept. RefList.Since makes one.
type RefDiff struct {
	now  []*chunk // of the list, those behind left
	left Span     // what comes next in the list
	out  []RefChange
}

// Since returns what finds the changes that lead to l. It is told of the refs as they were by Was, of each once and
// in byte order, and asked by Changes at the end.
func (l RefList) Since() *RefDiff { return &RefDiff{now: l.chunks} }

// next reports whether there is anything left of the list, and makes sure that left is not empty then.
func (d *RefDiff) next() bool {
	if d.left.Len() == 0 {
		if len(d.now) == 0 {
			return false
		}
		d.left, d.now = Span{d.now[0], 0, d.now[0].len()}, d.now[1:]
	}
	return true
}

func (d *RefDiff) created() {
	r := d.left.Ref(0)
	d.out = append(d.out, RefChange{r.Name, ZeroOID, r.OID})
	d.left.from++
}

// Was says that name pointed to oid. Neither is kept.
func (d *RefDiff) Was(name, oid []byte) {
	for d.next() && string(d.left.first()) < string(name) {
		d.created()
	}
	if !d.next() || string(d.left.first()) != string(name) {
		d.out = append(d.out, RefChange{RefName(name), OID(oid), ZeroOID})
		return
	}
	if r := d.left.Ref(0); string(r.OID) != string(oid) {
		d.out = append(d.out, RefChange{r.Name, OID(oid), r.OID})
	}
	d.left.from++
}

// Changes returns the changes, in the order of their names.
func (d *RefDiff) Changes() []RefChange {
	for d.next() {
		d.created()
	}
	return d.out
}
