package steward_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/steward"
	st "github.com/gitroost/gitroost/internal/steward/stewardtest"
)

// asking has a desk ask for one job for each ref of everything that happens.
func asking(c *steward.Config) {
	ids := jobs.NewIDs(time.Now, rand.Reader)
	c.Jobs = func(_ context.Context, ev jobs.Event) (list []jobs.Job, remarks []string) {
		changes := ev.Changes
		if len(changes) == 0 {
			changes = []grasp.RefChange{{}}
		}
		for _, ch := range changes {
			list = append(list, jobs.Job{
				ID: ids.Next(), Run: ids.Next(), Repo: ev.Repo, Name: "x", Kind: "x", Policy: jobs.All, Force: true, Pool: jobs.TellPool,
				Trigger: ev.Trigger, Ref: ch.Ref, Old: ch.Old, New: ch.New, Push: ev.Push, Cause: ev.Cause, Actor: ev.Actor, Created: ev.Now,
			})
		}
		return list, []string{fmt.Sprintf("%d of %s", len(changes), ev.Trigger)}
	}
}

func shortOID(o grasp.OID) string {
	if o.IsZero() {
		return ""
	}
	return o.Short()
}

// asked returns the jobs that there are, as text, sorted. Which push or event was behind them is left out
// where how is false: a process that died does not know it any more.
func (w *world) asked(how bool) string {
	w.t.Helper()
	list, err := w.mem.Jobs().List(context.Background(), jobs.Filter{Limit: jobs.MaxList})
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, j := range list {
		line := fmt.Sprintf("%s %s %s→%s", j.Repo, j.Ref, shortOID(j.Old), shortOID(j.New))
		if how || j.Trigger == jobs.OnPull {
			line += " " + string(j.Trigger)
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// D6, jobs.md 3.4: what happened is told in the words of jobs, whichever way refs came to move.
func TestHappenings(t *testing.T) {
	line := func(repo grasp.Addr, ref string, was, is grasp.OID, trigger jobs.Trigger) string {
		return fmt.Sprintf("%s %s %s→%s %s", repo, ref, shortOID(was), shortOID(is), trigger)
	}
	w := newWorld(t, asking)
	w.keeps(st.Announce(bobsDemo, 1, alice)) // a sister repository
	w.live(demo, bob)
	first := w.asked(true)
	if !strings.Contains(first, string(jobs.OnPush)) || !strings.Contains(first, bobsDemo.String()) {
		t.Fatalf("the first push: \n%s", first)
	}
	before := len(strings.Split(first, "\n"))
	more := func(want ...string) {
		t.Helper()
		got := strings.Split(w.asked(true), "\n")
		if len(got) != before+len(want) {
			t.Fatalf("%d new jobs, want %d:\n%s", len(got)-before, len(want), strings.Join(got, "\n"))
		}
		for _, s := range want {
			if !slices.Contains(got, s) {
				t.Errorf("no %q among\n%s", s, strings.Join(got, "\n"))
			}
		}
		before = len(got)
	}
	main := w.ref(demo, "refs/heads/main")

	// a state event alone: in both repositories, by nobody's push
	w.serves(st.State(alice, "demo", 5, "main", string(main), "dev", string(c1.ID), "HEAD", "ref: refs/heads/main"))
	more(line(demo, "refs/heads/dev", "", c1.ID, jobs.OnState), line(bobsDemo, "refs/heads/dev", "", c1.ID, jobs.OnState))

	// HEAD alone
	w.serves(st.State(alice, "demo", 6, "main", string(main), "dev", string(c1.ID), "HEAD", "ref: refs/heads/dev"))
	more(line(demo, "", "", "", jobs.OnState), line(bobsDemo, "", "", "", jobs.OnState))

	// the same because of a peer
	ev := st.State(alice, "demo", 7, "main", string(main), "HEAD", "ref: refs/heads/main")
	if _, err := w.s.Receive(steward.Because(context.Background(), jobs.OnSync), ev, st.Raw(ev), ""); err != nil {
		t.Fatal(err)
	}
	more(line(demo, "refs/heads/dev", c1.ID, "", jobs.OnSync), line(bobsDemo, "refs/heads/dev", c1.ID, "", jobs.OnSync),
		line(demo, "", "", "", jobs.OnSync), line(bobsDemo, "", "", "", jobs.OnSync))

	// a pull request: nothing when its commit comes, and one thing when both are here
	pr := st.Pull(carol, 3, p1.ID, demo)
	w.pushes(demo, w.set(demo, pullRef(pr), p1))
	more()
	w.serves(pr)
	more(line(demo, st.FullName(pullRef(pr)), "", p1.ID, jobs.OnPull), line(bobsDemo, st.FullName(pullRef(pr)), "", p1.ID, jobs.OnPull))
	w.sweep(0)
	more()
}

// Jobs are born in the Commit that records what they follow from: whatever fails or dies, and when, each
// move has its jobs once (jobs.md 3.1; §2: a task that is made and never delivered).
func TestBreakJobs(t *testing.T) {
	for _, s := range stories() {
		switch s.name {
		case "announcement, state and push", "state after data", "push to a sister as well", "announcement where the data is",
			"partial pushes", "pull request, then its push", "push, then its pull request", "mixed push", "event, then its box":
		default:
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			calm := newWorld(t, asking)
			s.setup(calm)
			calm.brk.Count()
			for _, a := range s.acts {
				if err := calm.do(a); err != nil {
					t.Fatal(err)
				}
			}
			steps := calm.brk.Steps()
			calm.brk.Mend()
			calm.sweep(0)
			end := calm.asked(false)
			if end == "" {
				t.Fatal("nothing was asked for")
			}
			for _, step := range steps {
				for _, how := range breakages {
					w := newWorld(t, asking)
					s.setup(w)
					w.brk.Break(step, how.after, how.deadly)
					errs := make([]error, len(s.acts))
					for i, a := range s.acts {
						if errs[i] = w.do(a); errs[i] != nil {
							for j := i + 1; j < len(errs); j++ {
								errs[j] = errs[i]
							}
							break
						}
					}
					w.brk.Mend()
					w.recover(how.restart)
					for i, a := range s.acts {
						if errs[i] != nil {
							_ = w.do(a) // whoever got no answer does it again
						}
					}
					w.sweep(0)
					w.settleTwice("demo")
					if got := w.asked(false); got != end {
						t.Errorf("%s %s: jobs are\n%s\nwant\n%s", step, how.name, got, end)
					}
				}
			}
		})
	}
}
