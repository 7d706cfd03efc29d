package steward_test

import (
	"testing"

	"github.com/gitroost/gitroost/grasp"
	st "github.com/gitroost/gitroost/internal/steward/stewardtest"
)

// G01-101, G01-105, G01-106, checks 125, 131, 134, 181, 199.
func TestAnnounceStatePush(t *testing.T) {
	w := newWorld(t)
	ann := st.Announce(demo, 0)
	w.keeps(ann)
	if v, err := w.receive(ann); err != nil || v != grasp.KnownHeld || v.Note() != grasp.PurgatoryText {
		t.Fatalf("again: %v %v", v, err)
	}
	w.wantHosting(demo, grasp.Live)
	snap, err := w.s.Refs(t.Context(), demo)
	if err != nil || snap.Refs.Len() != 0 {
		t.Fatalf("an empty repository: %v %v", snap, err)
	}
	state := st.State(alice, "demo", 1, "main", string(c2.ID), "HEAD", "ref: refs/heads/main")
	w.keeps(state)
	w.wantTold()
	w.pushes(demo, w.set(demo, "main", c2))
	w.wantTold(ann, state)
	w.wantHead(demo, "refs/heads/main")
	if v, err := w.receive(state); err != nil || v != grasp.Known {
		t.Fatalf("again: %v %v", v, err)
	}
	w.settleTwice("demo")
	w.wantTold()
	w.ok()
}
