package work_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
)

type nolog struct{}

func (nolog) Stream(string) io.Writer { return io.Discard }
func (nolog) Close() (int64, error)   { return 0, nil }

type doing func(ctx context.Context, t *work.Task) jobs.Result

func (d doing) Do(ctx context.Context, t *work.Task) jobs.Result { return d(ctx, t) }

type reaping struct {
	doing
	reap func(j jobs.Job) error
}

func (r reaping) Reap(_ context.Context, j jobs.Job) error { return r.reap(j) }

// A part of a job is done by another kind, in a folder of its own and where the job says; what died while
// it did is ended by that kind too.
func TestParts(t *testing.T) {
	dir := t.TempDir()
	var reaped []jobs.ID
	fail := errors.New("not yet")
	var dirs []string
	h, err := work.New(work.Config{
		Dir: dir, Git: func(context.Context, grasp.Addr) (string, func(), error) { return "/", func() {}, nil },
		Doers: map[string]work.Doer{
			"checkout": doing(func(ctx context.Context, t *work.Task) jobs.Result {
				for range 2 {
					if res := t.Part(ctx, "exec", &work.Exec{Run: []string{"true"}}, "/tree", []string{"A=1"}); res.Exit != 7 {
						return res
					}
				}
				return t.Part(ctx, "ssh", &work.SSH{}, "", nil)
			}),
			"exec": reaping{func(_ context.Context, t *work.Task) jobs.Result {
				if t.Tree != "/tree" || !slices.Equal(t.Env, []string{"A=1"}) || t.Job.Name != "deploy" || t.Part != nil {
					return jobs.Result{}
				}
				dirs = append(dirs, t.Dir)
				if err := os.WriteFile(filepath.Join(t.Dir, "x"), nil, 0o600); err != nil {
					return jobs.Result{}
				}
				return jobs.Result{State: jobs.OK, Exit: 7}
			}, func(j jobs.Job) error { reaped = append(reaped, j.ID); return fail }},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	spec, _ := json.Marshal(&work.Checkout{To: "/srv/x"})
	j := jobs.Job{ID: "01J1", Name: "deploy", Kind: "checkout", Attempt: 1, Spec: spec}
	if res := h.Run(t.Context(), j, nolog{}); res.State != jobs.StartupFailure {
		t.Errorf("a part that nobody does: %+v", res)
	}
	if len(dirs) != 2 || dirs[0] == dirs[1] {
		t.Errorf("the parts had the folders %v", dirs)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	left := filepath.Join(dir, "01J1.1.2")
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := h.Reap(t.Context(), j); !errors.Is(err, fail) || len(reaped) != 1 {
		t.Errorf("%v, %v", err, reaped)
	}
	fail = nil
	if err := h.Reap(t.Context(), j); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("the folder of a part is left")
	}
}
