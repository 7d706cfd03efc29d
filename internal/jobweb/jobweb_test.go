package jobweb_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/joblog"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobs/jobstest"
	"github.com/gitroost/gitroost/internal/jobview"
	"github.com/gitroost/gitroost/internal/jobweb"
	"github.com/gitroost/gitroost/internal/web"
)

const base = "http://git.example.com"

// A house is the door with a board on a queue in memory behind it, and the real pages.
type house struct {
	t      *testing.T
	queue  *jobstest.Memory
	logs   *joblog.Logs
	board  *jobview.Board
	clock  *jobstest.Clock
	ids    *jobs.IDs
	server *httptest.Server
}

var (
	operator = nostr.GeneratePrivateKey()
	alice    = nostr.GeneratePrivateKey() // maintains repo
	mallory  = nostr.GeneratePrivateKey()
	repo     = grasp.Addr{Owner: pub(alice), ID: "shop"}
	other    = grasp.Addr{Owner: pub(mallory), ID: "<b>evil</b>"}
)

func pub(secret string) grasp.PubKey {
	k, _ := nostr.GetPublicKey(secret)
	return grasp.PubKey(k)
}

type gate struct{}

func (gate) Operator(k grasp.PubKey) bool { return k == pub(operator) }
func (gate) Maintains(_ context.Context, a grasp.Addr, k grasp.PubKey) (bool, error) {
	return a == repo && k == pub(alice), nil
}

// source is a web.Source that is not asked.
type source struct{ web.Source }

func open(t *testing.T, cfg jobweb.Config) *house {
	t.Helper()
	h := &house{t: t, queue: jobstest.NewMemory(jobs.Bounds{PerOwner: 10_000}), clock: jobstest.NewClock()}
	h.ids = jobs.NewIDs(h.clock.Now, bytes.NewReader(bytes.Repeat([]byte{7}, 1<<16)))
	var err error
	if h.logs, err = joblog.Open(joblog.Config{Dir: t.TempDir(), Now: h.clock.Now}); err != nil {
		t.Fatal(err)
	}
	book, err := jobs.NewBook([]jobs.Definition{{Name: "test", Kind: "exec"}, {Name: "deploy", Kind: "exec"}})
	if err != nil {
		t.Fatal(err)
	}
	h.board, err = jobview.New(jobview.Config{
		Queue: h.queue, Logs: h.logs, Clock: h.clock, URL: base, TokenKey: []byte("key"),
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
	cfg.Now, cfg.Authorities = time.Now, []string{"git.example.com"} // deadlines are the network's
	pages := web.New(web.Config{Name: "git", PublicURL: base, Now: h.clock.Now}, source{}, slog.New(slog.DiscardHandler))
	h.server = httptest.NewServer(jobweb.New(cfg, h.board, h.board, h.board, h.board, gate{}, pages, nil))
	t.Cleanup(func() { h.board.Stop(); h.server.Close() })
	return h
}

func (h *house) add(repo grasp.Addr, name string, more ...func(*jobs.Job)) jobs.ID {
	h.t.Helper()
	j := jobstest.Make(h.ids.Next(), repo, name, h.clock.Now(), more...)
	if err := h.queue.Enqueue(h.t.Context(), []jobs.Job{j}); err != nil {
		h.t.Fatal(err)
	}
	return j.ID
}

// run has the next job begin, and say what it says; finish ends it.
func (h *house) run(say ...string) (jobs.Job, *joblog.Log) {
	h.t.Helper()
	now := h.clock.Now()
	j, ok, err := h.queue.Claim(h.t.Context(), jobs.Claim{By: "me", Now: now, Until: now.Add(time.Minute), PerOwner: 100, PerRepo: 100})
	if err != nil || !ok {
		h.t.Fatalf("nothing to run: %v", err)
	}
	g, err := h.logs.Begin(string(j.ID), j.Attempt)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, s := range say {
		io.WriteString(g.Stream("stdout"), s)
	}
	return j, g
}

func (h *house) finish(j jobs.Job, g *joblog.Log, s jobs.State) {
	h.t.Helper()
	n, err := g.Close()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.queue.Finish(h.t.Context(), "me", j.ID, jobs.Ending{State: s, At: h.clock.Now(), Log: jobs.LogKept, LogBytes: n, RunAfter: h.clock.Now()}); err != nil {
		h.t.Fatal(err)
	}
	h.board.Note()
}

// sign returns the Authorization header of a request.
func sign(secret, method, path, body string) string {
	ev := nostr.Event{Kind: 27235, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"u", "https://git.example.com" + path}, {"method", method}, {"n", nostr.GeneratePrivateKey()}}}
	if body != "" {
		sum := sha256.Sum256([]byte(body))
		ev.Tags = append(ev.Tags, nostr.Tag{"payload", hex.EncodeToString(sum[:])})
	}
	_ = ev.Sign(secret)
	b, _ := json.Marshal(ev)
	return "Nostr " + base64.StdEncoding.EncodeToString(b)
}

// do sends a request; headers are pairs.
func (h *house) do(method, path, body string, headers ...string) *http.Response {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), method, h.server.URL+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", "identity")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func (h *house) get(path string, headers ...string) (int, string, http.Header) {
	h.t.Helper()
	resp := h.do("GET", path, "", headers...)
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

// S0-18, S0-20: jobs and one job, for people and for programs, by Accept or by name.
func TestRead(t *testing.T) {
	h := open(t, jobweb.Config{})
	id := h.add(repo, "test", func(j *jobs.Job) { j.Ref, j.Push = "refs/heads/main", "7f3a" })
	h.add(other, "x<i>y")
	j, g := h.run("hello\n", "\x1b[31mred\x1b[0m <b>\n")
	h.clock.Advance(83 * time.Second)
	h.finish(j, g, jobs.Failed)
	for _, c := range []struct {
		path, accept string
		kind         string
		says         []string
	}{
		{"/jobs", "text/html", "text/html", []string{"test", "1m 23s", "failed", "shop", "&lt;b&gt;evil"}},
		{"/jobs", "*/*", "text/html", nil},
		{"/jobs", "application/json", "application/json", []string{`"jobs":[`, `"repo":"` + jobs.RepoName(repo)}},
		{"/jobs.json?state=failed,ok", "text/html", "application/json", []string{string(id)}},
		{"/jobs/" + string(id), "text/html,application/json;q=0.9", "text/html", []string{"exit code 0", "hello\nred &lt;b&gt;\n", "7f3a", "main", "gitroost jobs retry " + string(id)}},
		{"/jobs/" + strings.ToLower(string(id)) + ".json", "", "application/json", []string{`"state":"failed"`, `"conclusion":"failure"`, `"push":"7f3a"`, `"took":83`}},
		{"/jobs/schema.json", "", "application/schema+json", []string{`"additionalProperties": false`}},
	} {
		code, body, head := h.get(c.path, "Accept", c.accept)
		if code != 200 || !strings.HasPrefix(head.Get("Content-Type"), c.kind) {
			t.Errorf("%s as %s: %d %s", c.path, c.accept, code, head.Get("Content-Type"))
		}
		for _, s := range c.says {
			if !strings.Contains(body, s) {
				t.Errorf("%s as %s: no %q in %s", c.path, c.accept, s, body)
			}
		}
		for name := range head {
			if strings.HasPrefix(name, "Access-Control") { // S4-21
				t.Errorf("%s: %s", c.path, name)
			}
		}
		if strings.Contains(body, "<b>") || strings.Contains(body, "<i>") {
			t.Errorf("%s: what strangers wrote is not escaped", c.path)
		}
	}
	for path, want := range map[string]int{
		"/jobs/01J00000000000000000000009": 404, "/jobs/x": 404, "/jobs/" + string(id) + "/x": 404, "/jobs?state=nope": 400, "/jobs?repo=x": 400,
		"/jobs?since=yesterday": 400, "/jobs?before=x": 400, "/jobs?limit=x": 400, "/jobs/" + string(id) + "/log?attempt=x": 400,
		"/jobs/" + string(id) + "/log?attempt=7": 404, "/jobs/" + string(id) + "/log?follow=1&from=x": 400,
	} {
		if code, body, _ := h.get(path); code != want || body == "" {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if resp := h.do("DELETE", "/jobs/"+string(id), ""); resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("DELETE: %d %s", resp.StatusCode, resp.Header.Get("Allow"))
	}
	if resp := h.do("HEAD", "/jobs/"+string(id), ""); resp.StatusCode != 200 {
		t.Errorf("HEAD: %d", resp.StatusCode)
	}
}

// S0-20: filters find what they name among a thousand, and pages follow each other to the last.
func TestFilters(t *testing.T) {
	h := open(t, jobweb.Config{})
	for i := range 1000 {
		h.add([]grasp.Addr{repo, other}[i%2], []string{"test", "deploy", "site"}[i%3])
		h.clock.Advance(time.Minute)
	}
	for query, want := range map[string]int{
		"": 1000, "?repo=" + jobs.RepoName(repo): 500, "?name=site": 333, "?name=test&repo=" + jobs.RepoName(repo): 167,
		"?state=running": 0, "?state=queued&state=ok": 1000, fmt.Sprintf("?since=%d", h.clock.Now().Add(-100*time.Minute).Unix()): 100,
		"?since=" + h.clock.Now().Add(-10*time.Minute).UTC().Format(time.RFC3339): 10, "?limit=7&name=deploy": 333,
	} {
		n, path := 0, "/jobs.json"+query
		for path != "" {
			code, body, head := h.get(path)
			var page jobview.Page
			if err := json.Unmarshal([]byte(body), &page); err != nil || code != 200 {
				t.Fatalf("%s: %d %s", path, code, body)
			}
			n += len(page.Jobs)
			path, _, _ = strings.Cut(strings.TrimPrefix(head.Get("Link"), "<"), ">")
		}
		if n != want {
			t.Errorf("%q finds %d, want %d", query, n, want)
		}
	}
}

// S0-19: the log is the text that the job wrote: whole, in part, compressed, and not sent again to who has it.
func TestLog(t *testing.T) {
	h := open(t, jobweb.Config{})
	id := h.add(repo, "test")
	if code, body, _ := h.get("/jobs/" + string(id) + "/log"); code != 404 || !strings.Contains(body, "not begun") {
		t.Errorf("before it begins: %d %s", code, body)
	}
	said := strings.Repeat("a line of the log\n", 10_000)
	j, g := h.run(said)
	path := "/jobs/" + string(id) + "/log"
	if code, body, head := h.get(path); code != 200 || body != said || head.Get("Content-Type") != "text/plain; charset=utf-8" || !strings.Contains(head.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("while it runs: %d, %d bytes, %v", code, len(body), head)
	}
	h.finish(j, g, jobs.OK)
	code, body, head := h.get(path)
	if code != 200 || body != said || head.Get("ETag") == "" {
		t.Errorf("afterwards: %d, %d bytes, %v", code, len(body), head)
	}
	if code, _, _ := h.get(path, "If-None-Match", head.Get("ETag")); code != 304 {
		t.Errorf("again: %d", code)
	}
	if code, body, head := h.get(path, "Range", "bytes=18-35"); code != 206 || body != said[18:36] || head.Get("Content-Range") != fmt.Sprintf("bytes 18-35/%d", len(said)) {
		t.Errorf("a part: %d %q %s", code, body, head.Get("Content-Range"))
	}
	if code, body, _ := h.get(path, "Range", "bytes=-5"); code != 206 || body != " log\n" {
		t.Errorf("the end: %d %q", code, body)
	}
	if code, _, _ := h.get(path, "Range", "bytes=999999999-"); code != 416 {
		t.Errorf("behind the end: %d", code)
	}
	code, body, head = h.get(path, "Accept-Encoding", "br, gzip;q=0.5")
	z, err := gzip.NewReader(strings.NewReader(body))
	if err != nil || code != 200 || head.Get("Content-Encoding") != "gzip" || len(body) > len(said)/20 {
		t.Fatalf("compressed: %d, %d bytes, %v, %v", code, len(body), head, err)
	}
	if b, err := io.ReadAll(z); string(b) != said || err != nil {
		t.Errorf("compressed: %d bytes, %v", len(b), err)
	}
	if code, body, _ := h.get(path, "Accept-Encoding", "gzip;q=0"); code != 200 || body != said {
		t.Errorf("gzip is not wanted: %d, %d bytes", code, len(body))
	}
}

// S0-21: who follows sees a line when it is said; who comes back with Last-Event-ID misses nothing, over attempts too.
func TestFollow(t *testing.T) {
	h := open(t, jobweb.Config{})
	id := h.add(repo, "test", func(j *jobs.Job) { j.Retry = jobs.Retry{Max: 1} })
	path := "/jobs/" + string(id) + "/log"
	plain := bufio.NewReader(h.do("GET", path+"?follow=1", "").Body)
	events := bufio.NewReader(h.do("GET", path, "", "Accept", "text/event-stream").Body)
	line := func(r *bufio.Reader) string {
		t.Helper()
		s, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("%q, %v", s, err)
		}
		return strings.TrimSuffix(s, "\n")
	}
	event := func(r *bufio.Reader) string {
		t.Helper()
		var out []string
		for {
			s := line(r)
			if s == "" {
				return strings.Join(out, "|")
			}
			out = append(out, s)
		}
	}
	j, g := h.run()
	for n := range 3 {
		fmt.Fprintf(g.Stream("stdout"), "line %d\n", n)
		if got := line(plain); got != fmt.Sprintf("line %d", n) {
			t.Errorf("%q", got)
		}
		if got, want := event(events), fmt.Sprintf("id: %d|data: line %d", 7*(n+1), n); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	h.finish(j, g, jobs.Queued)
	j, g = h.run("again\r50%\r\x1b[1m100%\n")
	if got := event(events); got != "id: 2.19|data: 100%" {
		t.Errorf("the second attempt: %q", got)
	}
	if got := line(plain); got != "again\r50%\r\x1b[1m100%" {
		t.Errorf("the second attempt: %q", got)
	}
	back := bufio.NewReader(h.do("GET", path, "", "Accept", "text/event-stream", "Last-Event-ID", "14").Body)
	if got := event(back); got != "id: 21|data: line 2" {
		t.Errorf("who comes back: %q", got)
	}
	if got := event(back); got != "id: 2.19|data: 100%" {
		t.Errorf("who comes back: %q", got)
	}
	h.finish(j, g, jobs.OK)
	for _, r := range []*bufio.Reader{events, back} {
		if got := event(r); !strings.HasPrefix(got, `event: end|data: {"id":"`+string(id)) || !strings.Contains(got, `"state":"ok"`) {
			t.Errorf("at the end: %q", got)
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("after the end: %v", err)
		}
	}
	if b, err := io.ReadAll(plain); len(b) > 0 || err != nil {
		t.Errorf("after the end: %q, %v", b, err)
	}
	if resp := h.do("GET", path, "", "Accept", "text/event-stream", "Last-Event-ID", "2.19"); resp.StatusCode != 204 {
		t.Errorf("who comes back after the end: %d", resp.StatusCode)
	}
	if _, body, _ := h.get(path + "?follow=1&attempt=1&from=7"); body != "line 1\nline 2\n" {
		t.Errorf("one attempt from a place: %q", body)
	}
}

// When the server stops whoever follows is told; and no more follow than there is room for.
func TestFollowBounds(t *testing.T) {
	h := open(t, jobweb.Config{MaxFollowers: 3, MaxPerNetwork: 2, Network: func(r *http.Request) string { return r.Header.Get("X-Net") }})
	path := "/jobs/" + string(h.add(repo, "test")) + "/log?follow=1"
	first := h.do("GET", path, "", "X-Net", "a")
	h.do("GET", path, "", "X-Net", "a")
	if resp := h.do("GET", path, "", "X-Net", "a"); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a third of one network: %d", resp.StatusCode)
	}
	events := h.do("GET", path, "", "X-Net", "b", "Accept", "text/event-stream")
	if resp := h.do("GET", path, "", "X-Net", "c"); resp.StatusCode != 503 {
		t.Errorf("a fourth in all: %d", resp.StatusCode)
	}
	h.board.Stop()
	if b, err := io.ReadAll(first.Body); string(b) != "gitroost: the server is stopping; ask again for what follows\n" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := io.ReadAll(events.Body); !strings.Contains(string(b), "event: stopping\n") || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// What is private is for the operator and the maintainers, and for nobody else, in any form.
func TestPrivate(t *testing.T) {
	h := open(t, jobweb.Config{})
	id := h.add(repo, "secret")
	j, g := h.run("a secret\n")
	h.finish(j, g, jobs.OK)
	for _, path := range []string{"/jobs/" + string(id), "/jobs/" + string(id) + ".json", "/jobs/" + string(id) + "/log", "/jobs/" + string(id) + "/log?follow=1"} {
		for who, want := range map[string]int{"": 401, operator: 200, alice: 200, mallory: 403} {
			var headers []string
			if who != "" {
				headers = []string{"Authorization", sign(who, "GET", path, "")}
			}
			code, body, head := h.get(path, headers...)
			if code != want || want != 200 && (strings.Contains(body, "a secret") || strings.Contains(body, "shop")) || want == 401 && head.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: %d, want %d: %s", path, code, want, body)
			}
			if want == 200 && head.Get("Cache-Control") != "no-store" && head.Get("Cache-Control") != "private, no-store" {
				t.Errorf("%s may be kept by others: %s", path, head.Get("Cache-Control"))
			}
		}
	}
	if _, body, _ := h.get("/jobs.json"); strings.Contains(body, string(id)) {
		t.Error("it is in the list for everybody")
	}
	if _, body, _ := h.get("/jobs.json", "Authorization", sign(alice, "GET", "/jobs.json", "")); !strings.Contains(body, string(id)) {
		t.Error("it is not in the list for who may see it")
	}
}

// S4-42: nothing is changed without a signature of the operator or a maintainer, for this very request.
func TestControl(t *testing.T) {
	h := open(t, jobweb.Config{})
	id := h.add(repo, "test")
	at := "/jobs/" + string(id)
	order := `{"repo":"` + jobs.RepoName(repo) + `","names":["test"]}`
	type try struct {
		why, path, body, auth string
		want                  int
	}
	for _, c := range []try{
		{"unsigned", at + "/cancel", "", "", 401},
		{"unsigned", at + "/retry", "", "", 401},
		{"unsigned", "/jobs", order, "", 401},
		{"unsigned, and not there", "/jobs/01J00000000000000000000009/cancel", "", "", 401},
		{"nonsense", at + "/cancel", "", "Nostr e30=", 401},
		{"somebody else", at + "/cancel", "", sign(mallory, "POST", at+"/cancel", ""), 403},
		{"somebody else", "/jobs", order, sign(mallory, "POST", "/jobs", order), 403},
		{"for another path", at + "/cancel", "", sign(alice, "POST", at+"/retry", ""), 401},
		{"for another method", at + "/cancel", "", sign(alice, "GET", at+"/cancel", ""), 401},
		{"for another query", at + "/cancel?x=1", "", sign(alice, "POST", at+"/cancel", ""), 401},
		{"for another body", "/jobs", order, sign(alice, "POST", "/jobs", order+" "), 401},
		{"without the body's hash", "/jobs", order, sign(alice, "POST", "/jobs", ""), 401},
		{"what is no JSON", "/jobs", "x", sign(alice, "POST", "/jobs", "x"), 400},
		{"one that has not ended", at + "/retry", "", sign(alice, "POST", at+"/retry", ""), 409},
		{"a wrong token", at + "/retry?t=x", "", "", 403},
	} {
		resp := h.do("POST", c.path, c.body, "Authorization", c.auth)
		b, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != c.want || !strings.Contains(string(b), `{"error":"`) {
			t.Errorf("%s: %s %d %s", c.why, c.path, resp.StatusCode, b)
		}
	}
	if v, _ := h.board.Show(t.Context(), id); v.State != jobs.Queued {
		t.Fatalf("it is %s after all", v.State)
	}
	auth := sign(alice, "POST", at+"/cancel", "")
	if resp := h.do("POST", at+"/cancel", "", "Authorization", auth); resp.StatusCode != 200 {
		t.Errorf("a maintainer: %d", resp.StatusCode)
	}
	if resp := h.do("POST", at+"/cancel", "", "Authorization", auth); resp.StatusCode != 401 {
		t.Errorf("the same event again: %d", resp.StatusCode)
	}
	resp := h.do("POST", at+"/retry", "", "Authorization", sign(operator, "POST", at+"/retry", ""))
	if resp.StatusCode != 201 || !strings.HasPrefix(resp.Header.Get("Location"), "/jobs/") || resp.Header.Get("Location") == at {
		t.Errorf("the operator: %d %s", resp.StatusCode, resp.Header.Get("Location"))
	}
	if resp := h.do("POST", "/jobs", order, "Authorization", sign(alice, "POST", "/jobs", order)); resp.StatusCode != 201 {
		t.Errorf("a maintainer asks for a job: %d", resp.StatusCode)
	}
	deploy := strings.Replace(order, "test", "deploy", 1)
	if resp := h.do("POST", "/jobs", deploy, "Authorization", sign(alice, "POST", "/jobs", deploy)); resp.StatusCode != 403 {
		t.Errorf("a maintainer asks for what only the operator may: %d", resp.StatusCode)
	}
	if resp := h.do("POST", "/jobs", deploy, "Authorization", sign(operator, "POST", "/jobs", deploy)); resp.StatusCode != 201 {
		t.Errorf("the operator asks for it: %d", resp.StatusCode)
	}
	// A token of a notification works once, and only with POST.
	token := at + "/retry?t=" + h.board.Token(id)
	if resp := h.do("GET", token, ""); resp.StatusCode != 405 {
		t.Errorf("GET with a token: %d", resp.StatusCode)
	}
	if resp := h.do("POST", token, ""); resp.StatusCode != 201 {
		t.Errorf("a token: %d", resp.StatusCode)
	}
	if resp := h.do("POST", token, ""); resp.StatusCode != 409 {
		t.Errorf("a token, twice: %d", resp.StatusCode)
	}
	if resp := h.do("POST", "/jobs", strings.Repeat("x", jobweb.MaxBody+1)); resp.StatusCode != 413 {
		t.Errorf("a large body: %d", resp.StatusCode)
	}
}

// Whatever a query says, it is a filter within its bounds, or a fault.
func FuzzFilter(f *testing.F) {
	f.Add("repo=npub1x/y&state=ok,failed&since=24h&before=01J00000000000000000000009&limit=3")
	f.Add("since=-5&limit=0&state=,,")
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest("GET", "/jobs", nil)
		r.URL.RawQuery = query
		now := time.Unix(1_800_000_000, 0)
		filter, err := jobweb.ParseFilter(r.URL.Query(), now)
		if err == nil && (filter.Limit < 1 || filter.Limit > 200 || len(filter.States) > len(jobs.States)) {
			t.Errorf("%q: %+v", query, filter)
		}
		if n, at, ok := jobview.ParsePlace(query); ok {
			if n2, at2, ok := jobview.ParsePlace(jobview.Place(n, at)); !ok || n2 != n || at2 != at {
				t.Errorf("%q: %d %d", query, n, at)
			}
		}
	})
}
