package mirror_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/dial"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/mirror"
)

// pusher is git as the test has it.
type pusher func(ctx context.Context, p work.Pushing) (work.Pushed, error)

func (f pusher) Push(ctx context.Context, _ grasp.Addr, p work.Pushing) (work.Pushed, error) {
	return f(ctx, p)
}

type memory struct {
	mu sync.Mutex
	strings.Builder
}

func (m *memory) Stream(string) io.Writer { return m }
func (m *memory) Close() (int64, error)   { return 0, nil }
func (m *memory) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.Builder.Write(b)
}

func task(t *testing.T, spec *work.MirrorPush) *work.Task {
	return &work.Task{Spec: spec, Log: &memory{}, Dir: t.TempDir(), Job: jobs.Job{Class: jobs.Operator}, Secret: func(name string) ([]byte, error) {
		if name == "none" {
			return nil, fault.E(fault.Refused, "test", "not for this job")
		}
		return []byte("secret " + name + "\n"), nil
	}}
}

func doer(t *testing.T, git pusher, change func(*mirror.Config)) *mirror.Doer {
	t.Helper()
	cfg := mirror.Config{Git: git, Path: os.Getenv("PATH"), Files: true}
	if change != nil {
		change(&cfg)
	}
	d, err := mirror.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// What becomes of a push becomes of its job. S3-42
func TestResults(t *testing.T) {
	ref := func(name string, diverged bool) work.PushedRef {
		return work.PushedRef{Ref: grasp.RefName("refs/heads/" + name), Text: "[rejected] (why)", Diverged: diverged}
	}
	for _, c := range []struct {
		what   string
		pushed work.Pushed
		err    error
		want   jobs.Result
	}{
		{"nothing to do", work.Pushed{}, nil, jobs.Result{State: jobs.OK}},
		{"done", work.Pushed{Done: []work.PushedRef{{Ref: "refs/heads/a", New: "1"}, {Ref: "refs/heads/b"}}}, nil, jobs.Result{State: jobs.OK}},
		{"diverged", work.Pushed{Refused: []work.PushedRef{ref("a", true), ref("b", false)}}, nil,
			jobs.Result{State: jobs.Failed, Final: true, Fault: jobs.FaultExit, Exit: 1, Reason: "what is there does not lead to what is here: refs/heads/a; force: true would overwrite it"}},
		{"refused", work.Pushed{Refused: []work.PushedRef{ref("a", false)}}, nil,
			jobs.Result{State: jobs.Failed, Fault: jobs.FaultExit, Exit: 1, Reason: "refused there: refs/heads/a: [rejected] (why)"}},
		{"away", work.Pushed{}, fault.E(fault.Busy, "git", "could not connect"), jobs.Result{State: jobs.Failed, Fault: jobs.FaultInfra, Reason: "could not connect"}},
		{"nothing is pruned", work.Pushed{}, fault.E(fault.Refused, "git", "there is nothing here"), jobs.Result{State: jobs.Failed, Fault: jobs.FaultInfra, Final: true, Reason: "there is nothing here"}},
		{"too slow", work.Pushed{}, fault.Wrap("git", context.DeadlineExceeded), jobs.Result{State: jobs.TimedOut, Fault: jobs.FaultTimeout, Reason: "it took too long"}},
	} {
		d := doer(t, func(context.Context, work.Pushing) (work.Pushed, error) { return c.pushed, c.err }, nil)
		if got := d.Do(t.Context(), task(t, &work.MirrorPush{URL: "file:///srv/there.git"})); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.what, got, c.want)
		}
	}
}

// A remote that says nothing is left after the timeout. S3-42
func TestStalled(t *testing.T) {
	d := doer(t, func(ctx context.Context, _ work.Pushing) (work.Pushed, error) {
		<-ctx.Done()
		return work.Pushed{}, fault.Wrap("git", context.Cause(ctx))
	}, nil)
	res := d.Do(t.Context(), task(t, &work.MirrorPush{URL: "file:///srv/there.git", Timeout: work.Duration(30 * time.Millisecond)}))
	if res.State != jobs.TimedOut {
		t.Errorf("%+v", res)
	}
}

// To one remote one job at a time pushes, to several as many as there are.
func TestOnePerRemote(t *testing.T) {
	var mu sync.Mutex
	running, most := map[string]int{}, map[string]int{}
	both, release := make(chan struct{}, 10), make(chan struct{})
	d := doer(t, func(_ context.Context, p work.Pushing) (work.Pushed, error) {
		mu.Lock()
		running[p.URL]++
		most[p.URL] = max(most[p.URL], running[p.URL])
		mu.Unlock()
		both <- struct{}{}
		<-release
		mu.Lock()
		running[p.URL]--
		mu.Unlock()
		return work.Pushed{}, nil
	}, nil)
	var wg sync.WaitGroup
	for _, url := range []string{"file:///a.git", "file:///a.git", "file:///a.git", "file:///b.git"} {
		task := task(t, &work.MirrorPush{URL: url})
		wg.Go(func() {
			if res := d.Do(t.Context(), task); res.State != jobs.OK {
				t.Errorf("%+v", res)
			}
		})
	}
	<-both
	<-both // one of each
	close(release)
	wg.Wait()
	if most["file:///a.git"] != 1 || most["file:///b.git"] != 1 {
		t.Errorf("%v at a time", most)
	}
}

// Secrets are in files of the job's own folder, and nowhere else.
func TestSecrets(t *testing.T) {
	var got work.Pushing
	var files map[string]string
	dir := ""
	d := doer(t, func(_ context.Context, p work.Pushing) (work.Pushed, error) {
		got, files = p, map[string]string{}
		list, err := os.ReadDir(dir)
		for _, f := range list {
			data, _ := os.ReadFile(filepath.Join(dir, f.Name()))
			info, _ := f.Info()
			if info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s can be read by others: %v", f.Name(), info.Mode())
			}
			files[f.Name()] = string(data)
		}
		return work.Pushed{}, err
	}, func(c *mirror.Config) {
		c.Way = dial.New(dial.Config{Now: time.Now})
	})
	do := func(spec *work.MirrorPush) jobs.Result {
		t.Helper()
		task := task(t, spec)
		dir = task.Dir
		return d.Do(t.Context(), task)
	}
	if res := do(&work.MirrorPush{URL: "git@git.example.org:shop.git", Key: work.SecretRef{Secret: "key"}, KnownHosts: "git.example.org ssh-ed25519 AAAA", Prune: true}); res.State != jobs.OK {
		if strings.Contains(res.Reason, "openssh") {
			t.Skip(res.Reason)
		}
		t.Fatalf("%+v", res)
	}
	if files["key"] != "secret key\n" || files["known_hosts"] != "git.example.org ssh-ed25519 AAAA\n" || strings.Contains(got.SSH+got.URL, "secret key") ||
		!strings.Contains(got.SSH, "'StrictHostKeyChecking=yes'") || !strings.Contains(got.SSH, dir+"/key") || !got.Prune || got.Force || got.Scheme != "ssh" {
		t.Errorf("%+v\n%v", got, files)
	}
	if !got.Wants("refs/heads/main") {
		t.Error("without patterns not all is wanted")
	}
	do(&work.MirrorPush{URL: "git@git.example.org:shop.git", Key: work.SecretRef{Secret: "key"}, KnownHosts: "h k v", Refs: []string{"refs/heads/*", "!refs/heads/wip/*"}})
	if !got.Wants("refs/heads/main") || got.Wants("refs/heads/wip/x") || got.Wants("refs/tags/v1") {
		t.Error("the patterns do not hold")
	}
	got = work.Pushing{}
	for what, spec := range map[string]*work.MirrorPush{
		"a secret that is not for it": {URL: "git@git.example.org:shop.git", Key: work.SecretRef{Secret: "none"}, KnownHosts: "h k v"},
		"no known_hosts":              {URL: "git@git.example.org:shop.git", Key: work.SecretRef{Secret: "key"}, KnownHosts: "/nowhere/known_hosts"},
		"a private address":           {URL: "https://127.0.0.1/shop.git", Token: work.SecretRef{Secret: "token"}}, // S0-35
	} {
		if res := do(spec); res.State != jobs.StartupFailure || !res.Final || got.URL != "" {
			t.Errorf("%s: %+v, %+v", what, res, got)
		}
	}
}

// What a proposal brought pushes nothing anywhere.
func TestUntrusted(t *testing.T) {
	d := doer(t, func(context.Context, work.Pushing) (work.Pushed, error) {
		return work.Pushed{}, errors.New("it was pushed")
	}, nil)
	tk := task(t, &work.MirrorPush{URL: "file:///srv/there.git"})
	tk.Job.Class = jobs.Untrusted
	if res := d.Do(t.Context(), tk); res.State != jobs.StartupFailure || !strings.Contains(res.Reason, "operator") {
		t.Errorf("%+v", res)
	}
}
