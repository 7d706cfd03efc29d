package gitdir_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
)

// One commit: Ingest, Check, Admit and Apply, all durable. Beside it, the same into 50,000 refs.
func BenchmarkPush(b *testing.B) {
	for _, refs := range []int{1, 50_000} {
		b.Run(fmt.Sprint(refs, " refs"), func(b *testing.B) {
			h, w := open(b), newWork(b)
			c := w.commit("a", "0\n")
			must(b, h.push(demo, bytes.NewReader(w.pack("main")), create(mainRef, c)))
			h.fill(refs, c)
			var packs [][]byte
			tips := []grasp.OID{c}
			for i := range min(b.N, 300) {
				c = w.commit("a", fmt.Sprint(i+1, "\n"))
				packs = append(packs, w.packWith([]string{"--thin"}, "main", "^"+string(tips[i])))
				tips = append(tips, c)
			}
			b.ResetTimer()
			for i := range b.N {
				k := i % len(packs)
				if k == 0 && i > 0 {
					b.StopTimer()
					h.Remove(context.Background(), demo)
					must(b, h.push(demo, bytes.NewReader(w.pack(string(tips[0]))), create(mainRef, tips[0])))
					h.fill(refs, tips[0])
					b.StartTimer()
				}
				must(b, h.push(demo, bytes.NewReader(packs[k]), update(mainRef, tips[k], tips[k+1])))
			}
		})
	}
}

func (h *house) fill(n int, o grasp.OID) {
	var edits []grasp.RefChange
	for i := range n - 1 {
		edits = append(edits, create(grasp.RefName(fmt.Sprintf("refs/tags/release-%06d", i)), o))
	}
	must(h.t, h.Apply(context.Background(), demo, edits, ""))
}

func filled(b *testing.B, n int) (*house, *work) {
	h, w := open(b), newWork(b)
	c := w.commit("a", "0\n")
	must(b, h.push(demo, bytes.NewReader(w.pack("main")), create(mainRef, c)))
	h.fill(n, c)
	return h, w
}

func BenchmarkRefs50k(b *testing.B) {
	h, _ := filled(b, 50_000)
	b.Run("remembered", func(b *testing.B) {
		for b.Loop() {
			h.refs(demo)
		}
	})
	b.Run("read", func(b *testing.B) {
		h.Close()
		for b.Loop() {
			h = openAt(b, h.root, gitdirConfig())
			h.refs(demo)
			h.Close()
		}
	})
}

func BenchmarkApply50k(b *testing.B) {
	h, w := filled(b, 50_000)
	c := w.tip("HEAD")
	on := false
	for b.Loop() {
		e := create(devRef, c)
		if on {
			e = remove(devRef, c)
		}
		must(b, h.Apply(context.Background(), demo, []grasp.RefChange{e}, ""))
		on = !on
	}
}

func BenchmarkHave(b *testing.B) {
	h, w := filled(b, 1000)
	c := w.tip("HEAD")
	unknown := grasp.OID(strings.Repeat("7", 40))
	for name, o := range map[string]grasp.OID{"tip": c, "unknown": unknown} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				h.have(demo, o)
			}
		})
	}
}
