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
	case <-time.After(30 * time.Second):
		l.t.Fatal("nobody was told within 30 s")
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
