package render_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/render"
)

// No bytes break the reader of diffs, and it keeps no more than it may.
func FuzzDiff(f *testing.F) {
	pair := [2]grasp.OID{grasp.OID(strings.Repeat("1", 40)), grasp.OID(strings.Repeat("2", 40))}
	head := string(pair[0]) + " " + string(pair[1]) + "\n"
	zero, one := strings.Repeat("0", 40), strings.Repeat("1", 40)
	f.Add(head + ":000000 100644 " + zero + " " + one + " A\x00new\nline\x00\x00diff --git \"a/new\\nline\" \"b/new\\nline\"\nnew file mode 100644\nindex 0..1\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+x\n\\ No newline at end of file\n")
	f.Add(head + ":120000 100644 " + one + " " + one + " T\x00l\x00:100644 100644 " + one + " " + one + " R100\x00a\x00b\x00\x00diff --git a/l b/l\nBinary files a and b differ\n")
	f.Add(head)
	f.Fuzz(func(t *testing.T, in string) {
		_, kept, size, _ := render.ReadDiffs(strings.NewReader(in), pair, 3, 100)
		if kept > 3 || size > 100 {
			t.Errorf("kept %d files, %d bytes", kept, size)
		}
	})
}

// Two paths never share a page, and none is outside its folder.
func FuzzNames(f *testing.F) {
	f.Add("a.html", "a.htm~6C")
	f.Add("index", "~69ndex")
	f.Add("../x", "..")
	f.Add("a/b", "a+b")
	f.Add(strings.Repeat("x", 300), strings.Repeat("x", 301))
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, s := range []string{a, b} {
			for _, p := range []string{render.FileAddress(s), render.FolderAddress(s), render.Segment(s) + "/x"} {
				if !filepath.IsLocal(p) && render.Segment(s) != "" || strings.Contains(p, "//") || strings.ContainsAny(p, "\x00%?#\\ ") || len(p) > 1000 {
					t.Errorf("%q gives %q", s, p)
				}
			}
		}
		for _, s := range []string{a, b} {
			for _, part := range strings.Split(s, "/") {
				if part == "" || part == "." || part == ".." {
					return // no path in a tree
				}
			}
		}
		if a != b && (render.FileAddress(a) == render.FileAddress(b) || render.FolderAddress(a) == render.FolderAddress(b)) {
			t.Errorf("%q and %q share a page", a, b)
		}
		if render.FileAddress(a) == render.FolderAddress(b) || strings.HasPrefix(render.FolderAddress(b), render.FileAddress(a)+"/") {
			t.Errorf("file %q and folder %q share a page", a, b)
		}
	})
}

// No bytes break the readers of objects, and no tree names what is not a name.
func FuzzObjects(f *testing.F) {
	f.Add([]byte("100644 a\x0012345678901234567890"))
	f.Add([]byte("tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a@b> 99999999999999 +9999\n\nx"))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, n := range render.ParseObjects(in) {
			if n == "" || n == "." || n == ".." || strings.ContainsAny(n, "/\x00") {
				t.Errorf("a name %q", n)
			}
		}
	})
}
