package server

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/web"
)

// The page of a repository lists every ref that is signed or there once, in the order of the names.
func TestRefsSideBySide(t *testing.T) {
	oid := func(i int) grasp.OID { return grasp.OID(fmt.Sprintf("%040x", i+1)) }
	for round := range 200 {
		rnd := rand.New(rand.NewPCG(7, uint64(round)))
		signed, disk, all := grasp.Refs{}, grasp.Refs{}, map[grasp.RefName]bool{}
		for i := range rnd.IntN(2 * web.MaxRefs) {
			name := grasp.RefName(fmt.Sprintf("refs/heads/%x", rnd.IntN(4000)))
			if rnd.IntN(3) > 0 {
				signed[name], all[name] = oid(i), true
			}
			if rnd.IntN(3) > 0 {
				disk[name], all[name] = oid(rnd.IntN(2)*i), true
			}
		}
		got, count := compare(signed, disk.List())
		if count != len(all) || len(got) != min(count, web.MaxRefs) {
			t.Fatalf("round %d: %d of %d refs, %d are meant", round, len(got), count, len(all))
		}
		for i, r := range got {
			if r.Signed != signed[r.Name] || r.Disk != disk[r.Name] || !all[r.Name] || i > 0 && got[i-1].Name >= r.Name {
				t.Fatalf("round %d: %+v at %d", round, r, i)
			}
			delete(all, r.Name)
		}
		for n := range all {
			if len(got) > 0 && n < got[len(got)-1].Name {
				t.Fatalf("round %d: %s is missing", round, n)
			}
		}
	}
}
