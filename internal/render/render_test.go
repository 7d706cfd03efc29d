package render_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/render"
)

// filled is a small repository with some of everything.
func filled(t testing.TB) *world {
	w := newWorld(t)
	w.write("README.md", "# Demo\n\nSee [the docs](docs/use.md#use), ![logo](img/logo.png) and [out](../../../etc/passwd).\n\n```go\nfunc main() {}\n```\n\n- [x] done\n\n| a | b |\n|--:|---|\n| 1 | 2 |\n")
	w.write("main.go", "package main\n\n// <script>alert(1)</script>\nfunc main() { println(\"hi\") }\n")
	w.write("docs/use.md", "# Use\n\nBack [home](../README.md), [code](/main.go), [folder](.).\n")
	w.write("img/logo.png", "\x89PNG\r\n\x1a\n\x00\x00")
	w.write("data.bin", "\x00\x01\x02")
	w.commit("Begin\n\nWith a body\tand <b>tags</b>.")
	w.git("tag", "-a", "v1", "-m", "first release")
	w.write("main.go", "package main\n\nfunc main() { println(\"hello\") }\n")
	if err := os.Symlink("/etc/passwd", filepath.Join(w.work, "link")); err != nil {
		t.Fatal(err)
	}
	w.commit("Say hello")
	w.git("checkout", "-q", "-b", "feature/x")
	w.write("docs/more.txt", "more\n")
	w.commit("More")
	w.git("checkout", "-q", "main")
	return w
}

// S0-15: commits, diffs, trees, files, README, branches and tags have pages, and every link leads to one.
func TestSite(t *testing.T) {
	w := filled(t)
	w.bring()
	dir := t.TempDir()
	r := w.mustPublish(dir)
	files := tree(t, dir)
	for p, want := range map[string][]string{
		"index.html":                                       {"<h1>demo</h1>", "a &lt;b&gt;demo&lt;/b&gt;", "git clone https://git", `href="tree/main/docs/use.md.html#md-use"`, `src="raw/`, "Say hello", `id="md-demo"`, `<span class="kd">func</span>`, `align="right"`},
		"tree/main/index.html":                             {`href="main.go.html"`, `href="docs/"`},
		"tree/main/main.go.html":                           {`id="L3"`, "println"},
		"tree/main/docs/use.md.html":                       {`href="../README.md.html"`, `href="../main.go.html"`, `href="./"`},
		"tree/main/link.html":                              {"A symbolic link to <code>/etc/passwd</code>"},
		"tree/feature+x/docs/more.txt.html":                {"more"},
		"branches.html":                                    {"feature/x", "default"},
		"tags.html":                                        {"v1", "first release"},
		"commits/main/index.html":                          {"Begin", "Say hello"},
		"commit/" + w.git("rev-parse", "main") + ".html":   {"Say hello", "<ins>+func main() { println(&#34;hello&#34;) }</ins>", "<del>-// &lt;script&gt;alert(1)"},
		"commit/" + w.git("rev-parse", "main~1") + ".html": {"With a body    and &lt;b&gt;tags&lt;/b&gt;.", "A binary file"},
	} {
		for _, text := range want {
			if !strings.Contains(files[p], text) {
				t.Errorf("%s does not say %q:\n%s", p, text, files[p])
			}
		}
	}
	if r.Missing != 0 || r.LeftOut != 0 || r.Rendered == 0 {
		t.Errorf("report %+v", r)
	}
	closed(t, files, false)
}

// closed checks that every link inside the site leads to a file of it, images excepted if lacking, and that nothing in it can run.
func closed(t *testing.T, files map[string]string, lacking bool) {
	t.Helper()
	for p, text := range files {
		if !strings.HasSuffix(p, ".html") {
			if strings.HasPrefix(p, "raw/") && !regexp.MustCompile(`\.(txt|bin|png|jpg|gif|webp)$`).MatchString(p) {
				t.Errorf("%s could be taken for a page", p)
			}
			continue
		}
		z := html.NewTokenizer(strings.NewReader(text))
		for z.Next() != html.ErrorToken {
			tok := z.Token()
			switch tok.Data {
			case "script", "iframe", "object", "embed", "style", "svg", "form", "base":
				if tok.Type == html.StartTagToken || tok.Type == html.SelfClosingTagToken {
					t.Errorf("%s holds a <%s>", p, tok.Data)
				}
			}
			for _, a := range tok.Attr {
				if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
					t.Errorf("%s: <%s %s=%q>", p, tok.Data, a.Key, a.Val)
				}
				if a.Key != "href" && a.Key != "src" {
					continue
				}
				u, err := url.Parse(a.Val)
				if err != nil {
					t.Errorf("%s: %s=%q: %v", p, a.Key, a.Val, err)
					continue
				}
				if u.Scheme != "" {
					if u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "mailto" || a.Key == "src" {
						t.Errorf("%s: %s=%q", p, a.Key, a.Val)
					}
					continue
				}
				if u.Path == "" {
					continue
				}
				to := path.Join(path.Dir(p), u.Path)
				if strings.HasSuffix(u.Path, "/") {
					to = path.Join(to, "index.html")
				}
				if _, ok := files[to]; !ok && !(lacking && a.Key == "src") {
					t.Errorf("%s: %s=%q leads to %s, which is not there", p, a.Key, a.Val, to)
				}
			}
		}
	}
}

// S0-15: whatever is pushed, what the next generation takes from the last is what would be rendered anew.
func TestIncrementalIsFull(t *testing.T) {
	for seed := range uint64(3) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		w := filled(t)
		w.bring()
		dir := t.TempDir()
		w.mustPublish(dir)
		for step := range 8 {
			switch rnd.IntN(5) {
			case 0:
				w.write(fmt.Sprintf("d%d/f%d.md", rnd.IntN(3), rnd.IntN(3)), fmt.Sprintf("[x](../d%d/f%d.md) ![i](../img/logo.png) %d\n", rnd.IntN(3), rnd.IntN(3), step))
			case 1:
				w.write("main.go", fmt.Sprintf("package main // %d\n", step))
			case 2:
				os.RemoveAll(filepath.Join(w.work, "docs"))
			case 3:
				w.git("checkout", "-q", "-B", fmt.Sprintf("b%d", rnd.IntN(3)))
			case 4:
				w.write("docs/use.md", fmt.Sprintf("again %d\n", rnd.IntN(2)))
			}
			w.commit(fmt.Sprintf("step %d", step))
			w.bring()
			inc := w.mustPublish(dir)
			fresh := t.TempDir()
			full := w.mustPublish(fresh)
			equal(t, fmt.Sprintf("seed %d step %d", seed, step), tree(t, dir), tree(t, fresh))
			if inc.Bytes != full.Bytes || inc.Files != full.Files || full.Rendered > 12 && inc.Rendered >= full.Rendered {
				t.Errorf("incremental %+v, full %+v", inc, full)
			}
		}
		if r := w.mustPublish(dir); !r.Unchanged || r.Rendered != 0 {
			t.Errorf("nothing was pushed: %+v", r)
		}
	}
}

// The byte cap leaves out the same pages either way.
func TestCapsAreTheSameEitherWay(t *testing.T) {
	w := filled(t)
	w.bring()
	opt := w.options()
	opt.Caps = render.Caps{Bytes: 30_000, Commits: 3}
	dir, fresh := t.TempDir(), t.TempDir()
	if _, err := w.publish(dir, opt); err != nil {
		t.Fatal(err)
	}
	w.write("new.txt", "new\n")
	w.commit("New")
	w.bring()
	for _, d := range []string{dir, fresh} {
		r, err := w.publish(d, opt)
		if err != nil || r.LeftOut == 0 || r.Bytes > 30_000 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	equal(t, "capped", tree(t, dir), tree(t, fresh))
	opt.Caps = render.Caps{Files: 3, Pages: 8, Branches: 1}
	few := t.TempDir()
	r, err := w.publish(few, opt)
	if err != nil || r.Files > 20 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Names with any bytes, empty repositories, missing objects and scripts: no panic, no script (S0-15).
func TestHostile(t *testing.T) {
	payload := "<script>alert(1)</script>\n\n<img src=x onerror=alert(1)>\n\n[a](javascript:alert(1)) [b](data:text/html,x) ![c](https://evil.example/x.png) ![d](x.svg) [e](vbscript:x) " +
		"[f](//evil.example/x) <javascript:alert(1)> [g](../../../../x) [h](%2e%2e/%2e%2e/x) <svg onload=alert(1)>\n\n```\"><script>\nx\n```\n"
	cases := map[string]func(w *world){
		"empty": func(w *world) {},
		"names": func(w *world) {
			for _, n := range []string{"é.txt", "tab\tname", "new\nline.md", "quote\".go", "<script>.html", "index", "index.html", "a.html/x", "a", "~69ndex", "%2e%2e", "..a", ".well-known/x", "\xff\xfe.md",
				strings.Repeat("l", 250), strings.Repeat("é", 100), "\u202egpj.exe", "a b&c=d?e#f", "javascript:alert(1)"} {
				w.write(n, payload)
			}
			w.commit("\u202e\x01<script>")
			w.git("branch", "we\"ird/é<b>")
		},
		"markdown": func(w *world) {
			w.write("README.md", payload)
			w.write("x.svg", "<svg onload=alert(1)>")
			w.commit(payload)
		},
		"deep": func(w *world) {
			w.write("README.md", strings.Repeat(">", 100_000)+"\n"+strings.Repeat("- ", 1000))
			w.write("b.md", strings.Repeat("[", 50_000))
			w.write("c.md", strings.Repeat("*a **a ", 10_000))
			w.write("d.md", strings.Repeat("![", 20_000)+strings.Repeat("](x)", 20_000))
			w.write(strings.Repeat("d/", 150)+"f", "deep\n")
			w.write("min.js", strings.Repeat("a(b,'c');", 20_000))
			w.commit("deep")
		},
		"tree": func(w *world) {
			blob := w.gitIn("x", "hash-object", "-w", "--stdin")
			sub := w.gitIn(fmt.Sprintf("100644 blob %s\tx\n160000 commit %s\tmodule\n", blob, strings.Repeat("12", 20)), "mktree", "--missing")
			for range 12 { // 10^12 files in 12 trees
				var in strings.Builder
				for i := range 10 {
					fmt.Fprintf(&in, "040000 tree %s\td%d\n", sub, i)
				}
				sub = w.gitIn(in.String(), "mktree")
			}
			c := w.git("commit-tree", sub, "-m", "bomb")
			w.git("update-ref", "refs/heads/main", c)
		},
		"nomain": func(w *world) { w.write("a", "a\n"); w.commit("a"); w.git("branch", "-m", "trunk") },
	}
	for name, fill := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			fill(w)
			if name != "empty" {
				w.bring()
			}
			dir := t.TempDir()
			opt := w.options()
			opt.Caps.Files = 500
			if _, err := w.publish(dir, opt); err != nil {
				t.Fatal(err)
			}
			files := tree(t, dir)
			closed(t, files, false)
			if files["index.html"] == "" {
				t.Error("there is no first page")
			}
		})
	}
}

// Objects that are not here are told as such, and asked for again the next time.
func TestMissingObjects(t *testing.T) {
	w := filled(t)
	w.bring()
	all := strings.Fields(w.git("rev-list", "--objects", "--all", "--no-object-names"))
	whole := t.TempDir()
	w.mustPublish(whole)
	for i, oid := range all {
		b, err := w.vault.Browse(context.Background(), demo)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		gone := true
		src := odd{Source: b, object: func(o grasp.OID) error {
			if gone && string(o) == oid {
				return fault.E(fault.NotFound, "test", "gone")
			}
			return nil
		}}
		calls := 0
		src.diffs = func() error {
			if calls++; gone && calls == 1 && i%2 == 0 {
				return fault.E(fault.NotFound, "test", "gone")
			}
			return nil
		}
		if _, err := render.Publish(context.Background(), dir, src, site, w.options()); err != nil {
			t.Fatalf("without %s: %v", oid, err)
		}
		closed(t, tree(t, dir), true)
		gone = false
		if _, err := render.Publish(context.Background(), dir, src, site, w.options()); err != nil {
			t.Fatal(err)
		}
		equal(t, "found again", tree(t, dir), tree(t, whole))
		b.Close()
	}
}

// S0-16: the five names and every style of chroma; auto holds both palettes; no other name passes.
func TestThemes(t *testing.T) {
	w := filled(t)
	w.bring()
	for _, name := range render.Themes() {
		th, err := render.ParseTheme(name)
		if err != nil || th.String() != name {
			t.Errorf("%s: %v %v", name, th, err)
		}
	}
	for _, name := range []string{"github-dark", "github-light", "dark", "light", "auto", "monokai", "github"} {
		opt := w.options()
		opt.Theme, _ = render.ParseTheme(name)
		dir := t.TempDir()
		if _, err := w.publish(dir, opt); err != nil {
			t.Fatal(err)
		}
		for p, text := range tree(t, dir) {
			if both := strings.Contains(text, "prefers-color-scheme"); strings.HasSuffix(p, ".css") && both != (name == "auto") {
				t.Errorf("%s: both palettes: %v", name, both)
			}
		}
	}
	if _, err := render.ParseTheme("nope"); !fault.Is(err, fault.Invalid) {
		t.Errorf("nope: %v", err)
	}
}
