package gitwire_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/gitwire"
)

// unband takes the section apart again.
func unband(t *testing.T, answer []byte) (pack, said []byte, empty int) {
	t.Helper()
	r := gitwire.NewReader(bytes.NewReader(answer), 1<<30)
	for n := 0; ; n++ {
		kind, b, err := r.Next()
		switch {
		case err != nil:
			t.Fatalf("after %d packets: %v", n, err)
		case kind == gitwire.Flush:
			if end, err := r.End(); !end || err != nil {
				t.Fatalf("something follows the flush: %v", err)
			}
			return pack, said, empty
		case n == 0:
			if string(b) != "packfile\n" {
				t.Fatalf("the section begins with %q", b)
			}
		case b[0] == 1:
			if len(b) == 1 {
				empty++
			}
			pack = append(pack, b[1:]...)
		case b[0] == 2:
			said = append(said, b[1:]...)
		default:
			t.Fatalf("band %d", b[0])
		}
	}
}

// H-224: whatever the sizes of the pieces, what comes out is what went in.
func TestPackWriter(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, pieces := range [][]int{{1}, {65515}, {65516}, {65514, 1, 0, 300_000}, {12, 4096, 131_030, 7}} {
		var out bytes.Buffer
		w := gitwire.NewPackWriter(&out)
		if w.Begun() {
			t.Error("nothing was written, and it has begun")
		}
		var want []byte
		for _, n := range pieces {
			p := make([]byte, n)
			for i := range p {
				p[i] = byte(random.Uint32())
			}
			if m, err := w.Write(p); m != n || err != nil {
				t.Fatalf("%d bytes: %d, %v", n, m, err)
			}
			want = append(want, p...)
			w.Say([]byte("Counting\r"))
		}
		if err := w.End(); err != nil || !w.Begun() {
			t.Fatal(err)
		}
		pack, said, empty := unband(t, out.Bytes())
		if !bytes.Equal(pack, want) || string(said) != strings.Repeat("Counting\r", len(pieces)) || empty != 0 {
			t.Errorf("pieces %v: %d bytes of pack, want %d; said %q; %d empty packets", pieces, len(pack), len(want), said, empty)
		}
	}
}

// H-257: a sign of life comes when nothing else does.
func TestPackWriterAlive(t *testing.T) {
	var out bytes.Buffer
	w := gitwire.NewPackWriter(&out)
	w.Alive()
	w.Write([]byte("PACK"))
	w.Alive() // something came
	w.Alive()
	w.End()
	if pack, _, empty := unband(t, out.Bytes()); empty != 2 || string(pack) != "PACK" {
		t.Errorf("%d empty packets, want 2; pack %q", empty, pack)
	}
}

// After an error there is silence, and everybody hears of it.
func TestPackWriterBroken(t *testing.T) {
	broken := errors.New("broken")
	calls := 0
	w := gitwire.NewPackWriter(writer(func(p []byte) (int, error) { calls++; return 0, broken }))
	for range 3 {
		if _, err := w.Write([]byte("x")); !errors.Is(err, broken) {
			t.Errorf("write: %v", err)
		}
	}
	if err := w.End(); !errors.Is(err, broken) || calls != 1 {
		t.Errorf("end: %v after %d calls", err, calls)
	}
}

type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

var _ io.Writer = writer(nil)

// H-226: where history ends is said before the pack, once, and not if nothing follows.
func TestPackWriterShallow(t *testing.T) {
	a, b := grasp.OID(strings.Repeat("a", 40)), grasp.OID(strings.Repeat("b", 40))
	for _, c := range []struct {
		commits []grasp.OID
		want    string
	}{
		{nil, "0011shallow-info\n0001000dpackfile\n0008\x01yes0008\x01yes0000"},
		{[]grasp.OID{a, b}, "0011shallow-info\n0034shallow " + string(a) + "0034shallow " + string(b) + "0001000dpackfile\n0008\x01yes0008\x01yes0000"},
	} {
		var out bytes.Buffer
		w := gitwire.NewPackWriter(&out)
		w.Shallow(c.commits)
		if w.Begun() || out.Len() > 0 {
			t.Error("it has begun by itself")
		}
		for range 2 {
			if _, err := w.Write([]byte("yes")); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.End(); err != nil || out.String() != c.want {
			t.Errorf("%q, want %q, %v", out.String(), c.want, err)
		}
	}
}
