package gitdir_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

func line(format string, args ...any) string {
	s := fmt.Sprintf(format, args...)
	return fmt.Sprintf("%04x%s", len(s)+4, s)
}

// fetch2 is a fetch in protocol 2.
func fetch2(lines ...string) string {
	return line("command=fetch") + line("object-format=sha1") + "0001" + line("no-progress") + strings.Join(lines, "") + line("done\n") + "0000"
}

func uploaded(t *testing.T, h *house, version int, request string) (string, error) {
	t.Helper()
	return uploadedAs(t, h, version, false, request)
}

func uploadedAs(t *testing.T, h *house, version int, quick bool, request string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := h.UploadPack(t.Context(), demo, version, quick, strings.NewReader(request), &out)
	return out.String(), err
}

// H-221, H-223, H-224, H-225, H-226, H-227.
func TestUploadPack(t *testing.T) {
	h, w := open(t), newWork(t)
	if _, err := uploaded(t, h, 2, "0000"); !fault.Is(err, fault.NotFound) {
		t.Errorf("nothing was pushed: %v", err)
	}
	c1 := w.commit("a", "1\n")
	c2 := w.commit("a", "2\n")
	c3 := w.commit("a", "3\n")
	blob, tree := w.tip(string(c1)+":a"), w.tip(string(c1)+"^{tree}")
	must(t, h.push(demo, bytes.NewReader(w.pack("main")), create(mainRef, c3), create(devRef, c2)))
	must(t, h.Apply(t.Context(), demo, []grasp.RefChange{remove(devRef, c2)}, mainRef))
	git(t, h.path(demo), nil, "update-ref", "refs/keep/x", string(c2)) // hidden (H-207)
	unknown := strings.Repeat("1", 40)
	caps := " side-band-64k shallow filter no-progress agent=x"
	for _, c := range []struct {
		name    string
		version int
		request string
		want    string // in the answer
		objects int    // in the pack, if it is not 0
		bad     bool
	}{
		{name: "tip, v0", request: line("want %s%s\n", c3, caps) + "0000" + line("done\n"), objects: 9},
		{name: "tip, v1", version: 1, request: line("want %s%s\n", c3, caps) + "0000" + line("done\n"), objects: 9},
		{name: "tip, v2", version: 2, request: fetch2(line("want %s\n", c3)), objects: 9},
		{name: "old commit, v0", request: line("want %s%s\n", c1, caps) + "0000" + line("done\n"), objects: 3},
		{name: "old commit, v2", version: 2, request: fetch2(line("want %s\n", c1)), objects: 3},
		{name: "blob, v0, depth", request: line("want %s%s\n", blob, caps) + line("deepen 1") + "0000" + line("done\n"), objects: 1},
		{name: "tree, v0", request: line("want %s%s\n", tree, caps) + "0000" + line("done\n"), objects: 2},
		{name: "unknown, v0", request: line("want %s%s\n", unknown, caps) + "0000" + line("done\n"), want: "ERR upload-pack: not our ref " + unknown, bad: true},
		{name: "unknown, v2", version: 2, request: fetch2(line("want %s\n", unknown)), want: "ERR upload-pack: not our ref " + unknown, bad: true},
		{name: "browser shape", request: line("want %s%s\n", c3, caps) + line("deepen 1") + line("filter blob:none") + "0000" + line("done\n"), want: "shallow " + string(c3), objects: 2},
		{name: "tree:0", version: 2, request: fetch2(line("want %s\n", c3), line("filter tree:0\n")), objects: 3},
		{name: "tree:1", version: 2, request: fetch2(line("want %s\n", c3), line("filter tree:1\n")), objects: 6},
		{name: "blob:limit", version: 2, request: fetch2(line("want %s\n", c3), line("filter blob:limit=1\n")), objects: 6},
		{name: "object:type", version: 2, request: fetch2(line("want %s\n", c3), line("filter object:type=commit\n")), objects: 3},
		{name: "tree:2 is too costly", version: 2, request: fetch2(line("want %s\n", c3), line("filter tree:2\n")), want: "ERR", bad: true},
		{name: "sparse is too costly", version: 2, request: fetch2(line("want %s\n", c3), line("filter sparse:oid=%s\n", blob)), want: "ERR", bad: true},
		{name: "combine is too costly", version: 2, request: fetch2(line("want %s\n", c3), line("filter combine:tree:0+blob:none\n")), want: "ERR", bad: true},
		{name: "nonsense filter", version: 2, request: fetch2(line("want %s\n", c3), line("filter nonsense:1\n")), bad: true},
		{name: "nonsense", version: 2, request: "zzzz", bad: true},
		{name: "flush, v0", request: "0000"},
		{name: "refs", version: 2, request: line("command=ls-refs\n") + "0001" + line("symrefs") + line("peel") + "0000",
			want: line("%s HEAD symref-target:refs/heads/main\n", c3) + line("%s refs/heads/main\n", c3) + "0000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := uploaded(t, h, c.version, c.request)
			if c.bad != (err != nil) || err != nil && !fault.Is(err, fault.Invalid) {
				t.Errorf("error %v", err)
			}
			if !strings.Contains(out, c.want) {
				t.Errorf("answer %.300q", out)
			}
			n := 0
			if i := strings.Index(out, "PACK\x00\x00\x00\x02\x00\x00\x00"); i >= 0 {
				n = int(out[i+11])
			}
			if n != c.objects {
				t.Errorf("%d objects, want %d: %.300q", n, c.objects, out)
			}
		})
	}
	broken := errors.New("broken")
	err := h.UploadPack(t.Context(), demo, 2, false, strings.NewReader(fetch2(line("want %s\n", c3))), writerFunc(func([]byte) (int, error) { return 0, broken }))
	if !errors.Is(err, broken) || fault.Is(err, fault.Internal) {
		t.Errorf("the client went away: %v", err)
	}
	h.sound(demo)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
