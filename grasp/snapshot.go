package grasp

// A Snapshot is the refs of one repository at one moment. It is not changed once it was handed
// out: a repository that moves gets a new one.
type Snapshot struct {
	Refs RefList // every ref that is Visible
	Head RefName // the branch that HEAD names; it need not exist
	Gen  uint64  // grows with each change while the process lives
}

// DefaultHead is the branch that HEAD names before anybody said otherwise (H-208).
const DefaultHead RefName = "refs/heads/master"

// EmptySnapshot is what a repository looks like that nobody has pushed to.
var EmptySnapshot = &Snapshot{Head: DefaultHead}
