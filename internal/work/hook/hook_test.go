package hook_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
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
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/hook"
)

var update = flag.Bool("update", false, "rewrite the golden bodies")

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const owner = "3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d"

// The published examples. S3-10
func TestSignatures(t *testing.T) {
	// Standard Webhooks, the example of its specification.
	got, err := hook.Standard("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`),
		[]hook.Secret{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, nil)
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	// GitHub, the values of its page on validating deliveries.
	if got, want := hook.Hex("It's a Secret to Everybody", []byte("Hello, World!")), "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	// Two secrets are two signatures, and the server's key a third that its public half verifies.
	key := hook.DeriveKey([]byte(strings.Repeat("k", 32)))
	got, err = hook.Standard("id", time.Unix(7, 0), []byte("body"), []hook.Secret{"new", "old"}, key)
	parts := strings.Fields(got)
	if err != nil || len(parts) != 3 || parts[0] == parts[1] {
		t.Fatalf("%q, %v", got, err)
	}
	public, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(hook.PublicKey(key), "whpk_"))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(parts[2], "v1a,"))
	if err != nil || !ed25519.Verify(public, []byte("id.7.body"), signed) {
		t.Errorf("%q does not verify: %v", parts[2], err)
	}
	if _, err := hook.ReadSecret([]byte("whsec_no base64\n")); err == nil {
		t.Error("whsec_ and something else is a secret")
	}
	if s, err := hook.ReadSecret([]byte("plain text\r\n")); err != nil || s != "plain text" {
		t.Errorf("%q, %v", s, err)
	}
}

type receiver struct {
	mu     sync.Mutex
	got    []*http.Request
	bodies []string
	answer func(n int, w http.ResponseWriter, r *http.Request)
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	r.got, r.bodies = append(r.got, req), append(r.bodies, string(body))
	n := len(r.got)
	r.mu.Unlock()
	if r.answer != nil {
		r.answer(n, w, req)
	}
}

type memory struct {
	strings.Builder
	masked []string
}

func (m *memory) Stream(string) io.Writer { return &m.Builder }
func (m *memory) Close() (int64, error)   { return 0, nil }
func (m *memory) Mask(secret []byte)      { m.masked = append(m.masked, string(secret)) }

type setting struct {
	*receiver
	url  string
	cfg  hook.Config
	now  time.Time
	log  memory
	task *work.Task
}

func set(t *testing.T) *setting {
	t.Helper()
	s := &setting{receiver: &receiver{}, now: start}
	server := httptest.NewServer(s.receiver)
	t.Cleanup(server.Close)
	s.url = server.URL + "/hook"
	s.cfg = hook.Config{
		Client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		Now:    func() time.Time { return s.now },
		Target: func(name string) (work.Target, bool) {
			target := work.Target{Webhook: s.url, Delivery: work.Delivery{Format: work.Gitea, Secret: work.SecretRef{File: "of the target"}}}
			return target, name == "ci"
		},
		Secret: func(_ context.Context, ref work.SecretRef) ([]byte, error) { return []byte("secret " + ref.File), nil },
		Head:   func(context.Context, jobs.Job) string { return "main" },
	}
	s.task = &work.Task{Log: &s.log, URL: "https://git.example.org", Job: push(), Secret: func(name string) ([]byte, error) {
		if name == "none" {
			return nil, errors.New("not for this job")
		}
		return []byte("secret " + name + "\n"), nil
	}}
	return s
}

func push(more ...func(*jobs.Job)) jobs.Job {
	j := jobs.Job{
		ID: "01J9ZZZZZZZZZZZZZZZZZZZZZZ", Run: "01J9ZZZZZZZZZZZZZZZZZZZZZY", Repo: grasp.Addr{Owner: owner, ID: "shop"}, Name: "ci", Kind: "webhook",
		Trigger: jobs.OnPush, Ref: "refs/heads/main", Old: grasp.OID(strings.Repeat("1", 40)), New: grasp.OID(strings.Repeat("2", 40)),
		Push: "p-1", Created: start, State: jobs.Running, Attempt: 1,
	}
	for _, f := range more {
		f(&j)
	}
	return j
}

func (s *setting) do(t *testing.T, spec work.Spec) jobs.Result {
	t.Helper()
	if err := spec.Check(); err != nil {
		t.Fatal(err)
	}
	d, err := hook.New(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.task.Spec = spec
	return d.Do(t.Context(), s.task)
}

// A delivery bears every header that receivers look for, and the same id and body however often it is
// tried; only the time changes. S3-45 S3-50 S0-11
func TestHeaders(t *testing.T) {
	s := set(t)
	s.cfg.Key = hook.DeriveKey([]byte("k"))
	spec := &work.Webhook{URL: s.url, Delivery: work.Delivery{
		Compat: "gitsync", Secret: work.SecretRef{Secret: "new"}, OldSecret: work.SecretRef{Secret: "old"}, Token: work.SecretRef{Secret: "token"},
		Headers: map[string]string{"X-Team": "red"}, Method: "PUT",
	}}
	for range 2 {
		if res := s.do(t, spec); res != (jobs.Result{State: jobs.OK, Exit: 200}) {
			t.Fatalf("%+v", res)
		}
		s.now = s.now.Add(time.Minute)
		s.task.Job.Attempt++
	}
	body := []byte(s.bodies[0])
	sum := hook.Hex("secret new", body)
	signature, err := hook.Standard(string(push().ID), start, body, []hook.Secret{"secret new", "secret old"}, s.cfg.Key)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "gitroost", "Webhook-Id": string(push().ID), "Webhook-Timestamp": "1772366400", "Webhook-Signature": signature,
		"X-Hub-Signature-256": "sha256=" + sum, "X-GitHub-Event": "push", "X-GitHub-Delivery": string(push().ID),
		"X-Gitea-Signature": sum, "X-Gitea-Event": "push", "X-Gitea-Delivery": string(push().ID),
		"X-Gitroost-Event": "grasp.ref.updated", "X-Gitroost-Delivery": string(push().ID), "Gitsync-Hash": strings.Repeat("2", 40),
		"Authorization": "Bearer secret token", "X-Team": "red",
	} {
		if got := s.got[0].Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if s.got[0].Method != "PUT" {
		t.Error(s.got[0].Method) // S3-46
	}
	if s.bodies[1] != s.bodies[0] || s.got[1].Header.Get("Webhook-Id") != s.got[0].Header.Get("Webhook-Id") ||
		s.got[1].Header.Get("Webhook-Timestamp") != "1772366460" || s.got[1].Header.Get("Webhook-Signature") == signature {
		t.Errorf("the second attempt: %v", s.got[1].Header)
	}
	for _, secret := range []string{"secret new", "secret old", "secret token"} {
		if strings.Contains(s.log.String(), secret) || strings.Contains(string(body), secret) {
			t.Errorf("%q is in the log or the body", secret)
		}
	}
	if !strings.Contains(s.log.String(), "PUT "+s.url+" grasp.ref.updated, ") || !strings.Contains(s.log.String(), "200 OK after ") {
		t.Errorf("the log says %q", s.log.String())
	}
}

// Who has no secret gets no signature but the server's own.
func TestUnsigned(t *testing.T) {
	s := set(t)
	s.do(t, &work.Webhook{URL: s.url})
	for _, name := range []string{"Webhook-Signature", "X-Hub-Signature-256", "X-Gitea-Signature", "Authorization", "Gitsync-Hash"} {
		if v, ok := s.got[0].Header[http.CanonicalHeaderKey(name)]; ok {
			t.Errorf("%s: %q", name, v)
		}
	}
}

// What a job says holds over its target; the target's own secret is the target's.
func TestTarget(t *testing.T) {
	s := set(t)
	if res := s.do(t, &work.Webhook{To: "ci", Delivery: work.Delivery{Method: "PATCH"}}); res.State != jobs.OK {
		t.Fatalf("%+v", res)
	}
	if s.got[0].Method != "PATCH" || s.got[0].Header.Get("X-Gitea-Signature") != hook.Hex("secret of the target", []byte(s.bodies[0])) || !strings.Contains(s.bodies[0], `"compare_url"`) {
		t.Errorf("%s %v %s", s.got[0].Method, s.got[0].Header, s.bodies[0])
	}
	if len(s.log.masked) != 1 || s.log.masked[0] != "secret of the target" {
		t.Errorf("masked: %q", s.log.masked)
	}
	if res := s.do(t, &work.Webhook{To: "nobody"}); res.State != jobs.StartupFailure || !res.Final || !strings.Contains(res.Reason, "nobody") {
		t.Errorf("%+v", res)
	}
	if res := s.do(t, &work.Webhook{To: "ci", Delivery: work.Delivery{Secret: work.SecretRef{Secret: "none"}}}); res.State == jobs.OK || len(s.got) != 1 {
		t.Errorf("sent without its secret: %+v", res)
	}
}

// An address that is a secret is nowhere to be read.
func TestSecretAddress(t *testing.T) {
	s := set(t)
	address := s.url + "/T0/B0/verysecret"
	s.task.Secret = func(string) ([]byte, error) { return []byte(address + "\n"), nil }
	if res := s.do(t, &work.Webhook{URLFrom: work.SecretRef{Secret: "slack"}}); res.State != jobs.OK || s.got[0].URL.Path != "/hook/T0/B0/verysecret" {
		t.Fatalf("%+v %v", res, s.got)
	}
	address = "http://127.0.0.1:1/verysecret"
	res := s.do(t, &work.Webhook{URLFrom: work.SecretRef{Secret: "slack"}})
	if res.State != jobs.Failed || strings.Contains(s.log.String()+res.Reason, "verysecret") {
		t.Errorf("%+v, log %q", res, s.log.String())
	}
}

// What an answer means. S3-47 S3-49
func TestAnswers(t *testing.T) {
	failed := func(status int, why string) jobs.Result {
		return jobs.Result{State: jobs.Failed, Fault: jobs.FaultInfra, Exit: status, Reason: why}
	}
	for _, c := range []struct {
		status  int
		after   string
		success []int
		want    jobs.Result
	}{
		{200, "", nil, jobs.Result{State: jobs.OK, Exit: 200}},
		{204, "", nil, jobs.Result{State: jobs.OK, Exit: 204}},
		{204, "", []int{200, 202}, failed(204, "the answer is 204 No Content")},
		{202, "", []int{200, 202}, jobs.Result{State: jobs.OK, Exit: 202}},
		{302, "", nil, failed(302, "the answer is 302: redirects are not followed, name the address it leads to")},
		{302, "", []int{302}, jobs.Result{State: jobs.OK, Exit: 302}},
		{500, "", nil, failed(500, "the answer is 500 Internal Server Error")},
		{500, "", []int{0}, jobs.Result{State: jobs.OK, Exit: 500}},
		{503, "7", nil, jobs.Result{State: jobs.Failed, Fault: jobs.FaultInfra, Exit: 503, Reason: "the answer is 503 Service Unavailable", After: 7 * time.Second}},
		{429, start.Add(time.Minute).Format(http.TimeFormat), nil, jobs.Result{State: jobs.Failed, Fault: jobs.FaultInfra, Exit: 429, Reason: "the answer is 429 Too Many Requests", After: time.Minute}},
		{503, "-1", nil, failed(503, "the answer is 503 Service Unavailable")},
		{503, "9999999999", nil, failed(503, "the answer is 503 Service Unavailable")},
	} {
		s := set(t)
		s.answer = func(_ int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			if c.after != "" {
				w.Header().Set("Retry-After", c.after)
			}
			w.WriteHeader(c.status)
		}
		if res := s.do(t, &work.Webhook{URL: s.url, Delivery: work.Delivery{Success: c.success}}); res != c.want {
			t.Errorf("%d %v: %+v, want %+v", c.status, c.success, res, c.want)
		}
		if len(s.got) != 1 {
			t.Errorf("%d: %d requests", c.status, len(s.got))
		}
	}
	s := set(t) // fire and forget: sent once, whoever is there
	if res := s.do(t, &work.Webhook{URL: "http://127.0.0.1:1/", Delivery: work.Delivery{Success: []int{0}}}); res.State != jobs.OK {
		t.Errorf("%+v", res)
	}
}

// A receiver that takes its time is left after the timeout. S3-48
func TestTimeout(t *testing.T) {
	s := set(t)
	release := make(chan struct{})
	defer close(release)
	s.answer = func(_ int, w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
	res := s.do(t, &work.Webhook{URL: s.url, Delivery: work.Delivery{Timeout: work.Duration(50 * time.Millisecond)}})
	if res.State != jobs.Failed || res.Fault != jobs.FaultTimeout || res.Reason != "no answer in time" {
		t.Errorf("%+v", res)
	}
}

// A long answer is not read, and what is kept of it is one line.
func TestExcerpt(t *testing.T) {
	s := set(t)
	s.answer = func(_ int, w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(500)
		for range 1 << 12 {
			if _, err := io.WriteString(w, "\x1b[31mno\r\nway€"+strings.Repeat("x", 1000)); err != nil {
				return
			}
		}
	}
	s.do(t, &work.Webhook{URL: s.url})
	if line := s.log.String(); strings.Count(line, "\n") != 1 || strings.ContainsAny(line, "\x1b\r") || len(line) > 1400 || !strings.Contains(line, "no way€") {
		t.Errorf("%d bytes: %q", len(line), line)
	}
}

// Who answers 410 is asked no more, also after a restart, until the operator says so. S3-49
func TestGone(t *testing.T) {
	s := set(t)
	path := filepath.Join(t.TempDir(), "off.json")
	open := func() *hook.Switches {
		off, err := hook.OpenSwitches(path)
		if err != nil {
			t.Fatal(err)
		}
		s.cfg.Off = off
		return off
	}
	open()
	s.answer = func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 1 {
			w.WriteHeader(http.StatusGone)
		}
	}
	if res := s.do(t, &work.Webhook{To: "ci"}); res.State != jobs.Failed || !res.Final || res.Exit != 410 {
		t.Fatalf("%+v", res)
	}
	off := open()
	if list := off.List(); len(list) != 1 || list[0].Name != "ci" || !list[0].Since.Equal(start) {
		t.Errorf("%+v", list)
	}
	if res := s.do(t, &work.Webhook{To: "ci"}); res.State != jobs.Failed || !res.Final || len(s.got) != 1 || !strings.Contains(res.Reason, "gitroost webhooks enable ci") {
		t.Errorf("%+v after %d requests", res, len(s.got))
	}
	if data, err := os.ReadFile(path); err != nil || strings.Contains(string(data), s.url) {
		t.Errorf("the file holds the address: %s, %v", data, err)
	}
	if n, err := off.TurnOn("ci"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	open()
	if res := s.do(t, &work.Webhook{To: "ci"}); res.State != jobs.OK || len(s.got) != 2 {
		t.Errorf("%+v after %d requests", res, len(s.got))
	}
}

var about = work.Of(jobs.Job{
	ID: "01J9ZZZZZZZZZZZZZZZZZZZZZ0", Run: "01J9ZZZZZZZZZZZZZZZZZZZZZY", Repo: grasp.Addr{Owner: owner, ID: "shop"}, Name: "test", Kind: "exec", Trigger: jobs.OnPush,
	Ref: "refs/heads/main", New: grasp.OID(strings.Repeat("2", 40)), State: jobs.Failed, Exit: 1, Attempt: 2, Started: start, Ended: start.Add(83 * time.Second),
}, jobs.OK)

// The bodies, as files.
func TestBodies(t *testing.T) {
	history := hook.History{Total: 30, Commits: []hook.Commit{
		{ID: strings.Repeat("2", 40), Tree: strings.Repeat("4", 40), Message: "Sell <cheese> & wine\n\nBoth.\n", Author: "Alice", AuthorMail: "alice@example.org", Committer: "Bob", Mail: "bob@example.org", Time: start},
		{ID: strings.Repeat("3", 40), Tree: strings.Repeat("5", 40), Message: "First", Author: "Alice", AuthorMail: "alice@example.org", Committer: "Alice", Mail: "alice@example.org", Time: start.Add(-time.Hour)},
	}}
	jobsOf := map[string]jobs.Job{
		"push":   push(),
		"create": push(func(j *jobs.Job) { j.Old = grasp.OID(strings.Repeat("0", 40)) }),
		"delete": push(func(j *jobs.Job) { j.New = grasp.OID(strings.Repeat("0", 40)) }),
		"tag":    push(func(j *jobs.Job) { j.Ref, j.Old, j.Trigger = "refs/tags/v1", "", jobs.OnMirror }),
		"state": push(func(j *jobs.Job) {
			j.Trigger, j.Push, j.Cause = jobs.OnState, "", grasp.EventID(strings.Repeat("e", 64))
		}),
		"pr": push(func(j *jobs.Job) {
			j.Trigger, j.Ref, j.Old = jobs.OnPull, grasp.RefName("refs/nostr/"+strings.Repeat("e", 64)), ""
		}),
		"ping": push(func(j *jobs.Job) { j.Trigger, j.Ref, j.Old, j.New, j.Push = jobs.OnManual, "", "", "", "" }),
		"job":  push(func(j *jobs.Job) { j.Trigger = jobs.OnJob }),
	}
	for name, j := range jobsOf {
		for _, format := range []string{work.GitHub, work.Gitea, work.CloudEvents, work.Template} {
			s := set(t)
			s.task.Job = j
			s.cfg.History = func(_ context.Context, _ jobs.Job, most int) (hook.History, error) { return history, nil }
			spec := &work.Webhook{URL: s.url, Delivery: work.Delivery{Format: format}}
			if format == work.Template {
				spec.Template = `{"text": {{json .Title}}, "more": {{json .Message}}, "state": {{json .State}}}`
			}
			if name == "job" {
				spec.About = &about
			}
			if res := s.do(t, spec); res.State != jobs.OK {
				t.Fatalf("%s %s: %+v", name, format, res)
			}
			var v any
			if err := json.Unmarshal([]byte(s.bodies[0]), &v); err != nil {
				t.Fatalf("%s %s: %v: %s", name, format, err, s.bodies[0])
			}
			nice, _ := json.MarshalIndent(v, "", "  ")
			golden := filepath.Join("testdata", name+"."+format+".json")
			got := s.got[0].Header.Get("X-GitHub-Event") + " " + s.got[0].Header.Get("X-Gitroost-Event") + " " + s.got[0].Header.Get("Content-Type") + "\n" + string(nice) + "\n"
			if *update {
				os.MkdirAll("testdata", 0o755)
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				continue
			}
			want, err := os.ReadFile(golden)
			if err != nil || string(want) != got {
				t.Errorf("%s (%v) differs; -update rewrites it. It is now\n%s", golden, err, got)
			}
		}
	}
}

// A receiver that answers nothing good is asked ten times over three days, at least as long apart as it
// wants, and then no more; the delivery is kept as failed. S3-49
func TestSchedule(t *testing.T) {
	steps := []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour}
	retry := jobs.HabitsOf("webhook").Retry
	s := set(t)
	s.receiver.answer = func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 3 {
			w.Header().Set("Retry-After", "86400")
		}
		w.WriteHeader(http.StatusBadGateway)
	}
	for n := 1; ; n++ {
		res := s.do(t, &work.Webhook{URL: s.url})
		for _, rnd := range []float64{0, 0.999} {
			delay, again := retry.Delay(n, res, rnd)
			if again != (n <= len(steps)) {
				t.Fatalf("after %d attempts: again %v", n, again)
			}
			if !again {
				continue
			}
			if n == 3 {
				if delay != 24*time.Hour {
					t.Errorf("it asked for a day and gets %v", delay)
				}
			} else if delay < steps[n-1]/2 || delay > steps[n-1] {
				t.Errorf("after %d attempts it waits %v, which is not about %v", n, delay, steps[n-1])
			}
		}
		if n > len(steps) {
			break
		}
	}
	if len(s.got) != 10 {
		t.Errorf("%d attempts", len(s.got))
	}
}
