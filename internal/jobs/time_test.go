package jobs_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobs/jobstest"
)

func TestCron(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse("2006-01-02 15:04", s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct{ cron, after, want string }{
		{"17 3 * * *", "2026-03-01 00:00", "2026-03-01 03:17"},
		{"17 3 * * *", "2026-03-01 03:17", "2026-03-02 03:17"},
		{"*/15 * * * *", "2026-03-01 00:15", "2026-03-01 00:30"},
		{"5/20 * * * *", "2026-03-01 00:26", "2026-03-01 00:45"},
		{"0 0 29 2 *", "2026-03-01 00:00", "2028-02-29 00:00"},
		{"0 0 29 2 *", "2096-03-01 00:00", "2104-02-29 00:00"},
		{"0 9 * * mon-fri", "2026-03-06 10:00", "2026-03-09 09:00"},
		{"0 9 * * 7", "2026-03-06 10:00", "2026-03-08 09:00"},
		{"0 9 13 * 5", "2026-03-01 00:00", "2026-03-06 09:00"}, // either day suffices
		{"0 9 */13 * 5", "2026-03-01 10:00", "2026-03-27 09:00"},
		{"0 0 1 jan,JUL *", "2026-03-01 00:00", "2026-07-01 00:00"},
		{"59 23 31 12 *", "2026-12-31 23:59", "2027-12-31 23:59"},
	} {
		p, err := jobs.ParseCron(c.cron)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Next(at(c.after)); !got.Equal(at(c.want)) {
			t.Errorf("%s after %s: %v, want %s", c.cron, c.after, got, c.want)
		}
	}
	for _, s := range []string{"", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *",
		"5-1 * * * *", "a * * * *", "-1 * * * *", "1,,2 * * * *", "0 0 31 2 *", "0 0 30 feb *", "+1 * * * *", "*/100 * * * *", "1- * * * *"} {
		if _, err := jobs.ParseCron(s); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v, want invalid", s, err)
		}
	}
}

// Whatever was missed is caught up with once, never early, and always at the same moment.
func TestCronDue(t *testing.T) {
	for _, s := range []string{"* * * * *", "17 3 * * *", "0 0 1 * *", "*/7 */5 * * 1"} {
		c, err := jobs.ParseCron(s)
		if err != nil {
			t.Fatal(err)
		}
		jitter := jobs.Jitter(jobstest.Repo(1, "r"), "x")
		if jitter < 0 || jitter >= jobs.MaxJitter || jitter != jobs.Jitter(jobstest.Repo(1, "r"), "x") {
			t.Fatalf("jitter is %v", jitter)
		}
		last := jobstest.Start
		if _, at, ok := c.Due(last, last, jitter); ok || !at.After(last) {
			t.Errorf("%s: due at once", s)
		}
		for _, gap := range []time.Duration{time.Second, time.Minute, 37 * time.Hour, 100 * 24 * time.Hour, 5 * 365 * 24 * time.Hour} {
			now := last.Add(gap)
			due, at, ok := c.Due(last, now, jitter)
			if !ok {
				if !at.After(now) {
					t.Errorf("%s: nothing is due after %v, and the next was at %v", s, gap, at)
				}
				if _, _, ok := c.Due(last, at, jitter); !ok {
					t.Errorf("%s: not due when it said", s)
				}
				continue
			}
			if !due.After(last) || due.After(now) || at.After(now) {
				t.Errorf("%s: after %v due is %v", s, gap, due)
			}
			if again, next, ok := c.Due(due, now, jitter); ok {
				t.Errorf("%s: after %v a second one is due: %v, %v", s, gap, again, next)
			}
		}
	}
	if _, _, ok := (jobs.Cron{}).Due(jobstest.Start, jobstest.Start.Add(time.Hour), 0); ok {
		t.Error("no schedule is due")
	}
}

func FuzzCron(f *testing.F) {
	for _, s := range []string{"17 3 * * *", "*/5 1-3,7 * jan-mar sun", "0 0 29 2 *", "5/20 * 1 * 7"} {
		f.Add(s, int64(1_800_000_000))
	}
	f.Fuzz(func(t *testing.T, s string, at int64) {
		c, err := jobs.ParseCron(s)
		if err != nil {
			if !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.TooLarge) {
				t.Fatal(err)
			}
			return
		}
		if again, err := jobs.ParseCron(c.String()); err != nil || again != c {
			t.Fatalf("%q: %v", s, err)
		}
		now := time.Unix(at%4_000_000_000, 0)
		next := c.Next(now)
		if next.IsZero() || !next.After(now) || next.Second() != 0 {
			t.Fatalf("%q after %v: %v", s, now, next)
		}
		if mid := c.Next(now.Add(next.Sub(now) / 2)); !mid.Equal(next) {
			t.Fatalf("%q: between %v and %v there is %v", s, now, next, mid)
		}
	})
}

func TestIDs(t *testing.T) {
	now := jobstest.Start
	g := jobs.NewIDs(func() time.Time { return now }, rand.Reader)
	var last jobs.ID
	for i := range 10_000 {
		if i%100 == 0 {
			now = now.Add(time.Duration(i%300-100) * time.Millisecond) // also backwards
		}
		id := g.Next()
		if _, err := jobs.ParseID(string(id)); err != nil || id <= last {
			t.Fatalf("%s after %s: %v", id, last, err)
		}
		last = id
	}
	if d := last.Time().Sub(now); d < 0 || d > time.Hour {
		t.Errorf("%v", d)
	}
	// The last of a millisecond is followed by the first of the next.
	g = jobs.NewIDs(func() time.Time { return jobstest.Start }, bytes.NewReader(bytes.Repeat([]byte{0xff}, 10)))
	if a, b := g.Next(), g.Next(); a >= b || a.Time() != jobstest.Start {
		t.Errorf("%s, %s", a, b)
	}
	for _, s := range []string{"", "01", "01MCC5RM0060RK4CSM6MV3EE1", "81MCC5RM0060RK4CSM6MV3EE1Z", "01MCC5RM0060RK4CSM6MV3EE1I", "01mcc5rm0060rk4csm6mv3ee1z", "../../../etc/passwd/aaaaaa"} {
		if _, err := jobs.ParseID(s); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", s, err)
		}
	}
	var wg sync.WaitGroup
	ids := make([]jobs.ID, 100)
	many := jobs.NewIDs(func() time.Time { return jobstest.Start }, rand.Reader)
	for i := range ids {
		wg.Go(func() { ids[i] = many.Next() })
	}
	wg.Wait()
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 100 {
		t.Error("two ids are the same")
	}
}

// The input key depends on each of its parts, and on where they part.
func TestInputKey(t *testing.T) {
	d := jobs.HashOf("definition")
	seen := map[jobs.Hash]string{}
	for _, c := range []struct {
		repo grasp.Addr
		job  string
		ref  grasp.RefName
		oid  grasp.OID
		def  jobs.Hash
	}{
		{jobstest.Repo(1, "r"), "x", "refs/heads/a", jobstest.OID(1), d},
		{jobstest.Repo(2, "r"), "x", "refs/heads/a", jobstest.OID(1), d},
		{jobstest.Repo(1, "rx"), "", "refs/heads/a", jobstest.OID(1), d},
		{grasp.Addr{Owner: jobstest.Owner(1), ID: "r", Box: true}, "x", "refs/heads/a", jobstest.OID(1), d},
		{jobstest.Repo(1, "r"), "y", "refs/heads/a", jobstest.OID(1), d},
		{jobstest.Repo(1, "r"), "x", "refs/heads/b", jobstest.OID(1), d},
		{jobstest.Repo(1, "r"), "x", "refs/heads/a", jobstest.OID(2), d},
		{jobstest.Repo(1, "r"), "x", "refs/heads/a", jobstest.OID(1), jobs.HashOf("other")},
	} {
		key := jobs.InputKey(c.repo, c.job, c.ref, c.oid, c.def)
		if other, ok := seen[key]; ok {
			t.Errorf("%+v and %s", c, other)
		}
		seen[key] = fmt.Sprintf("%+v", c)
	}
}

func TestRetry(t *testing.T) {
	exit := func(n int) jobs.Result { return jobs.Result{State: jobs.Failed, Exit: n} }
	infra := jobs.Result{State: jobs.StartupFailure, Fault: jobs.FaultInfra}
	for _, c := range []struct {
		name  string
		r     jobs.Retry
		n     int
		res   jobs.Result
		rnd   float64
		want  time.Duration
		again bool
	}{
		{"never", jobs.Retry{}, 1, exit(1), 0, 0, false},
		{"first", jobs.Retry{Max: 3}, 1, exit(1), 1, time.Second, true},
		{"half of it", jobs.Retry{Max: 3}, 1, exit(1), 0, time.Second / 2, true},
		{"third", jobs.Retry{Max: 3}, 3, exit(1), 1, 4 * time.Second, true},
		{"enough", jobs.Retry{Max: 3}, 4, exit(1), 1, 0, false},
		{"cap", jobs.Retry{Max: 100, Cap: time.Minute}, 90, exit(1), 1, time.Minute, true},
		{"no overflow", jobs.Retry{Max: 100, Base: jobs.MaxDelay, Cap: jobs.MaxDelay}, 100, exit(1), 1, jobs.MaxDelay, true},
		{"not this fault", jobs.Retry{Max: 3, On: []string{"infra"}}, 1, exit(1), 1, 0, false},
		{"this fault", jobs.Retry{Max: 3, On: []string{"infra"}}, 1, infra, 1, time.Second, true},
		{"this code", jobs.Retry{Max: 3, On: []string{"exit:75"}}, 1, exit(75), 1, time.Second, true},
		{"another code", jobs.Retry{Max: 3, On: []string{"exit:75"}}, 1, exit(1), 1, 0, false},
		{"any code", jobs.Retry{Max: 3, On: []string{"exit"}}, 1, exit(1), 1, time.Second, true},
		{"asked to wait", jobs.Retry{Max: 3}, 1, jobs.Result{State: jobs.Failed, After: time.Hour}, 1, time.Hour, true},
		{"asked for too much", jobs.Retry{Max: 3}, 1, jobs.Result{State: jobs.Failed, After: 1 << 60}, 1, jobs.MaxDelay, true},
		{"final", jobs.Retry{Max: 3}, 1, jobs.Result{State: jobs.Failed, Final: true}, 1, 0, false},
		{"ok", jobs.Retry{Max: 3}, 1, jobs.Result{State: jobs.OK}, 1, 0, false},
		{"webhook, first", jobs.HabitsOf("webhook").Retry, 1, exit(500), 1, 5 * time.Second, true},
		{"webhook, last", jobs.HabitsOf("webhook").Retry, 9, exit(500), 1, 24 * time.Hour, true},
		{"webhook, given up", jobs.HabitsOf("webhook").Retry, 10, exit(500), 1, 0, false},
		{"exec", jobs.HabitsOf("exec").Retry, 1, exit(1), 1, 0, false},
		{"checkout", jobs.HabitsOf("checkout").Retry, 3, infra, 1, 4 * time.Second, true},
	} {
		if err := c.r.Check(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if d, again := c.r.Delay(c.n, c.res, c.rnd); d != c.want || again != c.again {
			t.Errorf("%s: %v, %v, want %v, %v", c.name, d, again, c.want, c.again)
		}
	}
}

func TestStates(t *testing.T) {
	want := map[jobs.State]string{
		jobs.OK: "success", jobs.Failed: "failure", jobs.TimedOut: "timed_out", jobs.Cancelled: "cancelled",
		jobs.Superseded: "cancelled", jobs.Skipped: "skipped", jobs.StartupFailure: "startup_failure",
	}
	for _, s := range jobs.States {
		if s.Conclusion() != want[s] || s.Ended() != (want[s] != "") {
			t.Errorf("%s: %q, %v", s, s.Conclusion(), s.Ended())
		}
		if got, err := jobs.ParseState(string(s)); got != s || err != nil {
			t.Error(err)
		}
	}
}
