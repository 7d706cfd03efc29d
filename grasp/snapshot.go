package grasp

// A Snapshot is the refs of one repository at one moment. It is not changed once it was handed
// out: a repository that moves gets a new one.
type Snapshot struct {
	Refs   Refs            // every ref that is Visible
	Head   RefName         // the branch that HEAD names; it need not exist
	Peeled map[RefName]OID // for annotated tags, what they finally point to
	Gen    uint64          // grows with each change while the process lives

	// List is the same in byte order, for those who tell all of it, or all below a prefix, without
	// sorting. Who makes a Snapshot may leave it out.
	List []Ref
}

// A Ref is one ref of a Snapshot. Peeled is what an annotated tag finally points to; "" otherwise.
type Ref struct {
	Name        RefName
	OID, Peeled OID
}

// All returns the visible refs in byte order. It is not to be changed.
func (s *Snapshot) All() []Ref {
	if s.List != nil || len(s.Refs) == 0 {
		return s.List
	}
	out := make([]Ref, 0, len(s.Refs))
	for _, n := range s.Refs.Sorted() {
		if n.Visible() {
			out = append(out, Ref{n, s.Refs[n], s.Peeled[n]})
		}
	}
	return out
}

// DefaultHead is the branch that HEAD names before anybody said otherwise (H-208).
const DefaultHead RefName = "refs/heads/master"

// EmptySnapshot is what a repository looks like that nobody has pushed to.
var EmptySnapshot = &Snapshot{Refs: Refs{}, Head: DefaultHead}
