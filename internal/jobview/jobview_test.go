package jobview_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/joblog"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobs/jobstest"
	"github.com/gitroost/gitroost/internal/jobview"
)

// A house is a board on a queue in memory.
type house struct {
	*jobview.Board
	queue *jobstest.Memory
	logs  *joblog.Logs
	clock *jobstest.Clock
	ids   *jobs.IDs
}

var repo = jobstest.Repo(1, "shop")

func open(t *testing.T) *house {
	t.Helper()
	h := &house{queue: jobstest.NewMemory(jobs.Bounds{PerOwner: 10_000}), clock: jobstest.NewClock()}
	h.ids = jobs.NewIDs(h.clock.Now, bytes.NewReader(bytes.Repeat([]byte{7}, 1<<16)))
	var err error
	if h.logs, err = joblog.Open(joblog.Config{Dir: t.TempDir(), Now: h.clock.Now}); err != nil {
		t.Fatal(err)
	}
	book, err := jobs.NewBook([]jobs.Definition{
		{Name: "test", Kind: "exec", On: jobs.On{Push: &jobs.When{Refs: []string{"refs/heads/*"}}}},
		{Name: "deploy", Kind: "exec", On: jobs.On{Push: &jobs.When{Refs: []string{"refs/heads/prod"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Board, err = jobview.New(jobview.Config{
		Queue: h.queue, Logs: h.logs, Clock: h.clock, URL: "https://git.example.com", TokenKey: []byte("key"),
		Private: func(_ context.Context, j jobs.Job) bool { return j.Name == "secret" },
		Again: func(ctx context.Context, id, as jobs.ID, by grasp.PubKey) (jobs.Job, error) {
			j, err := h.queue.Job(ctx, id)
			if err != nil {
				return j, err
			}
			if !j.State.Ended() {
				return j, fault.E(fault.Stale, "test", "it has not ended")
			}
			if as == "" {
				as = h.ids.Next()
			}
			j.ID, j.Actor, j.Force, j.State = as, by, true, ""
			if err := h.queue.Enqueue(ctx, []jobs.Job{j.Fresh()}); err != nil {
				return j, err
			}
			return h.queue.Job(ctx, as)
		},
		Ask: func(ctx context.Context, a grasp.Addr, o jobview.Order, by grasp.PubKey, operator bool) ([]jobs.Job, error) {
			switch {
			case o.Names[0] != "test" && !operator:
				return nil, fault.E(fault.Refused, "test", "only the operator may")
			case o.Ref != "" && o.Ref != "refs/tags/v1":
				return nil, fault.E(fault.NotFound, "test", "no such ref")
			}
			ev := jobs.Event{Trigger: jobs.OnManual, Repo: a, Names: o.Names, Actor: by, Now: h.clock.Now(), Changes: []grasp.RefChange{{Ref: o.Ref, New: jobstest.OID(1)}}}
			list, _ := book.Plan(ev, h.ids)
			return list, h.queue.Enqueue(ctx, list)
		},
		Explain: func(_ context.Context, a grasp.Addr, ref grasp.RefName, trigger jobs.Trigger) ([]jobs.Match, error) {
			return book.Explain(jobs.Event{Trigger: jobs.OnPush, Repo: a, Changes: []grasp.RefChange{{Ref: "refs/heads/main", New: jobstest.OID(1)}}}), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) add(t *testing.T, name string, more ...func(*jobs.Job)) jobs.Job {
	t.Helper()
	j := jobstest.Make(h.ids.Next(), repo, name, h.clock.Now(), more...)
	if err := h.queue.Enqueue(t.Context(), []jobs.Job{j}); err != nil {
		t.Fatal(err)
	}
	return j
}

func (h *house) claim(t *testing.T) jobs.Job {
	t.Helper()
	now := h.clock.Now()
	j, ok, err := h.queue.Claim(t.Context(), jobs.Claim{By: "me", Now: now, Until: now.Add(time.Minute), PerOwner: 100, PerRepo: 100})
	if err != nil || !ok {
		t.Fatalf("nothing to claim: %v", err)
	}
	return j
}

func (h *house) finish(t *testing.T, id jobs.ID, e jobs.Ending) {
	t.Helper()
	e.At = h.clock.Now()
	if err := h.queue.Finish(t.Context(), "me", id, e); err != nil {
		t.Fatal(err)
	}
	h.Note()
}

// S0-18: what is told of a job fits the schema that is told of it, in every state.
func TestSchema(t *testing.T) {
	h := open(t)
	var schema map[string]any
	if err := json.Unmarshal(jobview.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	first := h.add(t, "first")
	h.add(t, "second", jobstest.After(jobs.IfFailed, first.ID))
	check := func(when string, ids ...jobs.ID) {
		t.Helper()
		for _, id := range ids {
			v, err := h.Show(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := json.Marshal(v)
			var value any
			_ = json.Unmarshal(b, &value)
			if err := fits(value, schema, "job"); err != nil {
				t.Errorf("%s: %v in %s", when, err, b)
			}
		}
	}
	list, _ := h.List(t.Context(), jobs.Filter{}, nil)
	ids := []jobs.ID{list.Jobs[0].ID, list.Jobs[1].ID}
	check("queued", ids...)
	j := h.claim(t)
	check("running", ids...)
	g, err := h.logs.Begin(string(j.ID), j.Attempt)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := g.Close()
	h.clock.Advance(83 * time.Second)
	h.finish(t, j.ID, jobs.Ending{State: jobs.Failed, Exit: 2, Signal: "KILL", Reason: "it failed", MaxRSS: 5, CPU: time.Second, Log: jobs.LogKept, LogBytes: n})
	check("ended", ids...)
	v, _ := h.Show(t.Context(), j.ID)
	if v.Took != 83 || *v.Exit != 2 || v.Conclusion != "failure" || jobs.Span(v.Running(h.clock.Now())) != "1m 23s" || !slices.Equal(v.Log.Attempts, []int{1}) {
		t.Errorf("%+v", v)
	}
	if err := fits(map[string]any{"id": 1.0}, schema, "job"); err == nil {
		t.Error("the check takes everything")
	}
	if _, err := h.Show(t.Context(), "01J00000000000000000000009"); !fault.Is(err, fault.NotFound) {
		t.Errorf("what is not there: %v", err)
	}
}

// fits reports where a value does not fit the part of JSON schema that is used here.
func fits(v any, schema map[string]any, where string) error {
	switch schema["type"] {
	case "object":
		o, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is no object", where)
		}
		properties := schema["properties"].(map[string]any)
		for _, name := range schema["required"].([]any) {
			if _, ok := o[name.(string)]; !ok {
				return fmt.Errorf("%s has no %s", where, name)
			}
		}
		for name, x := range o {
			p, ok := properties[name].(map[string]any)
			if !ok {
				return fmt.Errorf("%s.%s is not documented", where, name)
			}
			if p["description"] == "" {
				return fmt.Errorf("%s.%s is not described", where, name)
			}
			if err := fits(x, p, where+"."+name); err != nil {
				return err
			}
		}
	case "array":
		list, ok := v.([]any)
		if !ok {
			return fmt.Errorf("%s is no list", where)
		}
		for _, x := range list {
			if err := fits(x, schema["items"].(map[string]any), where+"[]"); err != nil {
				return err
			}
		}
	case "string":
		s, ok := v.(string)
		if !ok {
			return fmt.Errorf("%s is no text", where)
		}
		if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, any(s)) {
			return fmt.Errorf("%s is %q, which is none of %v", where, s, enum)
		}
		if schema["format"] == "date-time" {
			if _, err := time.Parse(time.RFC3339Nano, s); err != nil {
				return err
			}
		}
	case "integer", "number":
		if _, ok := v.(float64); !ok {
			return fmt.Errorf("%s is no number", where)
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			return fmt.Errorf("%s is no truth value", where)
		}
	default:
		return fmt.Errorf("%s has no type", where)
	}
	return nil
}

// S0-20: a thousand jobs are found by filters, page after page; what is private is only for those who may see it.
func TestList(t *testing.T) {
	h := open(t)
	for i := range 1000 {
		name := []string{"test", "secret", "deploy"}[i%3]
		h.add(t, name)
		h.clock.Advance(time.Second)
	}
	nobody := func(jobview.View) bool { return false }
	var seen []jobs.ID
	f := jobs.Filter{Limit: 90}
	for {
		p, err := h.List(t.Context(), f, nobody)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range p.Jobs {
			if v.Name == "secret" {
				t.Fatal("a private job is told to everybody")
			}
			seen = append(seen, v.ID)
		}
		if f.Before = p.Next; p.Next == "" {
			break
		}
	}
	slices.Sort(seen)
	if len(slices.Compact(seen)) != 667 {
		t.Errorf("%d jobs are seen", len(seen))
	}
	p, err := h.List(t.Context(), jobs.Filter{Name: "secret", Limit: 1000}, func(v jobview.View) bool { return v.Private })
	if err != nil || len(p.Jobs) != 333 {
		t.Errorf("%d private ones: %v", len(p.Jobs), err)
	}
	p, _ = h.List(t.Context(), jobs.Filter{Since: h.clock.Now().Add(-10 * time.Second), States: []jobs.State{jobs.Queued}}, nobody)
	if len(p.Jobs) != 7 {
		t.Errorf("%d of the last ten seconds", len(p.Jobs))
	}
}

// S0-21: who follows a job waits for it to begin, reads all attempts, and is released when it has ended.
func TestTail(t *testing.T) {
	h := open(t)
	j := h.add(t, "test", func(j *jobs.Job) { j.Retry = jobs.Retry{Max: 1} })
	tail, err := h.Follow(t.Context(), j.ID, 0, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	type batch struct {
		attempt int
		text    string
		err     error
	}
	out := make(chan batch)
	go func() {
		defer tail.Close()
		for {
			lines, err := tail.Next(t.Context())
			b := batch{attempt: tail.Attempt(), err: err}
			for _, l := range lines {
				b.text += string(l.Text) + "\n"
			}
			out <- b
			if err != nil {
				return
			}
		}
	}()
	for n := 1; n <= 2; n++ {
		j = h.claim(t)
		g, err := h.logs.Begin(string(j.ID), j.Attempt)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(g.Stream("stdout"), "attempt %d\n", n)
		if b := <-out; b.err != nil || b.attempt != n || b.text != fmt.Sprintf("attempt %d\n", n) {
			t.Errorf("%d: %+v", n, b)
		}
		g.Close()
		e := jobs.Ending{State: jobs.Queued, RunAfter: h.clock.Now()}
		if n == 2 {
			e = jobs.Ending{State: jobs.OK}
		}
		h.finish(t, j.ID, e)
	}
	if b := <-out; b.err != io.EOF {
		t.Errorf("at the end: %+v", b)
	}
	// What the queue ends by itself is noticed after a while, and what is cancelled at once.
	for _, how := range []string{"superseded", "cancelled", "stopping", "left"} {
		j := h.add(t, "test")
		tail, err := h.Follow(t.Context(), j.ID, 0, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { _, err := tail.Next(ctx); done <- err }()
		want := func(err error) bool { return err == io.EOF }
		switch how {
		case "superseded":
			if _, err := h.queue.Cancel(t.Context(), j.ID, "", h.clock.Now()); err != nil {
				t.Fatal(err)
			}
			for ended := false; !ended; {
				h.clock.Advance(10 * time.Second)
				select {
				case err := <-done:
					ended = true
					go func() { done <- err }()
				default:
				}
			}
		case "cancelled":
			if v, err := h.Cancel(t.Context(), j.ID, jobstest.Owner(5)); err != nil || v.State != jobs.Cancelled || !strings.HasPrefix(v.Reason, "cancelled by npub1") {
				t.Fatalf("%+v, %v", v, err)
			}
		case "stopping":
			h.Stop()
			want = func(err error) bool { return fault.Is(err, fault.Closing) }
		case "left":
			cancel()
			want = func(err error) bool { return err == context.Canceled || fault.Is(err, fault.Closing) }
		}
		if err := <-done; !want(err) {
			t.Errorf("%s: %v", how, err)
		}
		cancel()
		tail.Close()
	}
}

// A token runs its job again once, within a day, and no other.
func TestToken(t *testing.T) {
	h := open(t)
	end := func() jobs.Job {
		j := h.add(t, "test")
		h.claim(t)
		h.finish(t, j.ID, jobs.Ending{State: jobs.Failed})
		return j
	}
	j, other := end(), end()
	token := h.Token(j.ID)
	for _, wrong := range []struct {
		id    jobs.ID
		token string
	}{{other.ID, token}, {j.ID, ""}, {j.ID, token[1:]}, {j.ID, "B" + token[1:]}, {j.ID, h.Token(other.ID)}} {
		if _, err := h.Redeem(t.Context(), wrong.id, wrong.token); !fault.Is(err, fault.Refused) {
			t.Errorf("%v: %v", wrong, err)
		}
	}
	v, err := h.Redeem(t.Context(), j.ID, token)
	if err != nil || v.State != jobs.Queued || v.Name != "test" {
		t.Fatalf("%+v, %v", v, err)
	}
	if _, err := h.Redeem(t.Context(), j.ID, token); !fault.Is(err, fault.Duplicate) {
		t.Errorf("used twice: %v", err)
	}
	late := h.Token(j.ID)
	h.clock.Advance(jobview.TokenLife + time.Second)
	if _, err := h.Redeem(t.Context(), j.ID, late); !fault.Is(err, fault.Gone) {
		t.Errorf("too late: %v", err)
	}
}

// S0-38: jobs are asked for by name, and it is said why there are none.
func TestRunAndWhy(t *testing.T) {
	h := open(t)
	name := jobs.RepoName(repo)
	list, err := h.Run(t.Context(), jobview.Order{Repo: name, Names: []string{"test"}}, jobstest.Owner(1), false)
	if err != nil || len(list) != 1 || list[0].Trigger != jobs.OnManual || list[0].Actor != jobstest.Owner(1).Npub() {
		t.Fatalf("%+v, %v", list, err)
	}
	if list, err = h.Run(t.Context(), jobview.Order{Repo: name + ".git", Names: []string{"deploy"}, Ref: "v1"}, "", true); err != nil || list[0].Ref != "refs/tags/v1" {
		t.Errorf("%+v, %v", list, err)
	}
	for _, c := range []struct {
		order jobview.Order
		code  fault.Code
	}{
		{jobview.Order{Repo: name, Names: []string{"deploy"}}, fault.Refused},
		{jobview.Order{Repo: "shop", Names: []string{"test"}}, fault.Invalid},
		{jobview.Order{Repo: name, Names: []string{"test"}, Ref: "nope"}, fault.NotFound},
	} {
		if _, err := h.Run(t.Context(), c.order, jobstest.Owner(1), false); !fault.Is(err, c.code) {
			t.Errorf("%+v: %v", c.order, err)
		}
	}
	why, err := h.Why(t.Context(), jobview.Order{Repo: name})
	if err != nil || len(why) != 2 || !why[0].Runs || why[1].Runs || why[1].Condition != "refs" || !strings.Contains(why[1].Text, "refs/heads/prod") {
		t.Errorf("%+v, %v", why, err)
	}
	if why, err = h.Why(t.Context(), jobview.Order{Repo: name, Names: []string{"deploy"}}); err != nil || len(why) != 1 || why[0].Job != "deploy" {
		t.Errorf("%+v, %v", why, err)
	}
}
