package checkout_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/checkout"
	"github.com/gitroost/gitroost/internal/work/worktest"
)

// A shop is a world with a checkout of it.
type shop struct {
	*worktest.World
	dir   string // where the link is
	clock time.Time
	step  func(name string) error
	execs []string // what the programs of steps were asked to do, and where
	fail  map[string]bool
}

// doer stands for the kind exec.
type doer struct{ s *shop }

func (d doer) Do(_ context.Context, t *work.Task) jobs.Result {
	spec := t.Spec.(*work.Exec)
	entries, _ := os.ReadDir(t.Tree)
	d.s.execs = append(d.s.execs, fmt.Sprintf("%s in %s: %d files, %s", spec.Run[0], filepath.Base(t.Tree), len(entries), strings.Join(t.Env, " ")))
	if d.s.fail[spec.Run[0]] {
		return jobs.Result{State: jobs.Failed, Fault: jobs.FaultExit, Exit: 3, Reason: "exit 3"}
	}
	return jobs.Result{State: jobs.OK}
}

func newShop(t *testing.T) *shop {
	s := &shop{World: worktest.New(t), clock: time.Unix(1_800_000_000, 0), fail: map[string]bool{}}
	s.dir = filepath.Join(s.Root, "srv")
	cfg := checkout.Config{
		Folder: func(grasp.Addr) (string, error) { return filepath.Join(s.Root, "checkouts", "demo"), nil },
		Now:    func() time.Time { return s.clock },
	}
	cfg.OnStep(func(name string) error {
		if s.step == nil {
			return nil
		}
		return s.step(name)
	})
	d, err := checkout.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Doers["checkout"], s.Doers["exec"] = d, doer{s}
	s.Write("index.html", "one")
	s.Write("public/a.txt", "a")
	s.Write("bin/run", "#!/bin/sh\n")
	return s
}

func (s *shop) link() string { return filepath.Join(s.dir, "shop") }

func (s *shop) spec() *work.Checkout { return &work.Checkout{To: s.link()} }

func (s *shop) read(name string) string {
	b, err := os.ReadFile(filepath.Join(s.link(), name))
	if err != nil {
		return "error: " + err.Error()
	}
	return string(b)
}

// names returns what is in a folder, sorted.
func names(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// S3-03 S3-30: the link is relative, and the name of what it points to is the commit.
func TestCheckout(t *testing.T) {
	s := newShop(t)
	oid := s.Commit("one")
	res, log := s.Run("checkout", s.spec())
	if res.State != jobs.OK || s.read("index.html") != "one" || s.read("public/a.txt") != "a" {
		t.Fatalf("%+v %s", res, log)
	}
	to, err := os.Readlink(s.link())
	if err != nil || filepath.IsAbs(to) || filepath.Base(to) != string(oid) {
		t.Errorf("the link points to %q, %v; want a relative path that ends in %s", to, err, oid)
	}
	if fi, err := os.Stat(filepath.Join(s.link(), "bin/run")); err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("a program: %v, %v", fi, err)
	}
	if fi, err := os.Stat(filepath.Join(s.link(), "index.html")); err != nil || fi.Mode().Perm() != 0o644 {
		t.Errorf("a file: %v, %v", fi, err)
	}
	s.Write("index.html", "two")
	s.Git("rm", "-q", "public/a.txt")
	two := s.Commit("two")
	if res, log := s.Run("checkout", s.spec()); res.State != jobs.OK || s.read("index.html") != "two" || !strings.HasPrefix(s.read("public/a.txt"), "error") {
		t.Errorf("%+v %s", res, log)
	}
	// The tree can be moved as a whole.
	moved := s.dir + "-moved"
	if err := os.Rename(s.dir, moved); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(moved, "shop", "index.html")); string(b) != "two" {
		t.Errorf("moved: %q, %v", b, err)
	}
	os.Rename(moved, s.dir)

	// S3-02: whatever names a commit.
	s.Git("tag", "-a", "v1", "-m", "v1", string(oid))
	s.Git("branch", "feature/x", string(oid))
	s.Bring()
	for ref, want := range map[string]grasp.OID{"v1": oid, "feature/x": oid, "refs/tags/v1": oid, "HEAD": two, "main": two, string(oid): oid, "": two} {
		spec := s.spec()
		spec.Ref = ref
		res, log := s.Run("checkout", spec)
		to, _ := os.Readlink(s.link())
		if res.State != jobs.OK || filepath.Base(to) != string(want) {
			t.Errorf("ref %q: %+v, %s\n%s", ref, res, to, log)
		}
	}
	spec := s.spec()
	spec.Ref = "no-such"
	if res, _ := s.Run("checkout", spec); res.State != jobs.Failed || !res.Final {
		t.Errorf("a ref that is not there: %+v", res)
	}
	if res, _ := s.Run("checkout", s.spec(), func(j *jobs.Job) { j.New = grasp.ZeroOID }); res.State != jobs.OK || s.read("index.html") == "" {
		t.Errorf("a ref that is gone: %+v", res)
	}
}

// S3-14: what was not put there by us is never touched.
func TestCheckoutLeavesForeignFilesAlone(t *testing.T) {
	for name, put := range map[string]func(s *shop) string{
		"a folder that is not empty": func(s *shop) string {
			os.MkdirAll(s.link()+".d", 0o755)
			p := filepath.Join(s.link()+".d", "precious")
			os.WriteFile(p, []byte("mine"), 0o644)
			return p
		},
		"a folder where the link would be": func(s *shop) string {
			os.MkdirAll(s.link(), 0o755)
			p := filepath.Join(s.link(), "precious")
			os.WriteFile(p, []byte("mine"), 0o644)
			return p
		},
		"a file where the link would be": func(s *shop) string {
			os.MkdirAll(s.dir, 0o755)
			os.WriteFile(s.link(), []byte("mine"), 0o644)
			return s.link()
		},
		"a link to elsewhere": func(s *shop) string {
			p := filepath.Join(s.dir, "other", "precious")
			os.MkdirAll(filepath.Dir(p), 0o755)
			os.WriteFile(p, []byte("mine"), 0o644)
			os.Symlink("other", s.link())
			return filepath.Join(s.link(), "precious")
		},
		"somebody else's mark": func(s *shop) string {
			os.MkdirAll(s.link()+".d", 0o755)
			p := filepath.Join(s.link()+".d", ".gitroost")
			os.WriteFile(p, []byte("mine"), 0o644)
			return p
		},
	} {
		s := newShop(t)
		s.Commit("one")
		p := put(s)
		res, log := s.Run("checkout", s.spec())
		b, err := os.ReadFile(p)
		if res.State != jobs.Failed || !res.Final || err != nil || string(b) != "mine" {
			t.Errorf("%s: %+v, %q, %v\n%s", name, res, b, err, log)
		}
	}
	// Of another repository, too.
	s := newShop(t)
	s.Commit("one")
	if res, log := s.Run("checkout", s.spec()); res.State != jobs.OK {
		t.Fatal(res, log)
	}
	other := func(j *jobs.Job) { j.Repo.ID = "other" }
	if res, _ := s.Run("checkout", s.spec(), other); res.State != jobs.Failed || !strings.Contains(res.Reason, "demo") {
		t.Errorf("another repository: %+v", res)
	}
	// And what looks like ours beside the link, but is not.
	for _, name := range []string{"shop.part", "shop.0123456789abcdef.part", "shop.zz.part"} {
		os.WriteFile(filepath.Join(s.dir, name), []byte("mine"), 0o644)
	}
	s.Run("checkout", s.spec())
	if got := names(s.dir); len(got) != 5 {
		t.Errorf("%v", got)
	}
}

// S3-05: the gate decides before the link is turned; what follows does not turn it back. S3-20: both are
// told the commit.
func TestCheckoutCheckAndAfter(t *testing.T) {
	s := newShop(t)
	oid := s.Commit("one")
	spec := s.spec()
	spec.Gate = []string{"./smoke.sh"}
	spec.After = []work.Step{{Exec: &work.Exec{Run: []string{"reload"}}}, {Exec: &work.Exec{Run: []string{"never"}}}}
	spec.ErrorFile, spec.TouchFile = "shop.json", "touched"
	s.fail["./smoke.sh"] = true
	res, log := s.Run("checkout", spec)
	if _, err := os.Lstat(s.link()); res.State != jobs.Failed || err == nil || len(s.execs) != 1 || res.Exit != 3 {
		t.Fatalf("a gate that fails: %+v, %v, %q\n%s", res, err, s.execs, log)
	}
	for _, want := range []string{"GRASP_OID=" + string(oid), "GITSYNC_HASH=" + string(oid), "3 files"} {
		if !strings.Contains(s.execs[0], want) {
			t.Errorf("the gate was told %q, without %q", s.execs[0], want)
		}
	}
	if got := names(s.link() + ".d"); !slices.Equal(got, []string{".gitroost", ".lock"}) {
		t.Errorf("left: %v", got)
	}
	// S3-19: the file says why.
	var told checkout.Trouble
	b, _ := os.ReadFile(filepath.Join(s.dir, "shop.json"))
	if err := json.Unmarshal(b, &told); err != nil || told.OID != oid || told.State != jobs.Failed || !strings.Contains(told.Error, "exit 3") || !strings.HasSuffix(told.Repo, "/demo") {
		t.Errorf("error_file: %s, %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "touched")); err == nil {
		t.Error("touch_file was touched")
	}

	s.fail["./smoke.sh"] = false
	s.fail["never"] = true
	s.execs = nil
	res, log = s.Run("checkout", spec)
	if res.State != jobs.Failed || !strings.Contains(res.Reason, "step 2") || s.read("index.html") != "one" || len(s.execs) != 3 {
		t.Errorf("a step that fails: %+v %q\n%s", res, s.execs, log)
	}
	if !strings.HasPrefix(s.execs[1], "reload in "+string(oid)) {
		t.Errorf("%q", s.execs[1])
	}
	// S3-43: the time of the touch_file moves; S3-19: on success the error_file goes.
	s.fail["never"] = false
	for range 2 {
		s.clock = s.clock.Add(time.Minute)
		if res, log = s.Run("checkout", spec); res.State != jobs.OK {
			t.Fatalf("%+v\n%s", res, log)
		}
		fi, err := os.Stat(filepath.Join(s.dir, "touched"))
		if err != nil || !fi.ModTime().Equal(s.clock) {
			t.Errorf("touch_file: %v, %v", fi, err)
		}
		if _, err := os.Stat(filepath.Join(s.dir, "shop.json")); err == nil {
			t.Error("error_file is there after a success")
		}
	}
	// An error_file that is somebody else's stays.
	os.WriteFile(filepath.Join(s.dir, "shop.json"), []byte("mine"), 0o644)
	res, _ = s.Run("checkout", spec)
	if b, err := os.ReadFile(filepath.Join(s.dir, "shop.json")); res.State != jobs.Failed || string(b) != "mine" {
		t.Errorf("%+v, %q, %v", res, b, err)
	}
}

// S3-39: what was shown stays for a while, and whoever is in it reads on.
func TestCheckoutKeeps(t *testing.T) {
	s := newShop(t)
	one := s.Commit("one")
	spec := s.spec()
	spec.Keep = work.Keep{Count: 2, For: work.Duration(10 * time.Minute)}
	publish := func(text string) {
		t.Helper()
		s.Write("index.html", text)
		s.Commit(text)
		if res, log := s.Run("checkout", spec); res.State != jobs.OK {
			t.Fatal(res, log)
		}
	}
	if res, log := s.Run("checkout", spec); res.State != jobs.OK {
		t.Fatal(res, log)
	}
	reader, err := os.OpenRoot(filepath.Join(s.link()))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	read := func() string { b, _ := reader.ReadFile("index.html"); return string(b) }
	for i := range 5 {
		publish(fmt.Sprint(i))
	}
	if read() != "one" {
		t.Fatalf("a reader with an open folder of %s reads %q", one, read())
	}
	gens := func() (n int) {
		for _, name := range names(s.link() + ".d") {
			if strings.HasPrefix(name, "gen-") {
				n++
			}
		}
		return n
	}
	if gens() != 6 {
		t.Errorf("%d generations within the grace period", gens())
	}
	s.clock = s.clock.Add(9 * time.Minute)
	publish("nine")
	if read() != "one" {
		t.Error("gone before ten minutes were over")
	}
	s.clock = s.clock.Add(2 * time.Minute)
	publish("eleven")
	if read() == "one" || gens() != 3 { // this one, the one before, and the one of two minutes ago
		t.Errorf("after eleven minutes: %q, %d generations", read(), gens())
	}
	s.clock = s.clock.Add(time.Hour)
	publish("hour")
	if gens() != 2 {
		t.Errorf("after an hour: %d generations; two are kept", gens())
	}
	// However often something is published, the disk does not fill.
	for i := range 60 {
		publish(fmt.Sprint("x", i))
	}
	if gens() > 51 {
		t.Errorf("%d generations", gens())
	}
}

// S3-26: who may write.
func TestCheckoutModes(t *testing.T) {
	s := newShop(t)
	s.Commit("one")
	spec := s.spec()
	spec.Publish = work.Publish{Mode: "0770", Group: fmt.Sprint(os.Getgid())}
	if os.Getuid() == 0 {
		spec.Publish.Group = "12345"
	}
	if res, log := s.Run("checkout", spec); res.State != jobs.OK {
		t.Fatal(res, log)
	}
	for path, want := range map[string]fs.FileMode{"": 0o770, "index.html": 0o660, "bin/run": 0o770, "public": 0o770} {
		fi, err := os.Stat(filepath.Join(s.link(), path))
		if err != nil || fi.Mode().Perm() != want {
			t.Errorf("%q: %v, %v; want %v", path, fi.Mode(), err, want)
			continue
		}
		if gid := fi.Sys().(*syscall.Stat_t).Gid; fmt.Sprint(gid) != spec.Publish.Group {
			t.Errorf("%q belongs to %d", path, gid)
		}
	}
}

// S3-37: only what fits exists.
func TestCheckoutSparse(t *testing.T) {
	s := newShop(t)
	s.Write("public/deep/b.txt", "b")
	s.Write("smoke.sh", "#!/bin/sh\n")
	s.Commit("one")
	spec := s.spec()
	spec.Sparse = []string{"public/**", "smoke.sh", "!public/a.txt"}
	if res, log := s.Run("checkout", spec); res.State != jobs.OK {
		t.Fatal(res, log)
	}
	var got []string
	root, _ := filepath.EvalSymlinks(s.link())
	filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, p)
		got = append(got, rel)
		return err
	})
	if want := []string{".", "public", "public/deep", "public/deep/b.txt", "smoke.sh"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Only the operator's jobs may publish where they like.
func TestCheckoutOfOthers(t *testing.T) {
	s := newShop(t)
	s.Commit("one")
	trusted := func(j *jobs.Job) { j.Class = jobs.Trusted }
	if res, _ := s.Run("checkout", s.spec(), trusted); res.State != jobs.Failed || !res.Final {
		t.Errorf("%+v", res)
	}
	if res, log := s.Run("checkout", &work.Checkout{To: "www"}, trusted); res.State != jobs.OK {
		t.Errorf("%+v\n%s", res, log)
	}
	if b, err := os.ReadFile(filepath.Join(s.Root, "checkouts", "demo", "www", "index.html")); string(b) != "one" {
		t.Errorf("%q, %v", b, err)
	}
}

// jobs 3.8: a link that leads out of the tree is not published, unless the operator says so.
func TestCheckoutLinks(t *testing.T) {
	s := newShop(t)
	os.Symlink("/etc/passwd", filepath.Join(s.Work, "p"))
	os.Symlink("public/a.txt", filepath.Join(s.Work, "inside"))
	s.Commit("one")
	if res, _ := s.Run("checkout", s.spec()); res.State != jobs.Failed || !strings.Contains(res.Reason, "/etc/passwd") || !res.Final {
		t.Errorf("%+v", res)
	}
	spec := s.spec()
	spec.Symlinks = work.LinksSkip
	if res, log := s.Run("checkout", spec); res.State != jobs.OK || s.read("inside") != "a" || !strings.HasPrefix(s.read("p"), "error") {
		t.Errorf("%+v %s", res, log)
	}
	spec.Symlinks = work.LinksKeep
	if res, log := s.Run("checkout", spec); res.State != jobs.OK || !strings.Contains(s.read("p"), "root") {
		t.Errorf("%+v %s", res, log)
	}
}

// whole says what is wrong with what a reader sees.
func (s *shop) whole() error {
	to, err := filepath.EvalSymlinks(s.link())
	if errors.Is(err, fs.ErrNotExist) {
		if _, lerr := os.Lstat(s.link()); lerr == nil {
			return fmt.Errorf("the link leads nowhere: %w", err)
		}
		return nil // nothing was published yet
	}
	if err != nil {
		return err
	}
	a, err1 := os.ReadFile(filepath.Join(to, "index.html"))
	b, err2 := os.ReadFile(filepath.Join(to, "zzz.html"))
	if err1 != nil || err2 != nil || string(a) != string(b) {
		return fmt.Errorf("%q and %q are shown together (%v, %v)", a, b, err1, err2)
	}
	return nil
}

// S3-03 D10: at whatever step publishing breaks off, the link is valid, and the next publishing works.
func TestCheckoutBreaks(t *testing.T) {
	if at := os.Getenv("CHECKOUT_TEST_DIE"); at != "" {
		dieAt(t, at)
		return
	}
	var steps []string
	s := newShop(t)
	s.Write("zzz.html", "one")
	s.Commit("one")
	s.step = func(name string) error { steps = append(steps, name); return nil }
	if res, log := s.Run("checkout", s.spec()); res.State != jobs.OK {
		t.Fatal(res, log)
	}
	if len(steps) < 8 {
		t.Fatalf("steps: %v", steps)
	}
	n := 0
	for _, how := range []string{"fails", "dies"} {
		for _, at := range append(slices.Clone(steps), "object 1", "object 3", "object 5") {
			n++
			text := fmt.Sprint(how, " ", at)
			s.Write("index.html", text)
			s.Write("zzz.html", text)
			s.Commit(text)
			if how == "fails" {
				if strings.HasPrefix(at, "object") {
					continue
				}
				s.step = func(name string) error {
					if name == at {
						return errors.New("no")
					}
					return nil
				}
				if res, _ := s.Run("checkout", s.spec()); res.State == jobs.OK {
					t.Errorf("%s: it is said to be well", text)
				}
				s.step = nil
			} else {
				c := exec.Command(os.Args[0], "-test.run=^TestCheckoutBreaks$")
				c.Env = append(os.Environ(), "CHECKOUT_TEST_DIE="+at, "CHECKOUT_TEST_ROOT="+s.Root)
				out, err := c.CombinedOutput()
				var ee *exec.ExitError
				if !errors.As(err, &ee) || ee.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("%s: %v\n%s", text, err, out)
				}
			}
			if err := s.whole(); err != nil {
				t.Errorf("%s: %v", text, err)
			}
			if res, log := s.Run("checkout", s.spec()); res.State != jobs.OK || s.read("index.html") != text {
				t.Errorf("after %s: %+v, %q\n%s", text, res, s.read("index.html"), log)
			}
			for _, name := range append(names(s.dir), names(s.link()+".d")...) {
				if strings.HasPrefix(name, "new-") || strings.HasSuffix(name, ".part") {
					t.Errorf("after %s: %s is left", text, name)
				}
			}
		}
	}
}

// dieAt publishes in the folder of another process, and dies at a step.
func dieAt(t *testing.T, at string) {
	s := newShop(t)
	s.dir = filepath.Join(os.Getenv("CHECKOUT_TEST_ROOT"), "srv")
	s.Write("index.html", at)
	s.Write("zzz.html", at)
	s.Commit("x")
	die := func() { syscall.Kill(os.Getpid(), syscall.SIGKILL); select {} }
	s.step = func(name string) error {
		if name == at {
			die()
		}
		return nil
	}
	objects := 0
	cfg := work.Config{Doers: s.Doers, Dir: filepath.Join(s.Root, "jobs"), Now: time.Now, Git: func(context.Context, grasp.Addr) (string, func(), error) { return "/", func() {}, nil },
		Objects: func(ctx context.Context, repo grasp.Addr) (work.Objects, error) {
			o, err := s.Objects(ctx, repo)
			return counted{o, func() {
				if objects++; at == fmt.Sprint("object ", objects) {
					die()
				}
			}}, err
		}}
	h, err := work.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.Run(t.Context(), s.Job("checkout", s.spec()), &worktest.Log{})
}

type counted struct {
	work.Objects
	count func()
}

func (c counted) Object(ctx context.Context, oid grasp.OID, most int64) (string, int64, []byte, error) {
	c.count()
	return c.Objects.Object(ctx, oid, most)
}

// S3-03: readers never see a part, nor a mixture, while it is published again and again.
func TestCheckoutWhileRead(t *testing.T) {
	s := newShop(t)
	s.Write("zzz.html", "one")
	s.Commit("one")
	if res, log := s.Run("checkout", s.spec()); res.State != jobs.OK {
		t.Fatal(res, log)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := s.whole(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 20 {
		s.Write("index.html", fmt.Sprint(i))
		s.Write("zzz.html", fmt.Sprint(i))
		s.Commit("x")
		if res, log := s.Run("checkout", s.spec()); res.State != jobs.OK {
			t.Fatal(res, log)
		}
	}
	close(stop)
	readers.Wait()
}
