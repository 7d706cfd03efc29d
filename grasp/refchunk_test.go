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

// A list keeps whatever it is given, also what no packet can say: tags, names as long as nobody gives them, ids of another
// length. Its spans are its refs, as packets where they can be, and Below finds those that trying each name finds (H-207).
func TestRefListOfAnyShape(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	hidden := []string{"refs/keep/", "refs/gitroost/history/"}
	name := func() grasp.RefName {
		n := fmt.Sprintf("refs/%s/%d", []string{"heads", "heads/a", "nostr", "tags", "tags "}[rnd.IntN(5)], rnd.IntN(2000))
		switch rnd.IntN(200) {
		case 0:
			n += strings.Repeat("x", 65_400+rnd.IntN(200)) // around the longest packet
		case 1, 2, 3:
			n += strings.Repeat("y", rnd.IntN(40_000))
		case 4:
			n = hidden[rnd.IntN(2)] + n
		case 5:
			n += " peeled:" + strings.Repeat("a", 40)
		}
		return grasp.RefName(n)
	}
	ref := func(n grasp.RefName) grasp.Ref {
		r := grasp.Ref{Name: n, OID: oid(fmt.Sprint(rnd.IntN(9)))}
		switch rnd.IntN(100) {
		case 0:
			r.OID = grasp.OID(strings.Repeat("b", 64))
		case 1:
			r.Peeled = grasp.OID(strings.Repeat("c", 64))
		case 2, 3, 4, 5, 6, 7, 8, 9:
			r.Peeled = oid("peeled")
		}
		return r
	}
	var list grasp.RefList
	model := map[grasp.RefName]grasp.Ref{}
	for step := range 12 {
		var set []grasp.Ref
		var gone []grasp.RefName
		names := map[grasp.RefName]bool{}
		for range rnd.IntN(1 + rnd.IntN(800)) {
			names[name()] = true
		}
		was := maps.Clone(model)
		for _, n := range slices.Sorted(maps.Keys(names)) {
			if rnd.IntN(4) == 0 {
				gone = append(gone, n)
				delete(model, n)
			} else {
				set = append(set, ref(n))
				model[n] = set[len(set)-1]
			}
		}
		before := list
		list = list.With(set, gone)
		if n := before.Len(); n != len(was) {
			t.Fatalf("step %d: the list before has %d refs, want %d", step, n, len(was))
		}
		check(t, fmt.Sprint("step ", step), list, model)
		seen := maps.Clone(model)
		maps.DeleteFunc(seen, func(n grasp.RefName, _ grasp.Ref) bool { return !n.Visible() })
		check(t, fmt.Sprint("step ", step, ", what is visible"), list.Visible(), seen)
		changes := list.Diff(before)
		for _, c := range changes {
			is, now := was[c.Ref].OID, model[c.Ref].OID
			if c.Old != is && !(is == "" && c.Old == grasp.ZeroOID) || c.New != now && !(now == "" && c.New == grasp.ZeroOID) || is == now {
				t.Fatalf("step %d: change %v of %q, which was %q and is %q", step, c, c.Ref, is, now)
			}
		}
		since := list.Since()
		for r := range before.All() {
			since.Was([]byte(r.Name), []byte(r.OID))
		}
		if got := since.Changes(); !slices.Equal(got, changes) {
			t.Fatalf("step %d: %d changes when told of one ref after another, %d otherwise", step, len(got), len(changes))
		}
		differ := 0
		for n := range names {
			if was[n].OID != model[n].OID {
				differ++
			}
		}
		if len(changes) != differ {
			t.Fatalf("step %d: %d changes, want %d", step, len(changes), differ)
		}
	}
}

func check(t *testing.T, what string, list grasp.RefList, model map[grasp.RefName]grasp.Ref) {
	t.Helper()
	order := slices.Sorted(maps.Keys(model))
	if list.Len() != len(order) {
		t.Fatalf("%s: %d refs, want %d", what, list.Len(), len(order))
	}
	i := 0
	for r := range list.All() {
		if r != model[order[i]] {
			t.Fatalf("%s: ref %d is %.200v, want %.200v", what, i, r, model[order[i]])
		}
		if got, ok := list.Get(r.Name); !ok || got != r {
			t.Fatalf("%s: %.200q is %.200v", what, r.Name, got)
		}
		i++
	}
	for _, prefix := range []grasp.RefName{"", "refs/", "refs/heads/", "refs/heads/a", "refs/heads/a/", "refs/heads/1", "refs/nostr/", "refs/tags/199", "refs/tags", "refs/zzz", "a", "refs/keep/"} {
		var want []grasp.Ref
		for _, n := range order {
			if strings.HasPrefix(string(n), string(prefix)) {
				want = append(want, model[n])
			}
		}
		for span := range list.Below(prefix) {
			packets, peeled := "", false
			if span.Len() == 0 || span.Len() > len(want) {
				t.Fatalf("%s, %s: a span of %d where %d are left", what, prefix, span.Len(), len(want))
			}
			for k := range span.Len() {
				r := want[k]
				if span.Ref(k) != r {
					t.Fatalf("%s, %s: ref %d of a span is %.200v, want %.200v", what, prefix, k, span.Ref(k), r)
				}
				line := string(r.OID) + " " + string(r.Name)
				if r.Peeled != "" {
					line, peeled = line+" peeled:"+string(r.Peeled), true
				}
				packets += fmt.Sprintf("%04x%s\n", len(line)+5, line)
			}
			if got := span.Packets(); got != packets && !(got == "" && span.Len() == 1) {
				t.Fatalf("%s, %s: %d bytes of packets, want %d", what, prefix, len(got), len(packets))
			} else if got == "" && len(packets) <= 65520 && len(want[0].OID) == 40 && (want[0].Peeled == "" || len(want[0].Peeled) == 40) {
				t.Fatalf("%s, %s: no packet of %.200v", what, prefix, want[0])
			}
			if span.Peeled() != peeled {
				t.Fatalf("%s, %s: a span with tags: %t", what, prefix, !peeled)
			}
			if first, rest := span.Cut(); first != want[0] || rest.Len() != span.Len()-1 {
				t.Fatalf("%s, %s: cut into %.200v and %d", what, prefix, first, rest.Len())
			}
			want = want[span.Len():]
		}
		if len(want) > 0 {
			t.Fatalf("%s: %d below %s are missing", what, len(want), prefix)
		}
	}
}

// Refs that come one at a time, wherever they belong, leave no list of a thousand pieces.
func TestRefListStaysInLargePieces(t *testing.T) {
	var up, down, middle grasp.RefList
	name := func(i int) grasp.RefName { return grasp.RefName(fmt.Sprintf("refs/heads/%06d", i)) }
	const n = 2000
	for i := range n {
		one := func(k int) []grasp.Ref { return []grasp.Ref{{Name: name(k), OID: oid("1")}} }
		up, down = up.With(one(i), nil), down.With(one(n-i), nil)
		middle = middle.With(one(n+(i%2*2-1)*i), nil)
	}
	for what, list := range map[string]grasp.RefList{"up": up, "down": down, "middle": middle} {
		pieces, refs := 0, 0
		for span := range list.Spans() {
			pieces++
			refs += span.Len()
		}
		if refs != n || pieces > n/200 {
			t.Errorf("%s: %d refs in %d pieces", what, refs, pieces)
		}
	}
}

// To move one of 50,000 refs, and to see which one it was, costs what it costs among a few hundred.
func BenchmarkRefList50k(b *testing.B) {
	refs := grasp.Refs{}
	for i := range 50_000 {
		refs[grasp.PullRef(grasp.EventID(sha256hex(fmt.Sprint(i))))] = oid(fmt.Sprint(i % 100))
	}
	list := refs.List()
	one := list.Map().Sorted()[30_000]
	b.Run("With and Diff", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			next := list.With([]grasp.Ref{{Name: one, OID: oid(fmt.Sprint("new ", i))}}, nil)
			if len(next.Diff(list)) != 1 {
				b.Fatal("not one")
			}
			list = next
		}
	})
	b.Run("Tip", func(b *testing.B) {
		for b.Loop() {
			list.Tip(one)
		}
	})
	b.Run("All", func(b *testing.B) {
		for b.Loop() {
			for range list.All() {
			}
		}
	})
}
