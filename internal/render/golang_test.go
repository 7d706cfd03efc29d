package render_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/alecthomas/chroma/v2"
	"github.com/alecthomas/chroma/v2/lexers"

	"github.com/gitroost/gitroost/internal/render"
)

// chromas returns what chroma makes of Go source.
func chromas(t testing.TB, text string) []chroma.Token {
	t.Helper()
	out, err := chroma.Tokenise(chroma.Coalesce(lexers.Get("go")), nil, text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// compare reports where the tokens of text differ from chroma's, and whether there are any.
func compare(t testing.TB, name, text string) bool {
	t.Helper()
	got, ok := render.GoTokens(text)
	if !ok {
		return false
	}
	want := chromas(t, text)
	// It gives each pattern a quarter of a second, by the clock on the wall: on a busy machine it sometimes misses one.
	for n := 0; n < 5 && !slices.Equal(got, want); n++ {
		want = chromas(t, text)
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Errorf("%s: token %d is %v %q, chroma says %v %q", name, i, got[i].Type, got[i].Value, want[i].Type, want[i].Value)
			return true
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d tokens, chroma has %d", name, len(got), len(want))
	}
	return true
}

// What is highlighted by hand is highlighted as chroma does it.
func TestGoTokens(t *testing.T) {
	for _, text := range []string{"", "x", "x\n", "package a // b\n//go:x\n//\n// y", "/* a\n*/ /**/", "a.b (c)\nint (x) int(x) len(x) len (x) func (a)", "1 1i 1.5 .5 1e5 1e+5i 0x1F 017 08 0b1 1_000 1. 1.e3 .5e-3i 5.x",
		`'a' '\n' '\'' '\x41' '\u00e9' 'é'`, `"a\"b\\" "é" ""`, "`raw\n\"` `{`", "a<<=1&^=b...<-c++--d==e!=f:=g&&h||i", "|^~,;:[]{}", "f\n\t (x)", strings.Repeat("// a\n", 5000), "\"a\nb\""} {
		if !compare(t, text, text) {
			t.Errorf("%q is left to chroma", text)
		}
	}
	for _, text := range []string{"é := 1", "x = `{{.A}}`", "\"open", "'", "`", "/* open", "#", "a\rb", "\x00", "aé"} {
		if compare(t, text, text) && !t.Failed() {
			t.Errorf("%q is not left to chroma", text)
		}
	}
	files, known := 0, 0
	for _, dir := range []string{"..", "../../grasp"} {
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || files >= 70 || !strings.HasSuffix(path, ".go") {
				return nil
			}
			b, err := os.ReadFile(path)
			if err != nil || !utf8.Valid(b) || len(b) > 30_000 {
				return nil
			}
			files++
			if compare(t, path, string(b)) {
				known++
			}
			return nil
		})
	}
	if files < 50 || known*10 < files*8 {
		t.Errorf("of %d files %d were known", files, known)
	}
}

func FuzzGoTokens(f *testing.F) {
	f.Add("package a\nfunc f() { x := \"a\" + `b` + 'c' + 0x1F /* d */ }\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) < 2000 && utf8.ValidString(text) {
			compare(t, text, text)
		}
	})
}
