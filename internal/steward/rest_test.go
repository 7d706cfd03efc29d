package steward_test

import (
	"testing"

	"github.com/gitroost/gitroost/grasp"
	st "github.com/gitroost/gitroost/internal/steward/stewardtest"
)

// The refs that were settled are let go of when nobody pushes for a while; the next push brings them along,
// and the ledger, which would have to be asked for all of them, is not.
func TestRest(t *testing.T) {
	w := newWorld(t)
	repo := grasp.Addr{Owner: alice, ID: "demo"}
	w.live(repo)
	asked := 0
	w.brk.Before("Unrecorded", func() { asked++ })
	defer w.brk.Before("Unrecorded", nil)
	for i, tip := range []st.Object{c2, c3} {
		for range 3 {
			w.s.Rest()
		}
		w.keeps(st.State(alice, "demo", 100+i, "main", string(tip.ID), "HEAD", "ref: refs/heads/main"))
		w.pushes(repo, w.set(repo, "refs/heads/main", tip))
		w.wantRef(repo, "refs/heads/main", tip)
	}
	if asked > 0 {
		t.Errorf("the ledger was asked %d times for the refs of a repository that was known", asked)
	}
	w.ok()
}
