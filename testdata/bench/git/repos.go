package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"
)

const zero = "0000000000000000000000000000000000000000"

// recipe changes when the repositories do: what was kept of another recipe is made anew.
const recipe = "2"

// A repository is one that the bench has made: bare, packed as git gc packs it.
type repository struct {
	name string
	dir  string
	tip  string   // of main
	old  []string // main and its ancestors, newest first
	refs map[string]string
	tree []byte // of main's root
}

// git runs stock git without anybody's configuration, and returns what it printed.
func git(dir string, args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = gitEnv()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("git %s: %v: %s", strings.Join(args[:min(3, len(args))], " "), err, bytes.TrimSpace(errs.Bytes()))
	}
	return out.String(), nil
}

func gitEnv(more ...string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=B", "GIT_AUTHOR_EMAIL=b@example.com", "GIT_COMMITTER_NAME=B", "GIT_COMMITTER_EMAIL=b@example.com",
	}, more...)
}

// A shape says what a repository is made of.
type shape struct {
	name    string
	bytes   int64 // of text, before packing
	commits int
	heads   int // branches and tags besides main, half of each
	pulls   int // refs under refs/nostr/
	made    int64
}

// shapes of the bench. What they pack to: small 1 MB, medium 60 MB, large 300 MB.
var shapes = []shape{
	{name: "small", bytes: 3 << 20, commits: 200, heads: 10},
	{name: "medium", bytes: 1 << 40, commits: 4000},
	{name: "large", bytes: 1 << 40, commits: 6000, made: 400 << 20},
	{name: "refs-1k", bytes: 3 << 20, commits: 200, heads: 1000},
	{name: "refs-50k", bytes: 3 << 20, commits: 200, heads: 10, pulls: 50_000},
}

// make makes the repository of s below cache, or finds it there.
func (s shape) make(cache string, say func(string, ...any)) (*repository, error) {
	dir := filepath.Join(cache, fmt.Sprintf("%s-%s-%s.git", s.name, recipe, runtime.Version()))
	if _, err := os.Stat(filepath.Join(dir, "done")); err != nil {
		say("making the repository %s; it is kept in %s", s.name, dir)
		if err := s.build(dir); err != nil {
			return nil, fmt.Errorf("make %s: %w", s.name, err)
		}
	}
	return openRepository(s.name, dir)
}

func openRepository(name, dir string) (*repository, error) {
	r := &repository{name: name, dir: dir, refs: map[string]string{}}
	out, err := git(dir, "rev-list", "--first-parent", "main")
	if err != nil {
		return nil, err
	}
	r.old = strings.Fields(out)
	r.tip = r.old[0]
	if out, err = git(dir, "for-each-ref", "--format=%(objectname) %(refname)"); err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		oid, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		r.refs[name] = oid
	}
	tree, err := git(dir, "cat-file", "tree", r.tip+"^{tree}")
	r.tree = []byte(tree)
	return r, err
}

// heads returns the branches and tags of r.
func (r *repository) heads() map[string]string {
	out := map[string]string{}
	for n, o := range r.refs {
		if !strings.HasPrefix(n, "refs/nostr/") {
			out[n] = o
		}
	}
	return out
}

// build writes a history of Go's own sources: files arrive one after another, and are changed
// later. The same Go makes the same repository, to the byte.
func (s shape) build(dir string) error {
	os.RemoveAll(dir)
	if _, err := git("/", "init", "-q", "--bare", "--initial-branch=main", dir); err != nil {
		return err
	}
	files, err := sources(s.bytes)
	if err != nil {
		return err
	}
	cmd := exec.Command("git", "fast-import", "--quiet", "--force", "--depth=50")
	cmd.Dir, cmd.Env = dir, gitEnv()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	w := bufio.NewWriterSize(in, 1<<20)
	s.history(w, files)
	w.Flush()
	in.Close()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("git fast-import: %v: %s", err, errs.Bytes())
	}
	for _, args := range [][]string{
		{"config", "repack.writeBitmaps", "true"},
		{"config", "http.receivepack", "true"},
		{"config", "uploadpack.allowFilter", "true"},
		{"config", "uploadpack.allowAnySHA1InWant", "true"},
		{"pack-refs", "--all", "--prune"},
		{"-c", "pack.window=" + s.window(), "gc", "-q", "--prune=now"},
		{"commit-graph", "write", "--reachable"},
	} {
		if _, err := git(dir, args...); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "done"), nil, 0o644)
}

// window is how many objects git compares with each other when it looks for deltas: few where the
// content is made up, for there is nothing to be found.
func (s shape) window() string {
	if s.made > 0 {
		return "2"
	}
	return "10"
}

// sources lists Go's own source files, up to limit bytes in all.
func sources(limit int64) (out []string, err error) {
	out2, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, err
	}
	root := filepath.Join(strings.TrimSpace(string(out2)), "src")
	var sum int64
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		st, err := d.Info()
		if err != nil || st.Size() > 1<<20 || sum+st.Size() > limit {
			return err
		}
		sum += st.Size()
		out = append(out, path)
		return nil
	})
	slices.Sort(out)
	// Mixed, so that every part of the history touches every part of the tree.
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out, err
}

// history writes a stream for git fast-import.
func (s shape) history(w *bufio.Writer, files []string) {
	r := rand.New(rand.NewPCG(3, uint64(s.commits)))
	root := files[0][:strings.Index(files[0], "/src/")+5]
	content := map[string][]byte{}
	var known []string
	put := func(name string, b []byte) {
		fmt.Fprintf(w, "M 100644 inline %s\ndata %d\n", name, len(b))
		w.Write(b)
		w.WriteByte('\n')
	}
	var lines [][]byte
	for i := range s.commits {
		fmt.Fprintf(w, "commit refs/heads/main\nmark :%d\ncommitter B <b@example.com> %d +0000\ndata <<.\nchange %d\n.\n", i+1, 1_600_000_000+i*600, i)
		for j := len(files) * i / s.commits; j < len(files)*(i+1)/s.commits; j++ {
			b, err := os.ReadFile(files[j])
			if err != nil {
				continue
			}
			name := strings.TrimPrefix(files[j], root)
			if utf8.Valid(b) && len(b) > 200 {
				content[name] = b
				known = append(known, name)
				if len(lines) < 200_000 {
					lines = append(lines, bytes.SplitAfter(b, []byte("\n"))...)
				}
			}
			put(name, b)
		}
		for range 3 { // changes of what is there
			if len(known) == 0 {
				break
			}
			name := known[r.IntN(len(known))]
			b := content[name]
			at := bytes.IndexByte(b[r.IntN(len(b)):], '\n')
			b = slices.Concat(b[:at+1], fmt.Appendf(nil, "// change %d: %x\n", i, r.Uint64()), b[at+1:])
			content[name] = b
			put(name, b)
		}
		// Made up: new files of old lines.
		for sum, j := int64(0), 0; sum < s.made/int64(s.commits) && len(lines) > 0; j++ {
			var b []byte
			for size := 4000 + r.IntN(60_000); len(b) < size; {
				b = append(b, lines[r.IntN(len(lines))]...)
			}
			put(fmt.Sprintf("made/%03d/%d-%d.txt", i%500, i, j), b)
			sum += int64(len(b))
		}
	}
	for i := range s.heads {
		at := 1 + i*s.commits/s.heads
		if i%2 == 0 {
			fmt.Fprintf(w, "reset refs/heads/topic/%05d\nfrom :%d\n\n", i, at)
			continue
		}
		fmt.Fprintf(w, "tag v0.%d.0\nfrom :%d\ntagger B <b@example.com> %d +0000\ndata <<.\nrelease %d\n.\n", i, at, 1_600_000_000+i, i)
	}
	for i := range s.pulls {
		fmt.Fprintf(w, "reset refs/nostr/%s\nfrom :%d\n\n", pullID(i), 1+i%s.commits)
	}
	fmt.Fprint(w, "done\n")
}

// pullID returns the id of the i-th pull request.
func pullID(i int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "pull request %d", i))
	return hex.EncodeToString(sum[:])
}

// copyRepository makes a bare copy that shares the packs with the original: they are never changed.
func copyRepository(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, path)
		dst := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(dst, 0o755)
		}
		if strings.HasPrefix(rel, "objects/") && os.Link(path, dst) == nil {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(dst, b, 0o644)
	})
}

// newWork begins a line of work on main.
func (r *repository) newWork(name string) *work {
	return &work{tree: r.tree, tip: r.tip, name: name}
}
