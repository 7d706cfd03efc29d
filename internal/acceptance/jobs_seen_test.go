package acceptance_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
	"github.com/gitroost/gitroost/internal/jobview"
)

const seenJobs = `
jobs_engine: {sandbox: plain, per_repo: 8, per_owner: 8}
jobs:
  - {name: open, repos: ["*/*"], on: {push: {}, manual: true}, exec: {run: [echo, hello], workdir: empty}}
  - {name: closed, repos: ["*/*"], private: true, on: {push: {}}, exec: {run: [echo, a secret], workdir: empty}}
`

// signed sends a request that k signed (NIP-98).
func signed(t *testing.T, h *housetest.House, k *housetest.Key, method, path, body string) (*http.Response, string) {
	t.Helper()
	auth := authorization(t, k, h.URL+path, body, h.Clock.Now().Unix(), fresh, func(ev *nostr.Event) { ev.Tags[1][1] = method })
	return h.Do(method, path, strings.NewReader(body), "Authorization", auth)
}

// S0-18, S0-19, S0-20, S4-21, S4-42: what the house tells of jobs, to whom, and who may ask for what.
func TestJobsSeen(t *testing.T) {
	t.Parallel()
	operator := housetest.NewKey(t)
	h := housetest.Start(t, housetest.WithJobs(seenJobs), func(c *config.Config) { c.Owner = grasp.PubKey(operator.Pub) })
	c, alice, mallory := h.Dial(), housetest.NewKey(t), housetest.NewKey(t)
	h.Served(c, alice, "demo", time.Now().Unix()-1000)
	h.Worked()
	name := alice.Npub + "/demo"

	var page jobview.Page
	resp, body := h.Get("/jobs.json?repo=" + name)
	if err := json.Unmarshal([]byte(body), &page); err != nil || len(page.Jobs) != 1 || page.Jobs[0].Name != "open" || page.Jobs[0].State != "ok" || page.Jobs[0].Push == "" {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	job := page.Jobs[0]
	at := "/jobs/" + string(job.ID)
	if job.URL != h.URL+at {
		t.Errorf("its page is %s", job.URL)
	}
	if resp, body := h.Get(at, "Accept", "text/html"); resp.StatusCode != 200 || !strings.Contains(body, "hello\n") {
		t.Errorf("its page: %d %s", resp.StatusCode, body)
	}
	if resp, body := h.Get(at + "/log"); resp.StatusCode != 200 || !strings.HasSuffix(body, "hello\n") {
		t.Errorf("its log: %d %q", resp.StatusCode, body)
	}
	var private []string
	for _, j := range h.AllJobs() {
		if j.Name == "closed" {
			private = append(private, "/jobs/"+string(j.ID))
		}
	}
	for _, path := range []string{private[0], private[0] + ".json", private[0] + "/log"} {
		if resp, body := h.Get(path); resp.StatusCode != 401 || strings.Contains(body, "secret") {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
		if resp, _ := signed(t, h, mallory, "GET", path, ""); resp.StatusCode != 403 {
			t.Errorf("%s to a stranger: %d", path, resp.StatusCode)
		}
		for _, k := range []*housetest.Key{alice, operator} {
			if resp, body := signed(t, h, k, "GET", path, ""); resp.StatusCode != 200 || !strings.Contains(body, "closed") && !strings.Contains(body, "a secret") {
				t.Errorf("%s: %d %s", path, resp.StatusCode, body)
			}
		}
	}

	// Every answer has the headers, without exception (C-01); what a page of another origin may ask for is what anybody
	// may who has no key: the answers below do not depend on cookies (S4-21).
	for path, want := range map[string]string{"/jobs": "*", at: "*", at + "/log": "*", "/": "*"} {
		for _, method := range []string{"GET", "OPTIONS"} {
			resp, _ := h.Do(method, path, nil, "Origin", "https://elsewhere.example", "Access-Control-Request-Method", "POST")
			if got := resp.Header.Get("Access-Control-Allow-Origin"); got != want {
				t.Errorf("%s %s: Access-Control-Allow-Origin is %q", method, path, got)
			}
			if resp.Header.Get("Access-Control-Allow-Credentials") != "" || len(resp.Cookies()) > 0 {
				t.Errorf("%s %s: it tells visitors apart", method, path)
			}
		}
	}

	// Nobody changes anything without a signature.
	order := `{"repo":"` + name + `","names":["open"],"force":true}`
	for path, body := range map[string]string{at + "/retry": "", at + "/cancel": "", "/jobs": order} {
		if resp, _ := h.Do("POST", path, strings.NewReader(body)); resp.StatusCode != 401 {
			t.Errorf("POST %s unsigned: %d", path, resp.StatusCode)
		}
		if resp, _ := signed(t, h, mallory, "POST", path, body); resp.StatusCode != 403 {
			t.Errorf("POST %s by a stranger: %d", path, resp.StatusCode)
		}
	}
	if n := len(h.AllJobs()); n != 2 {
		t.Fatalf("there are %d jobs", n)
	}
	for path, body := range map[string]string{at + "/retry": "", "/jobs": order} {
		if resp, body := signed(t, h, alice, "POST", path, body); resp.StatusCode != 201 {
			t.Errorf("POST %s by a maintainer: %d %s", path, resp.StatusCode, body)
		}
	}
	if all := h.Worked(); len(all) != 4 || all[2].State != "ok" || all[3].State != "ok" || string(all[2].Actor) != alice.Pub {
		t.Errorf("%+v", all)
	}

	// A token of a notification runs its job once, whoever has it, also after a restart.
	token := at + "/retry?t=" + h.Jobs().Board().Token(job.ID)
	h.Restart(nil)
	if resp, body := h.Do("POST", token, nil); resp.StatusCode != 201 {
		t.Errorf("a token: %d %s", resp.StatusCode, body)
	}
	h.Worked()
	h.Restart(nil)
	if resp, body := h.Do("POST", token, nil); resp.StatusCode != 409 {
		t.Errorf("a token, twice: %d %s", resp.StatusCode, body)
	}

	// What is not open any more is not seen any more either.
	c = h.Dial()
	c.Must(alice.Deletion(time.Now().Unix(), nostr.Tag{"a", housetest.Coordinate(alice, "demo")}))
	if resp, _ := h.Get(at); resp.StatusCode != 401 {
		t.Errorf("a job of a repository that was deleted: %d", resp.StatusCode)
	}
}

// S0-21, S4-31: a line is read when it is said, over any connection; when the house stops, who follows is told, and the
// job goes on after it.
func TestJobsFollowed(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "go")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	h := housetest.Start(t, housetest.WithJobs(`
jobs_engine: {sandbox: plain}
jobs:
  - {name: slow, repos: ["*/*"], on: {push: {}}, exec: {run: [sh, -c, 'while read line; do echo $line; done < `+pipe+`'], workdir: empty}}
`))
	h.Served(h.Dial(), housetest.NewKey(t), "demo", time.Now().Unix()-1000)
	job := h.Made("slow", 1)[0]
	say, err := os.OpenFile(pipe, os.O_WRONLY, 0) // when somebody reads
	if err != nil {
		t.Fatal(err)
	}
	defer say.Close()
	follow := func(header ...string) *bufio.Reader {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), "GET", h.URL+"/jobs/"+string(job.ID)+"/log?follow=1", nil)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return bufio.NewReader(resp.Body)
	}
	until := func(r *bufio.Reader, want string) (seen []string) {
		t.Helper()
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("%v before %q; %q", err, want, seen)
			}
			seen = append(seen, strings.TrimSuffix(line, "\n"))
			if strings.TrimSuffix(line, "\n") == want {
				return seen
			}
		}
	}
	plain, events := follow(), follow("Accept", "text/event-stream")
	io.WriteString(say, "one\n")
	until(plain, "one")
	seen := until(events, "data: one")
	id := strings.TrimPrefix(seen[len(seen)-2], "id: ")
	io.WriteString(say, "two\n")
	until(plain, "two")
	if seen := until(follow("Accept", "text/event-stream", "Last-Event-ID", id), "data: two"); slices.Contains(seen, "data: one") {
		t.Errorf("who comes back sees it twice: %q", seen)
	}
	stopped := make(chan struct{})
	go func() { defer close(stopped); h.Stop() }()
	if rest, err := io.ReadAll(plain); err != nil || string(rest) != "gitroost: the server is stopping; ask again for what follows\n" {
		t.Errorf("%q, %v", rest, err)
	}
	until(events, "event: stopping")
	<-stopped
}
