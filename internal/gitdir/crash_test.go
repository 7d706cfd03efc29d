package gitdir_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitdir"
)

// A deed is what a process does when it is killed.
type deed struct {
	Root  string
	Kill  string // the step at which it dies; "" lives
	Fresh bool   // the repository is new
	Pack  []byte
	Edits []grasp.RefChange
	Head  grasp.RefName
	Away  bool // the repository is removed instead

	Starve grasp.OID // questions are asked with few descriptors instead, about this one
}

const deedVariable = "GITDIR_TEST_DEED"

// TestMain lets this program be the one that dies.
func TestMain(m *testing.M) {
	if path := os.Getenv(deedVariable); path != "" {
		os.Exit(die(path))
	}
	os.Exit(m.Run())
}

func die(path string) int {
	b, err := os.ReadFile(path)
	var d deed
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	if err != nil {
		fmt.Println(err)
		return 3
	}
	if d.Starve != "" {
		if err := d.starve(); err != nil {
			fmt.Println(err)
			return 3
		}
		return 0
	}
	err = d.do(func(name string) error {
		if name == d.Kill {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	})
	fmt.Println(err)
	return 2 // it was meant to die
}

func (d *deed) do(step func(string) error) error {
	v, err := gitdir.Open(context.Background(), d.Root, gitdir.Config{}.WithStep(step), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer v.Close()
	h := &house{Vault: v}
	if d.Away {
		return h.Remove(context.Background(), demo)
	}
	if err := h.push(demo, bytes.NewReader(d.Pack), d.Edits...); err != nil {
		return err
	}
	return h.Apply(context.Background(), demo, nil, d.Head)
}

// steps returns the names of the steps that d goes through, by doing it to a copy.
func (d deed) steps(t *testing.T) []string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "copy")
	must(t, os.CopyFS(copied, os.DirFS(d.Root)))
	d.Root = copied
	var names []string
	must(t, d.do(func(name string) error {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		return nil
	}))
	return names
}

func deeds(t *testing.T) map[string]deed {
	h, w := open(t), newWork(t)
	c1 := w.commit("a", "1\n")
	fresh := deed{Fresh: true, Pack: w.pack("main"), Edits: []grasp.RefChange{create(mainRef, c1), create(devRef, c1)}, Head: mainRef}
	must(t, h.push(demo, bytes.NewReader(fresh.Pack), fresh.Edits...))
	c2 := w.commit("a", "2\n")
	w.git("tag", "-a", "-m", "x", "v1")
	second := deed{
		Pack: w.packWith([]string{"--thin"}, "main", "v1", "^"+string(c1)),
		Edits: []grasp.RefChange{update(mainRef, c1, c2), remove(devRef, c1),
			create("refs/heads/dev/deep", c2), create("refs/tags/v1", w.tip("v1"))},
		Head: "refs/heads/dev/deep",
	}
	h.Close()
	fresh.Root, second.Root = filepath.Join(t.TempDir(), "none"), h.root
	must(t, os.Mkdir(fresh.Root, 0o755))
	return map[string]deed{"first push": fresh, "second push": second, "removal": {Root: h.root, Away: true}}
}

// I4, I5, G2: whenever the process is killed, afterwards the refs are the old ones or the new ones
// and never a mixture, git is content, nothing is left over, and the same push succeeds.
func TestKilledAtEachStep(t *testing.T) {
	for name, d := range deeds(t) {
		for _, step := range d.steps(t) {
			t.Run(name+"/"+step, func(t *testing.T) {
				t.Parallel()
				d := d
				d.Kill = step
				copied := filepath.Join(t.TempDir(), "data")
				must(t, os.CopyFS(copied, os.DirFS(d.Root)))
				d.Root = copied
				before := openAt(t, copied, gitdir.Config{})
				old := tell(before.refs(demo))
				before.Close()

				b, _ := json.Marshal(d)
				path := filepath.Join(t.TempDir(), "deed")
				must(t, os.WriteFile(path, b, 0o600))
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), deedVariable+"="+path)
				out, err := cmd.CombinedOutput()
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("it was not killed: %v %s", err, out)
				}
				afterwards(t, d, old)
			})
		}
	}
}

// afterwards checks what a new process finds.
func afterwards(t *testing.T, d deed, old string) {
	t.Helper()
	h := openAt(t, d.Root, gitdir.Config{})
	got := h.refs(demo)
	if d.Away {
		if tell(got) != old && h.Exists(demo) {
			t.Errorf("half removed:\n%s", tell(got))
		}
	} else if refs := strings.Split(tell(got), "HEAD ")[0]; refs != strings.Split(old, "HEAD ")[0] && refs != strings.Split(d.news(old), "HEAD ")[0] {
		t.Errorf("neither old nor new:\n%s", tell(got))
	}
	h.sound(demo)
	h.noHalfPacks()
	if d.Away {
		must(t, h.Remove(t.Context(), demo))
		return
	}
	// The client comes again. What it sends is computed from what it sees.
	var edits []grasp.RefChange
	for _, e := range d.Edits {
		e.Old = got.Refs.OID(e.Ref)
		edits = append(edits, e)
	}
	must(t, h.push(demo, bytes.NewReader(d.Pack), edits...))
	must(t, h.Apply(t.Context(), demo, nil, d.Head))
	s := h.refs(demo)
	for _, e := range d.Edits {
		if want := e.New; s.Refs.OID(e.Ref) != want && !(want.IsZero() && s.Refs.OID(e.Ref) == "") {
			t.Errorf("in the end %s is %s", e.Ref, s.Refs.OID(e.Ref))
		}
	}
	if s.Head != d.Head {
		t.Errorf("in the end HEAD is %s", s.Head)
	}
	h.sound(demo)
	h.noHalfPacks()
}

// news is what the refs look like once d was done.
func (d deed) news(old string) string {
	refs := grasp.Refs{}
	for line := range strings.Lines(old) {
		f := strings.Fields(line)
		if f[0] != "HEAD" {
			refs[grasp.RefName(f[1])] = grasp.OID(f[0])
		}
	}
	s := &grasp.Snapshot{Refs: refs.List().Apply(d.Edits)}
	if tag, ok := s.Refs.Get("refs/tags/v1"); ok {
		tag.Peeled = s.Refs.OID(mainRef)
		s.Refs = s.Refs.With([]grasp.Ref{tag}, nil)
	}
	return tell(s)
}

func (h *house) noHalfPacks() {
	h.t.Helper()
	dir := filepath.Join(h.path(demo), "objects", "pack")
	packs, _ := filepath.Glob(filepath.Join(dir, "*.pack"))
	for _, p := range packs {
		if _, err := os.Stat(strings.TrimSuffix(p, ".pack") + ".idx"); err != nil {
			h.t.Errorf("a pack without an index: %s", p)
		}
	}
}

// G7, hardening §12: an error at any step is told, leaves the old or the new, and the memory agrees
// with the disk; trying again succeeds.
func TestFailedAtEachStep(t *testing.T) {
	broken := errors.New("broken")
	for name, d := range deeds(t) {
		for _, step := range d.steps(t) {
			t.Run(name+"/"+step, func(t *testing.T) {
				t.Parallel()
				d := d
				copied := filepath.Join(t.TempDir(), "data")
				must(t, os.CopyFS(copied, os.DirFS(d.Root)))
				d.Root = copied
				armed := true
				h := openAt(t, copied, gitdir.Config{}.WithStep(func(name string) error {
					if armed && name == step {
						armed = false
						return broken
					}
					return nil
				}))
				old := tell(h.refs(demo))
				act := func() error {
					if d.Away {
						return h.Remove(t.Context(), demo)
					}
					if err := h.push(demo, bytes.NewReader(d.Pack), d.Edits...); err != nil {
						return err
					}
					return h.Apply(t.Context(), demo, nil, d.Head)
				}
				if err := act(); !errors.Is(err, broken) {
					t.Fatalf("error %v", err)
				}
				h.sound(demo)
				got := tell(h.refs(demo))
				h.Close()
				h = openAt(t, copied, gitdir.Config{})
				if again := tell(h.refs(demo)); again != got {
					t.Errorf("memory said\n%s, the disk says\n%s", got, again)
				}
				h.Close() // one at a time: it may still be deleting what another left behind
				afterwards(t, d, old)
			})
		}
	}
}

// I5: a process that is killed while a pack comes in leaves nothing to the next one.
func TestKilledWhileReceiving(t *testing.T) {
	w := newWork(t)
	w.commit("a", strings.Repeat("text\n", 1000))
	root := filepath.Join(t.TempDir(), "data")
	h := openAt(t, root, gitdir.Config{})
	must(t, os.MkdirAll(filepath.Join(root, "incoming", "push-0123", "pack"), 0o755))
	must(t, os.WriteFile(filepath.Join(root, "incoming", "push-0123", "pack", "tmp_pack_x"), []byte("x"), 0o444))
	h.Close()
	h = openAt(t, root, gitdir.Config{})
	h.sound(demo)
	h.Close() // waits for the sweeper's present item
	h = openAt(t, root, gitdir.Config{})
	defer h.Close()
}

// H-253, G16: a pusher that leaves in the middle leaves nothing behind, and no process.
func TestPusherLeaves(t *testing.T) {
	h, w := open(t), newWork(t)
	c1 := w.commit("a", strings.Repeat("text\n", 1000))
	pack := w.pack("main")
	pr, pw := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		pw.Write(pack[:len(pack)/2])
		cancel()
		pw.CloseWithError(context.Canceled)
	}()
	if _, err := h.Ingest(ctx, demo, pr, ingestOptions()); !fault.Is(err, fault.Closing) {
		t.Errorf("error %v", err)
	}
	if h.runner.Running() != 0 {
		t.Error("a process is left")
	}
	h.sound(demo)
	must(t, h.push(demo, bytes.NewReader(pack), create(mainRef, c1)))
}

// starve asks with ever more descriptors, and forgets in between. Every answer must be right or
// no answer.
func (d *deed) starve() error {
	ctx := context.Background()
	v, err := gitdir.Open(ctx, d.Root, gitdir.Config{CacheRepos: 1}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer v.Close()
	const free = 64
	var held []*os.File
	for range free {
		f, err := os.Open("/dev/null")
		if err != nil {
			return err
		}
		held = append(held, f)
	}
	limit := syscall.Rlimit{Cur: uint64(held[free-1].Fd()) + 1, Max: 1 << 20}
	syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	limit.Cur = uint64(held[free-1].Fd()) + 1
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	busy, fine := 0, 0
	for n := range 24 {
		if n > 0 {
			held[n].Close()
		}
		for range 3 {
			have, err := v.Have(ctx, demo, []grasp.OID{d.Starve})
			switch {
			case fault.Is(err, fault.Busy):
				busy++
			case err != nil:
				return fmt.Errorf("with %d free: %w", n, err)
			case !have.Has(d.Starve):
				return fmt.Errorf("with %d free: it is said not to be there", n)
			default:
				fine++
			}
			s, err := v.Refs(ctx, demo)
			if err == nil && s.Refs.OID(mainRef) != d.Starve {
				return fmt.Errorf("with %d free: refs are %s", n, tell(s))
			}
			if err != nil && !fault.Is(err, fault.Busy) {
				return fmt.Errorf("with %d free: %w", n, err)
			}
			v.Refs(ctx, fork) // forgets demo
		}
	}
	if busy == 0 || fine == 0 {
		return fmt.Errorf("%d busy, %d fine: not much of a test", busy, fine)
	}
	return nil
}

// G12: without descriptors there is no answer, never a wrong one, and nothing is cleaned away.
func TestFewDescriptors(t *testing.T) {
	h, w := open(t), newWork(t)
	c1 := w.commit("a", "1\n")
	must(t, h.push(demo, bytes.NewReader(w.pack("main")), create(mainRef, c1)))
	dir := h.path(demo)
	git(t, dir, nil, "symbolic-ref", "refs/heads/link", "refs/heads/main")
	h.Close()
	b, _ := json.Marshal(deed{Root: h.root, Starve: c1})
	path := filepath.Join(t.TempDir(), "deed")
	must(t, os.WriteFile(path, b, 0o600))
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), deedVariable+"="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if got := strings.TrimSpace(git(t, dir, nil, "symbolic-ref", "refs/heads/link")); got != "refs/heads/main" {
		t.Errorf("a symbolic ref is now %s", got)
	}
	git(t, dir, nil, "fsck", "--full")
}
