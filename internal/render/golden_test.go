package render_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden pages anew")

// The pages of a small repository, byte for byte. -update writes them anew: look at the difference.
func TestGolden(t *testing.T) {
	w := filled(t)
	w.bring()
	dir := t.TempDir()
	w.mustPublish(dir)
	files := tree(t, dir)
	pages := map[string]string{"index": "index.html", "folder": "tree/main/docs/index.html", "file": "tree/main/main.go.html", "markdown": "tree/main/docs/use.md.html",
		"commit": "commit/" + w.git("rev-parse", "main") + ".html", "log": "commits/main/index.html", "branches": "branches.html", "tags": "tags.html"}
	for name, p := range pages {
		path := filepath.Join("testdata", "golden", name+".html")
		got := files[p]
		for f := range files {
			if strings.HasPrefix(f, "static/") {
				got = strings.ReplaceAll(got, f, "static/style.css") // its name changes with every colour
			}
		}
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil || got != string(want) {
			t.Errorf("%s is not as in %s (%v):\n%s", p, path, err, got)
		}
	}
}
