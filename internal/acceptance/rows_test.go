package acceptance_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/internal/housetest"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobview"
)

// S0-01: a push is answered while its job runs, which takes ten minutes. S0-07: two pushes, one right after the
// other, have two jobs, and a repository called a-b-c shows as that, everywhere. S0-34: so does the job's name, in
// lists, on its page and in what people are told.
func TestTwoPushesAtOnce(t *testing.T) {
	phone := listen(t)
	h := jobsFrom(t, `
jobs_engine: {reach: [127.0.0.0/8], per_repo: 8, per_owner: 8, workers: 8}
targets:
  phone: {ntfy: $PHONE/t}
jobs:
  - {name: long-one, repos: ['*/*'], on: {push: {}}, exec: {run: [sleep, '600'], workdir: empty, sandbox: plain}, concurrency: {policy: all}, retry: {max: 0}}
  - {name: short-one, repos: ['*/*'], on: {push: {}}, exec: {run: ['true'], workdir: empty, sandbox: plain}, concurrency: {policy: all}, notify: {to: [phone], on: [success]}}
`, map[string]string{"PHONE": phone.url})
	alice, c := housetest.NewKey(t), h.Dial()
	now := h.Clock.Now().Unix() - 100
	w := h.Served(c, alice, "a-b-c", now)
	tips := []string{strings.TrimSpace(w.Git("rev-parse", "HEAD"))}
	said := ""
	for range 2 {
		now++
		tips = append(tips, strings.TrimSpace(w.Commit()))
		c.Must(alice.State("a-b-c", now, "main="+tips[len(tips)-1]))
		said = w.Git("push", h.Repo(alice, "a-b-c"), "main")
	}
	housetest.Within(t, housetest.Wait, "they run", func() bool {
		return !slices.ContainsFunc(h.Made("long-one", 3), func(j jobs.Job) bool { return j.State != jobs.Running })
	})
	ids, pushes, of := map[jobs.ID]bool{}, map[string]bool{}, map[string]bool{}
	for _, j := range h.Made("long-one", 3) {
		ids[j.ID], pushes[j.Push], of[string(j.New)] = true, true, true
	}
	if len(ids) != 3 || len(pushes) != 3 || !slices.Equal(slices.Sorted(maps.Keys(of)), slices.Sorted(slices.Values(tips))) {
		t.Errorf("jobs %v of pushes %v of commits %v, want %v", ids, pushes, of, tips)
	}
	name := alice.Npub + "/a-b-c"
	resp, body := h.Get("/jobs.json?name=long-one&repo=" + name)
	var page jobview.Page
	if err := json.Unmarshal([]byte(body), &page); err != nil || len(page.Jobs) != 3 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	for _, j := range page.Jobs {
		if j.Repo != name || j.Name != "long-one" || j.State != "running" {
			t.Errorf("%+v", j)
		}
	}
	for _, path := range []string{"/jobs?repo=" + name, "/jobs/" + string(page.Jobs[0].ID)} {
		if resp, body := h.Get(path, "Accept", "text/html"); resp.StatusCode != 200 || !strings.Contains(body, "long-one") || !strings.Contains(body, "a-b-c") {
			t.Errorf("%s: %d %.2000s", path, resp.StatusCode, body)
		}
	}
	if !strings.Contains(said, "job long-one "+string(h.Made("long-one", 3)[2].ID)) {
		t.Errorf("whoever pushed was told %s", said)
	}
	for range 3 {
		if title, _ := phone.next().json(t)["title"].(string); !strings.Contains(title, "short-one") || !strings.Contains(title, "a-b-c") {
			t.Errorf("people are told of %q", title)
		}
	}
	for id := range ids {
		if _, err := h.Jobs().Cancel(t.Context(), id, "the test is over"); err != nil {
			t.Fatal(err)
		}
	}
	h.Worked()
}
