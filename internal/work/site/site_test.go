package site_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/gitdir"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/sites"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/site"
	"github.com/gitroost/gitroost/internal/work/worktest"
)

func newWorld(t *testing.T, now func() time.Time) (*worktest.World, string) {
	w := worktest.New(t)
	d, err := site.New(site.Config{Dir: filepath.Join(w.Root, "pub"), Folder: gitdir.Folder, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	w.Doers["site"] = d
	own, err := gitdir.Folder(worktest.Demo)
	if err != nil {
		t.Fatal(err)
	}
	w.Write("README.md", "# Hello\n")
	w.Write("main.go", "package main\n")
	w.Commit("one")
	return w, filepath.Join(w.Root, "pub", "sites", own)
}

// S0-15: the second push renders only what changed, and the log counts it.
func TestSite(t *testing.T) {
	w, dir := newWorld(t, time.Now)
	counts := func() (files, rendered int) {
		t.Helper()
		res, log := w.Run("site", &work.Site{Theme: "auto", Branches: "default"})
		if res.State != jobs.OK {
			t.Fatalf("%+v\n%s", res, log)
		}
		if _, err := fmt.Sscanf(log.String(), "%d files, %d rendered", &files, &rendered); err != nil {
			t.Fatalf("%v: %s", err, log)
		}
		return files, rendered
	}
	files, rendered := counts()
	if files < 8 || rendered != files {
		t.Errorf("the first time: %d files, %d rendered", files, rendered)
	}
	index, err := os.ReadFile(filepath.Join(dir, "current", "index.html"))
	if err != nil || !strings.Contains(string(index), "Hello") {
		t.Fatalf("%v: %.200s", err, index)
	}
	w.Write("other.go", "package main\n")
	w.Commit("two")
	if files, again := counts(); again == 0 || again > files-4 {
		t.Errorf("the second time: %d files, %d rendered", files, again)
	}
	if _, again := counts(); again != 0 {
		t.Errorf("the third time, with nothing new: %d rendered", again)
	}
}

// S0-16: the names that people know, and every style of chroma; each of them is a page that shows.
func TestSiteThemes(t *testing.T) {
	w, dir := newWorld(t, time.Now)
	for _, theme := range []string{"github-dark", "github-light", "dark", "light", "auto", "monokai", "dracula"} {
		if res, log := w.Run("site", &work.Site{Theme: theme}); res.State != jobs.OK {
			t.Fatalf("%s: %+v\n%s", theme, res, log)
		}
		css, _ := filepath.Glob(filepath.Join(dir, "current", "static", "*.css"))
		if len(css) != 1 {
			t.Fatalf("%s: %v", theme, css)
		}
		b, err := os.ReadFile(css[0])
		both := strings.Contains(string(b), "color-scheme: light dark") && strings.Contains(string(b), "prefers-color-scheme: dark")
		if err != nil || both != (theme == "auto") {
			t.Errorf("%s: both palettes: %v, %v", theme, both, err)
		}
	}
	if err := (&work.Site{Theme: "nope"}).Check(); err == nil {
		t.Error("an unknown theme is taken")
	}
}

// S0-17: whoever reads during fifty publishings finds a page each time, and each page whole.
func TestSiteWhileRead(t *testing.T) {
	w, dir := newWorld(t, time.Now)
	spec := &work.Site{Publish: work.Publish{Keep: work.Keep{For: work.Duration(time.Minute)}}}
	if res, log := w.Run("site", spec); res.State != jobs.OK {
		t.Fatalf("%+v\n%s", res, log)
	}
	srv := httptest.NewServer(sites.New(sites.Config{Dir: filepath.Join(w.Root, "pub", "sites"), Folder: gitdir.Folder,
		Serves: func(context.Context, grasp.Addr) (bool, error) { return true, nil }}))
	defer srv.Close()
	stop := make(chan struct{})
	var readers sync.WaitGroup
	reads := 0
	readers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, path := range []string{"/", "/branches.html", "/tags.html"} {
				res, err := http.Get(srv.URL + "/" + worktest.Demo.Owner.Npub() + "/demo" + path)
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(res.Body)
				res.Body.Close()
				reads++
				if err != nil || res.StatusCode != 200 || !strings.HasSuffix(strings.TrimSpace(string(b)), "</html>") {
					t.Errorf("%s: %s, %v, ends in %q", path, res.Status, err, string(b[max(0, len(b)-40):]))
					return
				}
			}
		}
	})
	for i := range 50 {
		w.Write("README.md", fmt.Sprintf("# Number %d\n", i))
		w.Commit("x")
		if res, log := w.Run("site", spec); res.State != jobs.OK {
			t.Fatalf("%+v\n%s", res, log)
		}
	}
	close(stop)
	readers.Wait()
	if reads < 50 {
		t.Errorf("%d reads show nothing", reads)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "gen-*")); len(left) > 51 {
		t.Errorf("%d generations are kept", len(left))
	}
}

// What takes longer than a second says how far it is; bounds hold; a stranger's place is his own.
func TestSiteBounds(t *testing.T) {
	var mu sync.Mutex
	clock := time.Unix(1_800_000_000, 0)
	w, dir := newWorld(t, func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		clock = clock.Add(300 * time.Millisecond)
		return clock
	})
	res, log := w.Run("site", &work.Site{})
	if res.State != jobs.OK || !strings.Contains(log.String(), "pages so far") {
		t.Errorf("%+v\n%s", res, log)
	}
	for i := range 40 {
		w.Write(fmt.Sprintf("f%d.txt", i), strings.Repeat(fmt.Sprintln("line", i), 400))
	}
	w.Commit("more")
	if res, log := w.Run("site", &work.Site{MaxBytes: 64 << 10}); res.State != jobs.OK || !strings.Contains(log.String(), "too large") {
		t.Errorf("%+v\n%s", res, log)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(jobs.ErrTimeout)
	if res := w.Hall().Run(ctx, w.Job("site", &work.Site{}), &worktest.Log{}); res.State != jobs.TimedOut {
		t.Errorf("%+v", res)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "current", "index.html")); err != nil || len(b) == 0 {
		t.Errorf("what was published is gone: %v", err)
	}
	abs := &work.Site{Publish: work.Publish{To: filepath.Join(w.Root, "elsewhere")}}
	if res, _ := w.Run("site", abs, func(j *jobs.Job) { j.Class = jobs.Trusted }); res.State != jobs.Failed || !res.Final {
		t.Errorf("%+v", res)
	}
	if res, log := w.Run("site", abs); res.State != jobs.OK {
		t.Errorf("%+v\n%s", res, log)
	}
	if res, _ := w.Run("site", &work.Site{}, func(j *jobs.Job) { j.Repo = grasp.Addr{Owner: "x", ID: ".."} }); res.State == jobs.OK {
		t.Errorf("%+v", res)
	}
}
