package acceptance_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

const kib = 1 << 10

func quotas(change func(*config.Quota)) func(*config.Config) {
	return func(c *config.Config) {
		c.Admin.Listen = "127.0.0.1:0"
		change(&c.Quota)
	}
}

// static adds a commit of n bytes that nothing makes smaller.
func static(t *testing.T, w *housetest.Copy, n int) string {
	t.Helper()
	b := make([]byte, n)
	rand.Read(b)
	return w.CommitFile("noise", b)
}

// onDisk adds up the packs of all repositories of an owner.
func onDisk(t *testing.T, data string, owner *housetest.Key) (n int64) {
	t.Helper()
	for _, ext := range []string{"*.pack", "*.idx"} {
		list, err := filepath.Glob(filepath.Join(data, "git", owner.Npub, "*", "objects", "pack", ext))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range list {
			fi, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			n += fi.Size()
		}
	}
	return n
}

// G01-109, H-246: a push that is over the quota is refused with the numbers, where a person sees them;
// nobody else feels it; deleting makes room again.
func TestQuota(t *testing.T) {
	t.Parallel()
	bob := housetest.NewKey(t)
	h := housetest.Start(t, quotas(func(q *config.Quota) {
		q.Bytes, q.Overrides = 300*kib, map[grasp.PubKey]int64{grasp.PubKey(bob.Pub): 0}
	}))
	c, alice, at := h.Dial(), housetest.NewKey(t), past()
	w := h.Served(c, alice, "tool", at)
	repo := h.Repo(alice, "tool")
	kept := w.Git("rev-parse", "main")
	refusals := 0
	for i := 1; refusals == 0; i++ {
		oid := static(t, w, 100*kib)
		c.Held(alice.State("tool", at+int64(i), "main="+oid))
		if out, err := housetest.Git(t, w.Dir, "push", repo, "main"); err == nil {
			kept = oid
			continue
		} else if i < 3 {
			t.Fatalf("push %d: %s", i, out)
		} else {
			refusals++
			for _, want := range []string{
				"remote: push refused: quota: 20", " of 300 KiB used, this push adds more than ",
				"remote: hint: all repositories of their owner count together",
				"remote: hint: delete a repository",
				"error: remote unpack failed: quota: 20", " ! [remote rejected] main -> main (quota: 20",
			} {
				if !strings.Contains(out, want) {
					t.Errorf("the terminal does not show %q:\n%s", want, out)
				}
			}
		}
	}
	housetest.Refs(t, repo, "main="+kept)
	q := h.Quota(alice)
	if q.Bytes != onDisk(t, h.Data(), alice) || q.BytesLimit != 300*kib || q.Repos != 1 || q.ReposLimit != 1000 || q.Bytes < 200*kib {
		t.Errorf("the operator is told %+v, and on disk are %d bytes", q, onDisk(t, h.Data(), alice))
	}
	if n := h.Metric(`gitroost_quota_refusals_total{what="push"}`); n != 1 {
		t.Errorf("%v refusals are counted", n)
	}
	if n := h.Metric("gitroost_quota_stored_bytes"); n != float64(q.Bytes) {
		t.Errorf("%v bytes are stored, of which alice has %d", n, q.Bytes)
	}

	// Bob may have as much as he wants.
	bobs := h.Served(c, bob, "tool", at)
	c.Held(bob.State("tool", at+1, "main="+static(t, bobs, 1<<20)))
	bobs.Git("push", "-q", h.Repo(bob, "tool"), "main")

	// What is here may be pointed at: no object is needed, and nothing is sent.
	first := w.Git("rev-list", "--max-parents=0", "main")
	c.Accepted(alice.State("tool", at+20, "main="+kept, "old="+first))
	c.Accepted(alice.State("tool", at+21, "main="+kept))
	housetest.Refs(t, repo, "main="+kept)

	// A second repository shares the room of the first; without the first there is enough.
	other := housetest.NewCopy(t)
	oid := static(t, other, 150*kib)
	c.Held(h.Announcement(alice, "other", at), alice.State("other", at, "main="+oid))
	other.Fails("quota: ", "push", h.Repo(alice, "other"), "main")
	c.Must(alice.Deletion(at+30, nostr.Tag{"a", housetest.Coordinate(alice, "tool")}))
	h.Gone(repo)
	other.Git("push", "-q", h.Repo(alice, "other"), "main")
	housetest.Refs(t, h.Repo(alice, "other"), "main="+oid)
}

// H-246: with nothing left the first line of the report says so, before the pack is looked at.
func TestQuotaIsFull(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, quotas(func(q *config.Quota) {}))
	c, alice, at := h.Dial(), housetest.NewKey(t), past()
	w := h.Served(c, alice, "tool", at)
	h.Change(func(cfg *config.Config) { cfg.Quota.Bytes = kib })
	c = h.Dial()
	oid := w.Commit()
	c.Held(alice.State("tool", at+1, "main="+oid))
	used := grasp.Bytes(onDisk(t, h.Data(), alice))
	want := "quota: " + used + " of 1 KiB used"
	r := h.RefusePush(h.Repo(alice, "tool"), "PACK and then nonsense", want, w.Git("rev-parse", "main~")+" "+oid+" refs/heads/main")
	if r.Unpack != want || r.Refs["refs/heads/main"] != want || !strings.Contains(r.Words, "push refused: "+want+"\n") {
		t.Errorf("%+v", r)
	}
	h.Change(func(cfg *config.Config) { cfg.Quota.Bytes = 0 })
	w.Git("push", "-q", h.Repo(alice, "tool"), "main")
}

// G01-109: the number of repositories has a bound, and the document of the relay says so.
func TestQuotaOfRepositories(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, quotas(func(q *config.Quota) { q.Repos, q.Bytes, q.RepoBytes = 2, 5<<20, 3<<20 }))
	c, alice, bob, at := h.Dial(), housetest.NewKey(t), housetest.NewKey(t), past()
	_, body := h.Get("/", "Accept", "application/nostr+json")
	var doc struct {
		Criteria string `json:"repo_acceptance_criteria"`
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil || doc.Criteria != "Of one owner at most 2 repositories, 5 MiB and 3 MiB in one repository." {
		t.Errorf("criteria %q, %v", doc.Criteria, err)
	}
	c.Held(h.Announcement(alice, "a", at), h.Announcement(alice, "b", at))
	third := h.Announcement(alice, "c", at)
	if ok, msg := c.Publish(third); ok || msg != "restricted: quota: 2 of 2 repositories used" {
		t.Errorf("got OK %v %q", ok, msg)
	}
	h.Gone(h.Repo(alice, "c"))
	c.Held(h.Announcement(bob, "c", at), h.Announcement(alice, "b", at+1))
	c.Must(alice.Deletion(at+2, nostr.Tag{"a", housetest.Coordinate(alice, "a")}))
	c.Held(third)
}

// Repositories of one owner cannot share the same room, however close their pushes come.
func TestQuotaConcurrently(t *testing.T) {
	t.Parallel()
	const n, fit = 6, 2
	h := housetest.Start(t, quotas(func(q *config.Quota) { q.Bytes = (fit*100 + 60) * kib }))
	c, alice, at := h.Dial(), housetest.NewKey(t), past()
	copies := make([]*housetest.Copy, n)
	for i := range n {
		id := fmt.Sprintf("r%d", i)
		copies[i] = housetest.NewCopy(t)
		oid := static(t, copies[i], 100*kib)
		c.Held(h.Announcement(alice, id, at), alice.State(id, at, "main="+oid))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	went := 0
	for i := range n {
		wg.Go(func() {
			out, err := housetest.Git(t, copies[i].Dir, "push", h.Repo(alice, fmt.Sprintf("r%d", i)), "main")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				went++
			case !strings.Contains(out, "(quota: "):
				t.Errorf("push %d: %s", i, out)
			}
		})
	}
	wg.Wait()
	q := h.Quota(alice)
	if went > fit || q.Bytes > q.BytesLimit || q.Bytes != onDisk(t, h.Data(), alice) {
		t.Errorf("%d pushes went through; %+v; on disk are %d", went, q, onDisk(t, h.Data(), alice))
	}
	for i := 0; i < n && went < fit; i++ { // each was in the others' way: now nobody is
		if _, err := housetest.Git(t, copies[i].Dir, "push", h.Repo(alice, fmt.Sprintf("r%d", i)), "main"); err == nil {
			went++
		}
	}
	if went < fit {
		t.Errorf("only %d pushes found room", went)
	}
}

// The numbers are those of the disk after a kill, and after somebody meddled while nobody was looking.
func TestQuotaSurvivesKill(t *testing.T) {
	quota := quotas(func(q *config.Quota) { q.Bytes = 250 * kib })
	housetest.BeVictim(t, func(data string) *housetest.House {
		return housetest.Start(t, func(cfg *config.Config) { cfg.Data = data }, quota)
	})
	t.Parallel()
	data := t.TempDir()
	victim := housetest.StartVictim(t, "TestQuotaSurvivesKill", data)
	c, alice, at := victim.Dial(), housetest.NewKey(t), past()
	w := victim.Served(c, alice, "tool", at)
	oid := static(t, w, 100*kib)
	c.Held(alice.State("tool", at+1, "main="+oid))
	w.Git("push", "-q", victim.Repo(alice, "tool"), "main")
	next := static(t, w, 200*kib)
	c.Held(alice.State("tool", at+2, "main="+next))
	victim.Kill()

	h := housetest.Start(t, func(cfg *config.Config) { cfg.Data, cfg.Listen = data, victim.Host }, quota)
	if q := h.Quota(alice); q.Bytes != onDisk(t, data, alice) || q.Bytes < 100*kib {
		t.Errorf("after the kill %+v, on disk %d", q, onDisk(t, data, alice))
	}
	w.Fails("quota: 10", "push", h.Repo(alice, "tool"), "main")

	h.Restart(func(string) { // the disk was restored without its objects
		list, _ := filepath.Glob(filepath.Join(data, "git", alice.Npub, "*", "objects", "pack", "*"))
		for _, path := range list {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	})
	h.Sweep()
	if q := h.Quota(alice); q.Bytes != 0 {
		t.Errorf("nothing is on disk, and %+v", q)
	}
}

// G01-109, H-254: pull requests of strangers do not eat the owner's room, and have a bound.
func TestQuotaOfPullRequests(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, quotas(func(q *config.Quota) { q.Bytes, q.PRBytes = 200*kib, 150*kib }))
	c, alice, at := h.Dial(), housetest.NewKey(t), past()
	w := h.Served(c, alice, "tool", at)
	main := w.Git("rev-parse", "main")
	repo := h.Repo(alice, "tool")
	push := func(n int) error {
		static(t, w, 100*kib)
		out, err := housetest.Git(t, w.Dir, "push", repo, "HEAD:refs/nostr/"+strings.Repeat(fmt.Sprint(n), 64))
		if err != nil && !strings.Contains(out, "quota: 10") {
			t.Fatal(out)
		}
		w.Git("reset", "-q", "--hard", main)
		return err
	}
	if err := push(1); err != nil {
		t.Fatal(err)
	}
	if err := push(2); err == nil {
		t.Error("a second pull request found room")
	}
	oid := static(t, w, 150*kib)
	c.Held(alice.State("tool", at+1, "main="+oid))
	w.Git("push", "-q", repo, "main")
	if q := h.Quota(alice); q.Bytes+q.PRBytes != onDisk(t, h.Data(), alice) || q.PRBytes < 100*kib || q.Bytes < 150*kib {
		t.Errorf("%+v, on disk %d", q, onDisk(t, h.Data(), alice))
	}
}

// The operator is told who keeps most; others are told nothing.
func TestQuotaForTheOperator(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, quotas(func(*config.Quota) {}))
	c, alice, bob, at := h.Dial(), housetest.NewKey(t), housetest.NewKey(t), past()
	h.Served(c, alice, "tool", at)
	w := h.Served(c, bob, "tool", at)
	c.Held(bob.State("tool", at+1, "main="+static(t, w, 50*kib)))
	w.Git("push", "-q", h.Repo(bob, "tool"), "main")
	var all struct {
		Bytes   int64
		Holders []struct {
			Npub  string
			Bytes int64
		}
	}
	resp, body := h.Operator("/quota")
	if err := json.NewDecoder(bytes.NewReader([]byte(body))).Decode(&all); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if len(all.Holders) != 2 || all.Holders[0].Npub != bob.Npub || all.Holders[1].Npub != alice.Npub || all.Bytes != all.Holders[0].Bytes+all.Holders[1].Bytes {
		t.Errorf("%s", body)
	}
	if resp, body := h.Operator("/quota?npub=alice"); resp.StatusCode != 400 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, _ := h.Get("/quota"); resp.StatusCode != 404 {
		t.Errorf("the public listener answers %d", resp.StatusCode)
	}
}

// check 279, G06-13: a submitter who is over the quota is told so; others are not concerned, nor is the
// room of the owner to whom the pull requests go.
func TestQuotaOfSubmitters(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, housetest.WithBoxes, quotas(func(q *config.Quota) {
		q.SubmitterBytes, q.SubmitterRepos, q.SubmitterRefs = 150*kib, 2, 3
	}))
	carol, dave := housetest.NewKey(t), housetest.NewKey(t)
	w := housetest.NewCopy(t)
	first := static(t, w, 100*kib)
	second := static(t, w, 100*kib)
	n := 0
	ref := func() string { n++; return ":refs/nostr/" + strings.Repeat(fmt.Sprint(n), 64) }
	w.Git("push", "-q", h.Box(carol, "tool"), first+ref())
	out := w.Fails("(limit: 10", "push", h.Box(carol, "tool"), second+ref())
	if !strings.Contains(out, " of 150 KiB used") {
		t.Errorf("the numbers are missing:\n%s", out)
	}
	w.Fails("(limit: 10", "push", h.Box(carol, "other"), second+ref())
	w.Git("push", "-q", h.Box(dave, "tool"), first+ref())
	w.Git("push", "-q", h.Box(carol, "tool"), first+ref(), first+ref())
	w.Fails("(limit: 3 of 3 refs used)", "push", h.Box(carol, "tool"), first+ref())
	if q := h.Quota(carol); q.BoxRefs != 3 || q.Boxes != 1 || q.BoxBytes < 100*kib || q.Bytes != 0 || q.Repos != 0 {
		t.Errorf("%+v", q)
	}
}

// Hardening §10: spam by way of what is related to something served ends at a bound, for everybody in
// that thread, and nowhere else.
func TestQuotaOfEvents(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, quotas(func(q *config.Quota) { q.ThreadEvents, q.KeyEvents = 3, 5 }))
	c, alice, at := h.Dial(), housetest.NewKey(t), past()
	h.Served(c, alice, "tool", at)
	bob := housetest.NewKey(t)
	thread := issue(bob, alice, "tool", "it fails")
	c.Must(thread)
	answer := func(k *housetest.Key, to *nostr.Event) *nostr.Event {
		return k.Sign(1111, 0, "words", nostr.Tag{"e", to.ID})
	}
	last := thread
	for range 3 {
		last = answer(housetest.NewKey(t), last)
		c.Must(last)
	}
	if ok, msg := c.Publish(answer(housetest.NewKey(t), last)); ok || msg != "restricted: quota: 3 of 3 events in this thread are kept here" {
		t.Errorf("OK %v %q", ok, msg)
	}
	for i := range 4 {
		c.Must(issue(bob, alice, "tool", fmt.Sprint("and this fails ", i)))
	}
	sixth := issue(bob, alice, "tool", "and everything fails")
	if ok, msg := c.Publish(sixth); ok || msg != "restricted: quota: 5 of 5 events of this key are kept here" {
		t.Errorf("OK %v %q", ok, msg)
	}
	c.Must(issue(alice, alice, "tool", "bob, please"), bob.Deletion(0, nostr.Tag{"e", thread.ID}))
	c.Must(sixth)
	if n := h.Metric(`gitroost_quota_refusals_total{what="event"}`); n != 2 {
		t.Errorf("%v refusals are counted", n)
	}
}
