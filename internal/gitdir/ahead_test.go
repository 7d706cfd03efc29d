package gitdir_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// A pack that is large enough to be brought to disk while it arrives is there whole, and one that ends early leaves
// nothing behind.
func TestLargePack(t *testing.T) {
	h, w := open(t), newWork(t)
	text := make([]byte, 36<<20)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(text)
	w.git("config", "core.compression", "0")
	w.git("config", "core.bigFileThreshold", "1m")
	tip := w.commit("a", string(text))
	pack := w.pack("main")
	if len(pack) < len(text) {
		t.Fatalf("the pack has %d bytes: this test proves nothing", len(pack))
	}
	err := h.push(demo, io.LimitReader(bytes.NewReader(pack), 20<<20), create(mainRef, tip))
	if !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.Refused) {
		t.Errorf("a part of a pack: %v", err)
	}
	h.sound(demo)
	must(t, h.push(demo, bytes.NewReader(pack), create(mainRef, tip)))
	if got := git(t, h.path(demo), nil, "rev-parse", string(tip)+":a"); grasp.OID(got[:40]) != w.tip("HEAD:a") {
		t.Errorf("%s came of it", got)
	}
	h.sound(demo)
}
