package acceptance_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// S3-41: a configuration that is read anew holds at once: jobs, rules and what the server says of itself;
// what cannot change is named. Nobody who is connected notices.
func TestReload(t *testing.T) {
	t.Parallel()
	alice, mallory := housetest.NewKey(t), housetest.NewKey(t)
	h := housetest.Start(t, func(c *config.Config) { c.Admin.Listen = "127.0.0.1:0" })
	c := h.Dial()
	w := h.Served(c, alice, "demo", h.Clock.Now().Unix())
	spam := mallory.Sign(1621, h.Clock.Now().Unix(), "buy this", []string{"a", "30617:" + alice.Pub + ":demo"})
	c.Must(spam)
	c.Shows(spam)

	changed, held := h.Reload(func(c *config.Config) {
		c.Name, c.Listen, c.Limits.Event = "another house", "127.0.0.1:1", 5000
		c.Repos.Deny = append(c.Repos.Deny, alice.Npub+"/secret")
		c.Authors.Deny = append(c.Authors.Deny, grasp.PubKey(mallory.Pub))
		c.Quota.Repos = 1
		housetest.WithJobs("jobs:\n  - {name: made, repos: [\"*/*\"], on: {push: {}}, exec: {run: [\"true\"], workdir: empty}}\n")(c)
	})
	for _, name := range []string{"name", "repos.deny", "authors.deny", "quota.repos"} {
		if !slices.Contains(changed, name) {
			t.Errorf("%s did not change: %v", name, changed)
		}
	}
	slices.Sort(held)
	if !slices.Equal(held, []string{"limits.event", "listen"}) {
		t.Errorf("held back: %v", held)
	}
	c.Hides(spam)                                                  // what is denied now goes
	c.Refused(h.Announcement(alice, "secret", 0), "restricted:")   // rules
	c.Refused(h.Announcement(alice, "one-more", 0), "restricted:") // quotas
	c.Refused(mallory.Sign(1, h.Clock.Now().Unix(), "hello"), "")  // keys
	if _, body := h.Get("/", "Accept", "application/nostr+json"); !strings.Contains(body, `"another house"`) {
		t.Errorf("the document has the old name: %s", body)
	}
	if _, body := h.Get("/"); !strings.Contains(body, "another house") {
		t.Error("the page has the old name")
	}
	if n := h.Metric(`gitroost_config_reloads_total{outcome="ok"}`); n != 1 {
		t.Errorf("%v reloads are counted", n)
	}
	if n := h.Metric("gitroost_config_last_reload_successful"); n != 1 {
		t.Errorf("the last one went well: %v", n)
	}

	// Jobs: what is pushed from now on makes them.
	tip := w.Commit()
	c.Must(alice.State("demo", h.Clock.Now().Unix()+1, "main="+tip))
	w.Git("push", "-q", h.Repo(alice, "demo"), "main")
	if list := h.Made("made", 1); list[0].Name != "made" {
		t.Errorf("%+v", list)
	}
	// And back: nothing is left of it.
	h.Reload(func(c *config.Config) { c.Jobs, c.Authors.Deny, c.Repos.Deny, c.Quota.Repos = nil, nil, nil, 0 })
	c.Must(h.Announcement(alice, "secret", 0))
	if resp, _ := h.Get("/health"); resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
}

// S3-41: a schedule that the file got while the server runs is kept.
func TestReloadOfSchedules(t *testing.T) {
	t.Parallel()
	alice := housetest.NewKey(t)
	h := housetest.Start(t)
	h.Served(h.Dial(), alice, "demo", h.Clock.Now().Unix())
	h.Reload(housetest.WithJobs("jobs:\n  - {name: nightly, repos: [\"*/*\"], on: {schedule: \"0 3 * * *\"}, exec: {run: [\"true\"], workdir: empty}}\n"))
	addr := grasp.Addr{Owner: grasp.PubKey(alice.Pub), ID: "demo"}
	housetest.Within(t, housetest.Wait, "the schedule is known", func() bool {
		at, err := h.Jobs().Shelf().Scheduled(t.Context(), addr, "nightly")
		return err == nil && !at.IsZero()
	})
}
