package notify_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobs/jobstest"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/notify"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const owner = "3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d" // npub180cvv07tjdrrgpa0j7j7tmnyl2yr6yr7l8j4s3evf6u64th6gkwsyjh6w6

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func ids() *jobs.IDs { return jobs.NewIDs(func() time.Time { return start }, zeros{}) }

// a job called site of alice's shop on main, that took 83 seconds.
func ended(state jobs.State, more ...func(*jobs.Job)) jobs.Job {
	j := jobs.Job{
		ID: "01J9ZZZZZZZZZZZZZZZZZZZZZZ", Run: "01J9ZZZZZZZZZZZZZZZZZZZZZY", Repo: grasp.Addr{Owner: owner, ID: "shop"}, Name: "site", Kind: "site",
		Trigger: jobs.OnPush, Ref: "refs/heads/main", Old: grasp.OID(strings.Repeat("1", 40)), New: grasp.OID(strings.Repeat("2", 40)),
		State: state, Started: start, Ended: start.Add(83 * time.Second), Attempt: 1, Reason: "cannot read /srv/secret/path",
	}
	if state.Bad() {
		j.Exit = 2
	}
	for _, f := range more {
		f(&j)
	}
	return j
}

type record struct {
	mu  sync.Mutex
	got []*http.Request
	say []string
}

func (r *record) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got, r.say = append(r.got, req), append(r.say, string(body))
}

// memory is a log that can be read, and masks.
type memory struct {
	strings.Builder
	masked []string
}

func (m *memory) Stream(string) io.Writer { return &m.Builder }
func (m *memory) Close() (int64, error)   { return 0, nil }
func (m *memory) Mask(secret []byte)      { m.masked = append(m.masked, string(secret)) }

type setting struct {
	doer *notify.Doer
	log  memory
	task *work.Task
}

func set(t *testing.T, target work.Target, change func(*notify.Config)) *setting {
	t.Helper()
	cfg := notify.Config{
		Client: http.DefaultClient, Now: func() time.Time { return start },
		Target: func(name string) (work.Target, bool) { return target, name == "phone" },
		Secret: func(_ context.Context, ref work.SecretRef) ([]byte, error) {
			if ref.Secret != "ntfy" {
				return nil, errors.New("unknown")
			}
			return []byte("tk_secret\n"), nil
		},
	}
	if change != nil {
		change(&cfg)
	}
	d, err := notify.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := &setting{doer: d}
	s.task = &work.Task{Log: &s.log, URL: "https://git.example.org"}
	return s
}

// tell does the only job that follows from j's end, and returns how it ended.
func (s *setting) tell(t *testing.T, n work.Notice, j jobs.Job) jobs.Result {
	t.Helper()
	n.To = []string{"phone"}
	rules, err := notify.NewRules([]work.Notice{n})
	if err != nil {
		t.Fatal(err)
	}
	list := rules.Follow(j, "", ids())
	if len(list) != 1 {
		t.Fatalf("%d jobs follow", len(list))
	}
	if err := list[0].Check(); err != nil {
		t.Fatal(err)
	}
	spec, _ := work.NewSpec("notify")
	if err := json.Unmarshal(list[0].Spec, spec); err != nil {
		t.Fatal(err)
	}
	s.task.Job, s.task.Spec = list[0], spec
	return s.doer.Do(t.Context(), s.task)
}

// What ntfy is told, field by field: by JSON. S0-04 S0-05 S0-07 S0-12
func TestNtfyJSON(t *testing.T) {
	var r record
	server := httptest.NewServer(&r)
	defer server.Close()
	s := set(t, work.Target{Ntfy: server.URL + "/git-builds", Delivery: work.Delivery{Token: work.SecretRef{Secret: "ntfy"}}}, func(c *notify.Config) {
		c.RetryURL = func(id jobs.ID) string { return "https://git.example.org/jobs/" + string(id) + "/retry?t=once" }
	})
	if res := s.tell(t, work.Notice{}, ended(jobs.OK)); res.State != jobs.OK {
		t.Fatalf("%+v", res)
	}
	if res := s.tell(t, work.Notice{}, ended(jobs.Failed)); res.State != jobs.OK {
		t.Fatalf("%+v", res)
	}
	id := string(ended(jobs.OK).ID)
	view := map[string]any{"action": "view", "label": "Log", "url": "https://git.example.org/jobs/" + id + "/log"}
	for i, want := range []map[string]any{
		{
			"topic": "git-builds", "title": "✅ Git site Success: shop (1m 23s)", "message": "Job site for npub180cv…/shop finished: exit 0",
			"tags": []any{"white_check_mark", "git", "site"}, "priority": 3.0, "click": "https://git.example.org/jobs/" + id,
			"actions": []any{view}, "sequence_id": id,
		},
		{
			"topic": "git-builds", "title": "❌ Git site Failed: shop (after 1m 23s)",
			"message": "Job site for npub180cv…/shop on main failed: exit 2\nLog: https://git.example.org/jobs/" + id + "/log",
			"tags":    []any{"x", "git", "site", "warning"}, "priority": 4.0, "click": "https://git.example.org/jobs/" + id, "sequence_id": id,
			"actions": []any{view, map[string]any{"action": "http", "label": "Retry", "url": "https://git.example.org/jobs/" + id + "/retry?t=once", "method": "POST", "clear": true}},
		},
	} {
		var got map[string]any
		if err := json.Unmarshal([]byte(r.say[i]), &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
		if req := r.got[i]; req.Method != "POST" || req.URL.Path != "/" || req.Header.Get("Authorization") != "Bearer tk_secret" {
			t.Errorf("%s %s %v", req.Method, req.URL, req.Header)
		}
		if strings.Contains(r.say[i], "/srv/") || strings.Contains(r.say[i], "tk_") {
			t.Errorf("a path or a secret is told: %s", r.say[i])
		}
	}
	if strings.Join(s.log.masked[:1], "") != "tk_secret" || strings.Contains(s.log.String(), "tk_secret") {
		t.Errorf("masked %q, log %q", s.log.masked, s.log.String())
	}
}

// The same in headers. S0-04
func TestNtfyHeaders(t *testing.T) {
	var r record
	server := httptest.NewServer(&r)
	defer server.Close()
	s := set(t, work.Target{Ntfy: server.URL + "/git-builds", Publish: "headers"}, nil)
	if res := s.tell(t, work.Notice{}, ended(jobs.Failed)); res.State != jobs.OK {
		t.Fatalf("%+v", res)
	}
	id := string(ended(jobs.OK).ID)
	h := r.got[0].Header
	title, err := new(mime.WordDecoder).DecodeHeader(h.Get("X-Title"))
	if err != nil || !strings.HasPrefix(h.Get("X-Title"), "=?UTF-8?b?") || title != "❌ Git site Failed: shop (after 1m 23s)" {
		t.Errorf("%q is %q, %v", h.Get("X-Title"), title, err)
	}
	for name, want := range map[string]string{
		"X-Tags": "x,git,site,warning", "X-Priority": "4", "X-Click": "https://git.example.org/jobs/" + id, "X-Sequence-Id": id,
		"X-Actions": "view, Log, https://git.example.org/jobs/" + id + "/log",
	} {
		if h.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, h.Get(name), want)
		}
	}
	if r.got[0].URL.Path != "/git-builds" || !strings.HasPrefix(r.say[0], "Job site for npub180cv…/shop on main failed: exit 2") {
		t.Errorf("%s %s", r.got[0].URL, r.say[0])
	}
}

// No message is longer than ntfy shows, and none ends within a character.
func TestNtfyLimit(t *testing.T) {
	var r record
	server := httptest.NewServer(&r)
	defer server.Close()
	s := set(t, work.Target{Ntfy: server.URL + "/t"}, nil)
	for _, n := range []int{4090, 4093, 4094, 4095, 4096, 4097, 9000} {
		s.tell(t, work.Notice{Message: work.Message{Body: strings.Repeat("x", n%7) + strings.Repeat("é", n/2)}}, ended(jobs.OK))
		var got struct{ Message string }
		if err := json.Unmarshal([]byte(r.say[len(r.say)-1]), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Message) > 4096 || strings.Contains(got.Message, "\uFFFD") || len(got.Message) < 4080 {
			t.Errorf("%d bytes: …%q", len(got.Message), got.Message[len(got.Message)-10:])
		}
	}
}

// No line of a log is told unless the operator wants it; then the last ten. S0-10 S0-12
func TestLogExcerpt(t *testing.T) {
	var lines []string
	for n := range 30 {
		lines = append(lines, fmt.Sprintf("line %d ***", n))
	}
	var asked jobs.ID
	for _, c := range []struct {
		message    work.Message
		want, none string
	}{
		{work.Message{}, "", "line"},
		{work.Message{Body: "{{.Log}}."}, ".", "line"},
		{work.Message{LogExcerpt: true}, "\n\nline 20 ***\nline 21", "line 19"},
		{work.Message{LogExcerpt: true, Body: "{{tail .Log 2}}"}, "line 28 ***\nline 29 ***", "line 27"},
	} {
		var r record
		server := httptest.NewServer(&r)
		s := set(t, work.Target{Ntfy: server.URL + "/t"}, func(cfg *notify.Config) {
			cfg.Tail = func(_ context.Context, id jobs.ID, n int) (string, error) {
				asked = id
				return strings.Join(lines[max(0, len(lines)-n):], "\n") + "\n", nil
			}
		})
		s.tell(t, work.Notice{Message: c.message}, ended(jobs.Failed))
		server.Close()
		var got struct{ Message string }
		if err := json.Unmarshal([]byte(r.say[0]), &got); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(got.Message, c.want) || strings.Contains(got.Message, c.none) {
			t.Errorf("%+v: %q", c.message, got.Message)
		}
	}
	if asked != ended(jobs.OK).ID {
		t.Errorf("the log of %s was read", asked)
	}
}

// Who is asked to wait waits; what will never be taken is not told again. S0-41
func TestNtfyAnswers(t *testing.T) {
	for _, c := range []struct {
		status int
		header string
		want   jobs.Result
	}{
		{200, "", jobs.Result{State: jobs.OK, Exit: 200}},
		{429, "120", jobs.Result{State: jobs.Failed, Exit: 429, After: 2 * time.Minute, Fault: jobs.FaultInfra, Reason: "the answer is 429 Too Many Requests"}},
		{503, start.Add(time.Hour).Format(http.TimeFormat), jobs.Result{State: jobs.Failed, Exit: 503, After: time.Hour, Fault: jobs.FaultInfra, Reason: "the answer is 503 Service Unavailable"}},
		{413, "", jobs.Result{State: jobs.Failed, Exit: 413, Fault: jobs.FaultInfra, Final: true, Reason: "the answer is 413 Request Entity Too Large"}},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c.header != "" {
				w.Header().Set("Retry-After", c.header)
			}
			w.WriteHeader(c.status)
		}))
		s := set(t, work.Target{Ntfy: server.URL + "/t"}, nil)
		if res := s.tell(t, work.Notice{}, ended(jobs.OK)); res != c.want {
			t.Errorf("%d: %+v, want %+v", c.status, res, c.want)
		}
		server.Close()
	}
}

// fail, fail, ok: who wants failures and what is fixed hears of three, who wants changes of two. S0-05
func TestOn(t *testing.T) {
	type told = []string
	for _, c := range []struct {
		on   []string
		ends []jobs.State
		want told
	}{
		{[]string{"failure", "fixed"}, []jobs.State{jobs.Failed, jobs.Failed, jobs.OK}, told{"failed", "failed", "ok"}},
		{[]string{"changed"}, []jobs.State{jobs.Failed, jobs.Failed, jobs.OK}, told{"failed", "ok"}},
		{[]string{"changed"}, []jobs.State{jobs.OK, jobs.OK, jobs.TimedOut, jobs.Cancelled, jobs.StartupFailure, jobs.OK, jobs.OK}, told{"timed_out", "ok"}},
		{[]string{"fixed"}, []jobs.State{jobs.OK, jobs.Failed, jobs.OK, jobs.OK}, told{"ok"}},
		{[]string{"success"}, []jobs.State{jobs.OK, jobs.Failed, jobs.OK}, told{"ok", "ok"}},
		{nil, []jobs.State{jobs.OK, jobs.Failed, jobs.Cancelled}, told{"ok", "failed"}},
		{[]string{"always"}, []jobs.State{jobs.OK, jobs.Failed, jobs.Cancelled}, told{"ok", "failed", "cancelled"}},
		{[]string{"started"}, []jobs.State{jobs.OK, jobs.Failed}, nil},
	} {
		rules, err := notify.NewRules([]work.Notice{{To: []string{"phone"}, On: c.on}})
		if err != nil {
			t.Fatal(err)
		}
		// The rows are in a real queue, beside those of another branch, which say nothing about this.
		q := jobstest.NewMemory(jobs.Bounds{})
		made := ids()
		var got told
		add := func(ref grasp.RefName, state jobs.State) jobs.Job {
			j := ended("", func(j *jobs.Job) {
				j.ID, j.Run, j.Ref, j.Policy, j.Force, j.Created, j.Kind = made.Next(), made.Next(), ref, jobs.All, true, start, "exec"
			})
			if err := q.Enqueue(t.Context(), []jobs.Job{j}); err != nil {
				t.Fatal(err)
			}
			claimed, ok, err := q.Claim(t.Context(), jobs.Claim{By: "me", Now: start, Until: start.Add(time.Hour), PerOwner: 9, PerRepo: 9})
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			if err := q.Finish(t.Context(), "me", claimed.ID, jobs.Ending{State: state, At: start.Add(time.Second)}); err != nil {
				t.Fatal(err)
			}
			j, err = q.Job(t.Context(), j.ID)
			if err != nil {
				t.Fatal(err)
			}
			return j
		}
		for _, state := range c.ends {
			j := add("refs/heads/main", state)
			previous, err := notify.Previous(t.Context(), q, j)
			if err != nil {
				t.Fatal(err)
			}
			for _, tells := range rules.Follow(j, previous, made) {
				var spec work.Notify
				if err := json.Unmarshal(tells.Spec, &spec); err != nil {
					t.Fatal(err)
				}
				got = append(got, string(spec.About.State))
			}
			add("refs/heads/other", jobs.Failed)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("on %v, %v: told of %v, want %v", c.on, c.ends, got, c.want)
		}
	}
}

// Each job's targets are told, each once, and only of the repositories they are for. S0-09
func TestRouting(t *testing.T) {
	rules, err := notify.NewRules([]work.Notice{
		{To: []string{"phone", "team"}, Repos: []string{"npub180*/shop"}},
		{To: []string{"team", "log"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for repo, want := range map[string][]string{"shop": {"notify:phone", "notify:team", "notify:log"}, "a-b-c": {"notify:team", "notify:log"}} {
		var got []string
		for _, j := range rules.Follow(ended(jobs.OK, func(j *jobs.Job) { j.Repo.ID = repo }), "", ids()) {
			got = append(got, j.Name)
			if j.Kind != "notify" || j.Pool != jobs.TellPool || j.Retry.Max != 6 || j.Repo.ID != repo {
				t.Errorf("%+v", j)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("of %s: %v, want %v", repo, got, want)
		}
	}
}

// What is told of a beginning never comes after what is told of the end: they share a group of which
// the newest counts, and the same id on the screen.
func TestBegin(t *testing.T) {
	rules, err := notify.NewRules([]work.Notice{{To: []string{"phone"}, On: []string{"started", "success"}}})
	if err != nil {
		t.Fatal(err)
	}
	made := ids()
	j := ended("")
	first := rules.Begin(j, start, made)
	last := rules.Follow(ended(jobs.OK), "", made)
	if len(first) != 1 || len(last) != 1 || first[0].Group != last[0].Group || first[0].Policy != jobs.Latest || first[0].Group == "" {
		t.Fatalf("%+v\n%+v", first, last)
	}
	j.Attempt = 2
	if again := rules.Begin(j, start, made); len(again) != 0 {
		t.Errorf("the second attempt is told of: %+v", again)
	}
	var r record
	server := httptest.NewServer(&r)
	defer server.Close()
	s := set(t, work.Target{Ntfy: server.URL + "/t"}, nil)
	spec, _ := work.NewSpec("notify")
	if err := json.Unmarshal(first[0].Spec, spec); err != nil {
		t.Fatal(err)
	}
	s.task.Job, s.task.Spec = first[0], spec
	if res := s.doer.Do(t.Context(), s.task); res.State != jobs.OK {
		t.Fatalf("%+v", res)
	}
	var got struct {
		Title    string
		Sequence string `json:"sequence_id"`
	}
	if err := json.Unmarshal([]byte(r.say[0]), &got); err != nil {
		t.Fatal(err)
	}
	if got.Title != "⏳ Git site Started: shop" || got.Sequence != string(j.ID) {
		t.Errorf("%+v", got)
	}
}

// S0-39
func TestTest(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"code":40301,"error":"forbidden"}`)
	}))
	defer server.Close()
	s := set(t, work.Target{Ntfy: server.URL + "/t"}, nil)
	res := s.doer.Test(t.Context(), s.task, "phone")
	if res.State != jobs.Failed || res.Exit != 403 || !strings.Contains(s.log.String(), `403 Forbidden`) || !strings.Contains(s.log.String(), `40301`) {
		t.Errorf("%+v %q", res, s.log.String())
	}
	if res := s.doer.Test(t.Context(), s.task, "nobody"); res.State != jobs.Failed || !strings.Contains(res.Reason, `no target "nobody"`) {
		t.Errorf("%+v", res)
	}
}
