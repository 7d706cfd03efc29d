package gitdir_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// A repository that nobody pushed to has no refs, no objects and no differences but between trees that
// git knows by itself; what is no id is refused before git sees it.
func TestBrowseNothing(t *testing.T) {
	h := open(t)
	b, err := h.Browse(t.Context(), demo)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if s, err := b.Refs(t.Context()); err != nil || s.Refs.Len() != 0 {
		t.Errorf("refs %v, %v", s, err)
	}
	for _, o := range []grasp.OID{grasp.OID(strings.Repeat("12", 20)), "x\ncontents y", "", "HEAD"} {
		if _, _, _, err := b.Object(t.Context(), o, 100); !fault.Is(err, fault.NotFound) {
			t.Errorf("%q: %v", o, err)
		}
	}
	empty := grasp.OID("4b825dc642cb6eb9a060e54bf8d69288fbee4904")
	if kind, size, data, err := b.Object(t.Context(), empty, 100); kind != "tree" || size != 0 || len(data) != 0 || err != nil {
		t.Errorf("the empty tree: %q %d %q %v", kind, size, data, err)
	}
	var out bytes.Buffer
	if err := b.Diffs(t.Context(), [][2]grasp.OID{{empty, "--output=x"}}, &out); !fault.Is(err, fault.Invalid) || out.Len() > 0 {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, _, err := b.Object(ctx, empty, 100); err == nil {
		t.Error("cancelled, and answered")
	}
}
