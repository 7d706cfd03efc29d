package export_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/export"
	"github.com/gitroost/gitroost/internal/fault"
)

// A box has objects by their ids.
type box map[grasp.OID]object

type object struct {
	kind string
	data []byte
}

func (b box) Object(_ context.Context, oid grasp.OID, most int64) (string, int64, []byte, error) {
	o, ok := b[oid]
	if !ok {
		return "", 0, nil, fault.E(fault.NotFound, "box", "no such object")
	}
	if int64(len(o.data)) > most {
		return o.kind, int64(len(o.data)), nil, nil
	}
	return o.kind, int64(len(o.data)), o.data, nil
}

func (b box) put(kind string, data string) grasp.OID {
	oid := grasp.OID(fmt.Sprintf("%040x", len(b)+1))
	b[oid] = object{kind, []byte(data)}
	return oid
}

// A line is one entry of a tree.
type line struct {
	mode, name string
	oid        grasp.OID
}

func (b box) tree(lines ...line) grasp.OID {
	var s strings.Builder
	for _, l := range lines {
		raw, _ := hex.DecodeString(string(l.oid))
		s.WriteString(l.mode + " " + l.name + "\x00" + string(raw))
	}
	return b.put("tree", s.String())
}

func (b box) commit(tree grasp.OID) grasp.OID {
	return b.put("commit", "tree "+string(tree)+"\nauthor a <a> 1 +0000\n\nx")
}

// list returns every file below dir, links with what they point to.
func list(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			t.Error(err)
			return nil
		}
		rel, _ := filepath.Rel(dir, p)
		switch {
		case d.Type() == fs.ModeSymlink:
			to, _ := os.Readlink(p)
			rel += " -> " + to
		case d.IsDir():
			rel += "/"
		}
		out = append(out, rel)
		return nil
	})
	return out[1:]
}

// hardening 6: names that no file of a stranger may have are left out; any other bytes are a name.
func TestNames(t *testing.T) {
	b := box{}
	blob := b.put("blob", "x")
	var lines []line
	bad := []string{".", "..", "", ".git", ".GIT", ".Git ", ".git.", ".git . ", ".git::$INDEX_ALLOCATION", ".g\u200cit", ".git\u200d", "\ufeff.git", "git~1", "GIT~2", "a\\b", "a/b", strings.Repeat("x", 256)}
	good := []string{".gitignore", ".github", "git", "a b", "\xff\xfe", "é.txt", "a\tb", "a\nb", "-rf", "--", "*", "$(id)", "CON", strings.Repeat("y", 255), "\u202egnp.exe", ".gitroost"}
	for _, n := range append(slices.Clone(bad), good...) {
		lines = append(lines, line{"100644", n, blob})
	}
	dir := t.TempDir()
	rep, err := export.Tree(t.Context(), b, b.commit(b.tree(lines...)), dir, export.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := list(t, dir)
	want := slices.Clone(good)
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) || rep.LeftOut != len(bad) || rep.Files != len(good) {
		t.Errorf("%q\nwant %q; %+v", got, want, rep)
	}
	// As folders, too.
	dir = t.TempDir()
	sub := b.tree(line{"100644", "hooks", blob})
	if rep, err = export.Tree(t.Context(), b, b.tree(line{"40000", ".git", sub}, line{"40000", "..", sub}, line{"040000", "ok", sub}), dir, export.Options{}); err != nil || rep.LeftOut != 2 || !slices.Equal(list(t, dir), []string{"ok/", "ok/hooks"}) {
		t.Errorf("%+v, %v, %v", rep, err, list(t, dir))
	}
}

// What leads out of the tree, by whatever way, is found; nothing is written through a link.
func TestLinks(t *testing.T) {
	b := box{}
	blob := b.put("blob", "x")
	link := func(to string) grasp.OID { return b.put("blob", to) }
	for _, c := range []struct {
		name  string
		lines []line
		out   bool
	}{
		{"to a file", []line{{"100644", "a", blob}, {"120000", "l", link("a")}}, false},
		{"to nothing inside", []line{{"120000", "l", link("none/at/all")}}, false},
		{"up and down", []line{{"40000", "d", b.tree(line{"120000", "l", link("../a")})}, {"100644", "a", blob}}, false},
		{"to itself", []line{{"120000", "l", link("l")}}, false},
		{"in a circle", []line{{"120000", "a", link("b")}, {"120000", "b", link("a")}}, false},
		{"absolute", []line{{"120000", "l", link("/etc/passwd")}}, true},
		{"upwards", []line{{"120000", "l", link("../x")}}, true},
		{"upwards from below", []line{{"40000", "d", b.tree(line{"120000", "l", link("../../x")})}}, true},
		{"by way of another link", []line{{"40000", "d", b.tree(line{"120000", "up", link("..")})}, {"120000", "l", link("d/up/../etc")}}, true},
		{"by way of a link to a folder", []line{{"40000", "d", b.tree(line{"40000", "e", b.tree(line{"100644", "f", blob})})}, {"120000", "s", link("d/e")}, {"120000", "l", link("s/../../../x")}}, true},
	} {
		root := b.commit(b.tree(c.lines...))
		_, err := export.Tree(t.Context(), b, root, t.TempDir(), export.Options{})
		if fault.Is(err, fault.Refused) != c.out || err != nil != c.out {
			t.Errorf("%s: %v", c.name, err)
		}
		dir := t.TempDir()
		rep, err := export.Tree(t.Context(), b, root, dir, export.Options{Links: export.Skip})
		if err != nil || (rep.LeftOut > 0) != c.out {
			t.Errorf("%s, skipped: %+v, %v", c.name, rep, err)
		}
		if real, err := filepath.EvalSymlinks(filepath.Join(dir, "l")); err == nil && !strings.HasPrefix(real, dir) {
			t.Errorf("%s: l leads to %s", c.name, real)
		}
		if rep, err := export.Tree(t.Context(), b, root, t.TempDir(), export.Options{Links: export.Keep}); err != nil || rep.LeftOut != 0 {
			t.Errorf("%s, kept: %+v, %v", c.name, rep, err)
		}
	}
	// A tree with two entries of one name: the second must not be written through the first.
	outside := t.TempDir()
	evil := b.tree(line{"120000", "a", link(outside)}, line{"40000", "a", b.tree(line{"100644", "f", blob})})
	dir := t.TempDir()
	if rep, err := export.Tree(t.Context(), b, evil, dir, export.Options{Links: export.Keep}); err != nil || rep.LeftOut != 1 {
		t.Errorf("%+v, %v", rep, err)
	}
	if got := list(t, outside); len(got) > 0 {
		t.Errorf("written outside: %v", got)
	}
}

// Bounds hold, and what is broken is an error and no panic. S3-37
func TestBounds(t *testing.T) {
	b := box{}
	blob := b.put("blob", "0123456789")
	many := b.tree(line{"100644", "a", blob}, line{"100755", "b", blob}, line{"160000", "sub", blob}, line{"40000", "d", b.tree(line{"100644", "c", blob})})
	for _, c := range []struct {
		name string
		oid  grasp.OID
		opt  export.Options
		code fault.Code
	}{
		{"too many", many, export.Options{MaxFiles: 3}, fault.TooLarge},
		{"too much", many, export.Options{MaxBytes: 25}, fault.TooLarge},
		{"one too large", many, export.Options{MaxFile: 9}, fault.TooLarge},
		{"a blob", blob, export.Options{}, fault.Invalid},
		{"not here", grasp.OID(strings.Repeat("f", 40)), export.Options{}, fault.NotFound},
		{"broken", b.put("tree", "100644 a\x00short"), export.Options{}, fault.Invalid},
		{"a file that is a tree", b.tree(line{"100644", "a", many}), export.Options{}, fault.Invalid},
		{"a folder that is a file", b.tree(line{"40000", "a", blob}), export.Options{}, fault.Invalid},
		{"a commit of nothing", b.put("commit", "tree nonsense\n"), export.Options{}, fault.Invalid},
	} {
		if _, err := export.Tree(t.Context(), b, c.oid, t.TempDir(), c.opt); fault.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %v", c.name, err, c.code)
		}
	}
	dir := t.TempDir()
	rep, err := export.Tree(t.Context(), b, b.put("tag", "object "+string(b.commit(many))+"\ntype commit\n"), dir, export.Options{Dirs: 0o750})
	if err != nil || rep.Files != 3 || rep.Bytes != 30 || !slices.Equal(list(t, dir), []string{"a", "b", "d/", "d/c", "sub/"}) {
		t.Errorf("%+v, %v, %v", rep, err, list(t, dir))
	}
	for name, want := range map[string]fs.FileMode{"a": 0o640, "b": 0o750, "d": 0o750} {
		if fi, err := os.Stat(filepath.Join(dir, name)); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, fi.Mode(), err)
		}
	}
	dir = t.TempDir()
	if _, err := export.Tree(t.Context(), b, many, dir, export.Options{Want: func(p string) bool { return p == "d/c" }}); err != nil || !slices.Equal(list(t, dir), []string{"d/", "d/c"}) {
		t.Errorf("sparse: %v, %v", list(t, dir), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := export.Tree(ctx, b, many, t.TempDir(), export.Options{}); err == nil {
		t.Error("it goes on after its end")
	}
}

// No tree of a stranger makes it panic, or write outside.
func FuzzTree(f *testing.F) {
	b := box{}
	blob := b.put("blob", "x")
	b.tree(line{"100644", "a", blob}, line{"120000", "l", blob}, line{"40000", "d", blob})
	for _, o := range b {
		f.Add(o.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b := box{}
		b.put("blob", "../../x")
		b.put("tree", "100644 f\x00"+strings.Repeat("\x00", 19)+"\x01")
		oid := b.put("tree", string(data))
		root := t.TempDir()
		dir := filepath.Join(root, "a", "b")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		export.Tree(t.Context(), b, oid, dir, export.Options{MaxFiles: 100, Links: export.Skip})
		if got := list(t, root); len(got) < 2 || got[0] != "a/" || !strings.HasPrefix(got[len(got)-1], "a/b") {
			t.Fatalf("%q wrote %q", data, got)
		}
	})
}
