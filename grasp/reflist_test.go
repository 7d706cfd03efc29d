package grasp_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
)

// A list says what a map says, however it came to be; what it was made from stays as it was; and the
// difference of two is what leads from one to the other.
func TestRefList(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	name := func() grasp.RefName {
		return grasp.RefName(fmt.Sprintf("refs/%s/%d", []string{"heads", "nostr", "nostr0", "tags"}[rnd.IntN(4)], rnd.IntN(3000)))
	}
	type version struct {
		list grasp.RefList
		refs grasp.Refs
	}
	all := []version{{refs: grasp.Refs{}}}
	for step := range 300 {
		from := all[rnd.IntN(len(all))]
		if step%3 > 0 {
			from = all[len(all)-1]
		}
		next := maps.Clone(from.refs)
		set := map[grasp.RefName]bool{}
		for range rnd.IntN(1 + rnd.IntN(1500)) {
			n := name()
			set[n] = step%7 != 0 && rnd.IntN(3) > 0
		}
		var put []grasp.Ref
		var gone []grasp.RefName
		for _, n := range slices.Sorted(maps.Keys(set)) {
			if set[n] {
				put = append(put, grasp.Ref{Name: n, OID: oid(fmt.Sprint(rnd.IntN(9)))})
				next[n] = put[len(put)-1].OID
			} else {
				gone = append(gone, n)
				delete(next, n)
			}
		}
		all = append(all, version{from.list.With(put, gone), next})
		if len(all) > 20 {
			all = all[1:]
		}
		for _, v := range all[max(0, len(all)-3):] {
			if !maps.Equal(v.list.Map(), v.refs) || v.list.Len() != len(v.refs) {
				t.Fatalf("step %d: %d refs, want %d", step, v.list.Len(), len(v.refs))
			}
			names := slices.Collect(func(yield func(grasp.RefName) bool) {
				for r := range v.list.All() {
					if !yield(r.Name) {
						return
					}
				}
			})
			if !slices.Equal(names, v.refs.Sorted()) {
				t.Fatalf("step %d: not in order", step)
			}
			if got, want := maps.Collect(v.list.Coded()), maps.Collect(v.refs.Coded()); !maps.Equal(got, want) {
				t.Fatalf("step %d: %d coded, want %d", step, len(got), len(want))
			}
		}
		a, b := all[rnd.IntN(len(all))], all[len(all)-1]
		if got, want := b.list.Diff(a.list), grasp.Diff(a.refs, b.refs); !slices.Equal(got, want) {
			t.Fatalf("step %d: %d differ, want %d", step, len(got), len(want))
		}
		n := name()
		if o, ok := b.list.Tip(n); o != b.refs[n] || ok != (b.refs[n] != "") {
			t.Fatalf("step %d: %s is %q", step, n, o)
		}
		from2 := 0
		for r := range b.list.From(n) {
			if r.Name < n {
				t.Fatalf("step %d: %s comes before %s", step, r.Name, n)
			}
			from2++
		}
		for m := range b.refs {
			if strings.Compare(string(m), string(n)) >= 0 {
				from2--
			}
		}
		if from2 != 0 {
			t.Fatalf("step %d: %d too many from %s on", step, from2, n)
		}
	}
}
