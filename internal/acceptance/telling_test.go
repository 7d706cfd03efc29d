package acceptance_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
	"github.com/gitroost/gitroost/internal/server"
	"github.com/gitroost/gitroost/internal/work/hook"
)

// A told is one request that a receiver got.
type told struct {
	*http.Request
	body string
}

func (d told) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(d.body), &v); err != nil {
		t.Fatalf("%v: %s", err, d.body)
	}
	return v
}

// A listener is who is told. Its answers are 200 unless answer says otherwise.
type listener struct {
	t      *testing.T
	url    string
	got    chan told
	answer func(w http.ResponseWriter, d told)
}

func listen(t *testing.T) *listener {
	t.Helper()
	l := &listener{t: t, got: make(chan told, 100)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		d := told{r, string(body)}
		if l.answer != nil {
			l.answer(w, d)
		}
		l.got <- d
	}))
	t.Cleanup(server.Close)
	l.url = server.URL
	return l
}

func (l *listener) next() told {
	l.t.Helper()
	select {
	case d := <-l.got:
		return d
	case <-time.After(housetest.Wait):
		l.t.Fatal("nobody was told")
	}
	return told{}
}

// jobsFrom starts a house with the jobs, targets and secrets of a configuration, in which $X stands for
// words["X"].
func jobsFrom(t *testing.T, text string, words map[string]string) *housetest.House {
	t.Helper()
	return housetest.Start(t, configured(t, text, words))
}

func configured(t *testing.T, text string, words map[string]string) func(*config.Config) {
	t.Helper()
	text = os.Expand(text, func(name string) string { return words[name] })
	l, err := config.Load(config.Sources{File: filepath.Join(t.TempDir(), "gitroost.yaml"), Read: func(string) ([]byte, error) { return []byte(text), nil }})
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return func(c *config.Config) {
		c.Jobs, c.Targets, c.Secrets, c.Engine = l.Config.Jobs, l.Config.Targets, l.Config.Secrets, l.Config.Engine
		c.Trust = l.Config.Trust
	}
}

// secretFile writes a file that only its owner reads.
func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const telling = `
jobs_engine: {reach: [127.0.0.0/8]}
secrets:
  ntfy: {file: $NTFY}
targets:
  ci:    {webhook: $CI/hook, secret: {file: $KEY}}
  phone: {ntfy: $PHONE/git-builds, token: {secret: ntfy}}
  team:  {webhook: $TEAM/say, format: template, template: '{"text": {{json .Title}}, "more": {{json .Message}}}'}
jobs:
  - name: ci
    on: {push: {}, job: {results: [failure]}}
    webhook: {to: ci}
  - name: check
    repos: ['*/*']
    on: {push: {refs: [refs/heads/*]}}
    exec: {run: [sh, -c, 'echo tk_secret; exit 3'], sandbox: plain}
    notify:
      - {to: [phone], on: [failure, fixed]}
      - {to: [team], repos: ['*/demo']}
`

// A push is told to a CI elsewhere, signed; when a job fails, that is told to the CI, to a phone and to
// a team: one push, one chain. S0-02 S0-04 S0-05 S0-09 S0-11 S0-12 S3-45
func TestPushIsTold(t *testing.T) {
	ci, phone, team := listen(t), listen(t), listen(t)
	h := jobsFrom(t, telling, map[string]string{
		"CI": ci.url, "PHONE": phone.url, "TEAM": team.url, "KEY": secretFile(t, "hush\n"), "NTFY": secretFile(t, "tk_secret\n"),
	})
	alice, c := housetest.NewKey(t), h.Dial()
	work := h.Served(c, alice, "demo", h.Clock.Now().Unix())
	tip := work.Git("rev-parse", "HEAD")

	events := map[string]told{}
	for range 2 {
		d := ci.next()
		events[d.Header.Get("X-Gitroost-Event")] = d
	}
	pushed, ended := events["grasp.ref.updated"], events["grasp.job.finished"]
	if pushed.Request == nil || ended.Request == nil {
		t.Fatalf("the CI was told of %v", events)
	}
	if run, _ := ended.json(t)["workflow_run"].(map[string]any); run["conclusion"] != "failure" || run["name"] != "check" || run["head_sha"] != tip {
		t.Errorf("%s", ended.body)
	}
	body := pushed.json(t)
	if body["ref"] != "refs/heads/main" || body["after"] != tip || body["created"] != true {
		t.Errorf("%v\n%s", pushed.Header, pushed.body)
	}
	if pushed.Header.Get("X-Hub-Signature-256") != "sha256="+hook.Hex("hush", []byte(pushed.body)) {
		t.Errorf("the signature is %s", pushed.Header.Get("X-Hub-Signature-256"))
	}
	if head, _ := body["head_commit"].(map[string]any); head == nil || head["id"] != tip {
		t.Errorf("head_commit: %v", body["head_commit"])
	}
	if repo, _ := body["repository"].(map[string]any); repo["clone_url"] != h.Repo(alice, "demo") {
		t.Errorf("repository: %v", repo)
	}

	said := phone.next()
	note := said.json(t)
	if note["topic"] != "git-builds" || note["priority"] != 4.0 || !strings.HasPrefix(note["title"].(string), "❌ Git check Failed: demo (after ") || said.Header.Get("Authorization") != "Bearer tk_secret" {
		t.Errorf("%v %s", said.Header, said.body)
	}
	for _, secret := range []string{"tk_secret", "hush", h.Data()} {
		if strings.Contains(said.body, secret) || strings.Contains(pushed.body, secret) {
			t.Errorf("%q is told", secret)
		}
	}
	if words := team.next(); !strings.Contains(words.body, `{"text": "❌ Git check Failed: demo (after `) || !strings.Contains(words.body, "exit 3") {
		t.Errorf("%s", words.body)
	}
	if len(phone.got) != 0 || len(team.got) != 0 {
		t.Error("somebody was told twice")
	}
}

// allJobs returns the list of jobs as the operator sees it: what is told whom is not for everybody.
func allJobs(t *testing.T, h *housetest.House) string {
	t.Helper()
	cfg := config.Default()
	cfg.Data = h.Data()
	resp, err := server.JobsOf(t.Context(), cfg, "GET", "/jobs.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// ntfy is away for ten minutes: the job is what it was, and the message arrives once, later. S0-41
func TestNtfyIsAway(t *testing.T) {
	phone := listen(t)
	away := make(chan struct{})
	phone.answer = func(w http.ResponseWriter, d told) {
		select {
		case <-away:
		default:
			w.Header().Set("Retry-After", "600")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}
	h := jobsFrom(t, `
jobs_engine: {reach: [127.0.0.0/8]}
targets:
  phone: {ntfy: $PHONE/t}
jobs:
  - name: check
    repos: ['*/*']
    on: {push: {}}
    exec: {run: ["true"], sandbox: plain}
    notify: {to: [phone]}
`, map[string]string{"PHONE": phone.url})
	alice, c := housetest.NewKey(t), h.Dial()
	h.Served(c, alice, "demo", h.Clock.Now().Unix())
	first := phone.next()
	states := func() string { return allJobs(t, h) }
	housetest.Within(t, housetest.Wait, "the message waits", func() bool { return strings.Contains(states(), "tried 1 times of 7") })
	if s := states(); !strings.Contains(s, `"state":"ok"`) && !strings.Contains(s, `"state": "ok"`) {
		t.Errorf("the job is not ok: %s", s)
	}
	close(away)
	h.Clock.Advance(9 * time.Minute)
	select {
	case d := <-phone.got:
		t.Fatalf("it was not left alone: %s", d.body)
	case <-time.After(100 * time.Millisecond): // it would have come by now
	}
	h.Clock.Advance(2 * time.Minute)
	again := phone.next()
	if again.body != first.body || again.json(t)["sequence_id"] != first.json(t)["sequence_id"] {
		t.Errorf("it says something else now: %s, then %s", first.body, again.body)
	}
	housetest.Within(t, housetest.Wait, "all is told", func() bool {
		s := states()
		return !strings.Contains(s, `"state":"queued"`) && !strings.Contains(s, `"state":"running"`)
	})
	h.Clock.Advance(time.Hour)
	h.Restart(nil)
	select {
	case d := <-phone.got:
		t.Errorf("told twice: %s", d.body)
	case <-time.After(200 * time.Millisecond):
	}
}

// A restart delivers nothing again that was delivered, and what was under way once more, by the same id.
// S3-50
func TestWebhookAfterRestart(t *testing.T) {
	ci := listen(t)
	h := jobsFrom(t, `
jobs_engine: {reach: [127.0.0.0/8]}
jobs:
  - name: ci
    on: {push: {}}
    webhook: {url: $CI/hook}
`, map[string]string{"CI": ci.url})
	alice, c := housetest.NewKey(t), h.Dial()
	now := h.Clock.Now().Unix()
	w := h.Served(c, alice, "demo", now)
	first := ci.next()
	housetest.Within(t, housetest.Wait, "it is delivered", func() bool {
		return strings.Contains(allJobs(t, h), `"state":"ok"`)
	})
	if _, body := h.Get(h.URL + "/jobs.json"); strings.Contains(body, `"name":"ci"`) {
		t.Errorf("everybody sees who is told what: %s", body) // S0-12
	}
	h.Restart(nil)
	c = h.Dial()

	hold, held := make(chan struct{}), make(chan struct{}, 1)
	ci.answer = func(w http.ResponseWriter, d told) {
		select {
		case held <- struct{}{}:
			select {
			case <-hold:
			case <-d.Context().Done():
			}
		default:
		}
	}
	two := w.Commit()
	c.Must(alice.State("demo", now+1, "main="+two))
	w.Git("push", "-q", h.Repo(alice, "demo"), "main")
	<-held // the second delivery is under way
	h.Restart(nil)
	close(hold)
	a, b := ci.next(), ci.next()
	if a.json(t)["after"] != two || a.body != b.body || a.Header.Get("Webhook-Id") != b.Header.Get("Webhook-Id") || a.Header.Get("Webhook-Id") == first.Header.Get("Webhook-Id") {
		t.Errorf("%s %s\n%s %s", a.Header.Get("Webhook-Id"), a.body, b.Header.Get("Webhook-Id"), b.body)
	}
	select {
	case d := <-ci.got:
		t.Errorf("delivered again: %s", d.body)
	case <-time.After(200 * time.Millisecond):
	}
}

// Where the operator wants it the end of the log is told, with what is secret in it masked; the button
// runs that job again, once. S0-10 S0-12
func TestExcerptAndRetry(t *testing.T) {
	phone := listen(t)
	h := jobsFrom(t, `
jobs_engine: {reach: [127.0.0.0/8]}
secrets:
  npm: {file: $NPM, repos: ['*/*']}
targets:
  phone: {ntfy: $PHONE/t}
jobs:
  - name: check
    repos: ['*/*']
    on: {push: {}}
    exec: {run: [sh, -c, 'for i in 1 2 3 4 5 6 7 8 9 10 11; do echo line $$i; done; cat $$GRASP_SECRETS/npm; exit 1'], sandbox: plain, secrets: [npm]}
    notify: {to: [phone], log_excerpt: true, on: [failure]}
`, map[string]string{"PHONE": phone.url, "NPM": secretFile(t, "very-secret\n"), "$": "$"})
	alice, c := housetest.NewKey(t), h.Dial()
	h.Served(c, alice, "demo", h.Clock.Now().Unix())
	note := phone.next()
	message, _ := note.json(t)["message"].(string)
	if !strings.Contains(message, "line 11\n") || strings.Contains(message, "line 1\n") || strings.Contains(note.body, "very-secret") || !strings.Contains(message, "***") {
		t.Errorf("%s", note.body)
	}
	var retry string
	for _, a := range note.json(t)["actions"].([]any) {
		if a := a.(map[string]any); a["label"] == "Retry" {
			retry = a["url"].(string)
		}
	}
	if !strings.HasPrefix(retry, h.URL+"/jobs/") {
		t.Fatalf("%s", note.body)
	}
	if resp, body := h.Do("POST", retry, nil); resp.StatusCode >= 300 {
		t.Fatalf("%s %s", resp.Status, body)
	}
	if again := phone.next(); again.json(t)["title"] == nil || again.json(t)["sequence_id"] == note.json(t)["sequence_id"] {
		t.Errorf("%s", again.body)
	}
	if resp, body := h.Do("POST", retry, nil); resp.StatusCode < 400 {
		t.Errorf("the token holds twice: %s %s", resp.Status, body)
	}
}

// Without jobs_engine.reach nothing on this machine is reached, whoever asks: not by a webhook, not by a
// notification, not by a mirror. S0-35
func TestLoopbackIsNotTold(t *testing.T) {
	l := listen(t)
	h := jobsFrom(t, `
targets:
  phone: {ntfy: $URL/t}
jobs:
  - name: hook
    on: {push: {}}
    webhook: {url: $URL/hook}
  - name: check
    repos: ['*/*']
    on: {push: {}}
    exec: {run: ["true"], sandbox: plain}
    notify: {to: [phone]}
  - name: copy
    repos: ['*/*']
    on: {push: {}}
    mirror_push: {url: $URL/there.git}
`, map[string]string{"URL": strings.Replace(l.url, "http://", "https://", 1)})
	alice, c := housetest.NewKey(t), h.Dial()
	h.Served(c, alice, "demo", h.Clock.Now().Unix())
	housetest.Within(t, housetest.Wait, "all three have given up", func() bool {
		all := allJobs(t, h)
		return strings.Count(all, "outward.allow") >= 3 && !strings.Contains(all, `"state":"queued"`) && !strings.Contains(all, `"state":"running"`)
	})
	if len(l.got) != 0 {
		t.Errorf("somebody was reached: %v", <-l.got)
	}
}
