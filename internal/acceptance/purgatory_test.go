package acceptance_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// checks 173, 261, G01-402, G01-403: what waited half an hour is let go, and may begin again.
func TestPurgatoryEnds(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, other, c1 := h.Repo(owner, "tool"), h.Repo(owner, "other"), w.Git("rev-parse", "main")
	state := owner.State("tool", at+1, "main="+w.Commit())
	announcement := h.Announcement(owner, "other", at)
	pull := owner.Pull("tool", w.Git("rev-parse", "main"), owner)
	c.Held(state, announcement, pull)
	h.Lives(other)
	folders := func() int {
		found, err := filepath.Glob(filepath.Join(h.Data(), "git", "*", "*.git"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}

	h.Clock.Advance(29 * time.Minute)
	h.Sweep()
	h.Lives(other)
	c.Held(state, announcement, pull) // still waiting: the note is repeated, the time is not
	h.Clock.Advance(time.Minute + time.Second)
	h.Sweep()
	h.Gone(other)
	if n := folders(); n != 1 {
		t.Errorf("%d repositories are on disk, want the served one", n)
	}
	w.Fails("[remote rejected]", "push", repo, "main")
	w.Fails("not found", "push", other, "main")
	c.Hides(state, announcement, pull)
	housetest.Refs(t, repo, "main="+c1)

	c.Held(state, announcement)
	h.Lives(other)
	w.Git("push", "-q", repo, "main")
	c.Shows(state)
	// The pull request's commit has come with the state.
	if ok, msg := c.Publish(pull); !ok || msg != "" {
		t.Errorf("the pull request: OK %v %q", ok, msg)
	}
	c.Shows(pull)
}

// check 174, G01-312: a state gives its announcement another half hour.
func TestPurgatoryIsExtendedByStates(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, owner, m1, at := h.Dial(), housetest.NewKey(t), housetest.NewKey(t), past()
	repo := h.Repo(owner, "tool")
	c.Held(h.Announcement(owner, "tool", at, housetest.Maintainers(m1)))
	h.Clock.Advance(25 * time.Minute)
	w := housetest.NewCopy(t)
	state := m1.State("tool", at, "main="+w.Commit())
	c.Held(state)
	h.Clock.Advance(29 * time.Minute)
	h.Sweep()
	h.Lives(repo)
	h.Clock.Advance(time.Minute + time.Second)
	h.Sweep()
	h.Gone(repo)

	// It does not go on for ever: a day is the most.
	c.Held(h.Announcement(owner, "tool", at, housetest.Maintainers(m1)))
	for i := range 24 * 60 / 25 {
		h.Clock.Advance(25 * time.Minute)
		h.Sweep()
		if ok, msg := c.Publish(m1.State("tool", at+int64(i), "main="+missing)); !ok {
			t.Fatalf("after %d minutes: %s", 25*(i+1), msg)
		}
	}
	h.Lives(repo)
	h.Clock.Advance(20 * time.Minute)
	h.Sweep()
	h.Gone(repo)
}

// check 175, G01-405: killed at any moment, the house still knows what waits, and for how long.
func TestPurgatorySurvivesKill(t *testing.T) {
	housetest.BeVictim(t, func(data string) *housetest.House {
		return housetest.Start(t, func(cfg *config.Config) { cfg.Data = data })
	})
	t.Parallel()
	data := t.TempDir()
	victim := housetest.StartVictim(t, "TestPurgatorySurvivesKill", data)
	c, owner, at := victim.Dial(), housetest.NewKey(t), past()
	w := victim.Served(c, owner, "tool", at)
	c1 := w.Git("rev-parse", "main")
	state := owner.State("tool", at+1, "main="+w.Commit())
	announcement, late := victim.Announcement(owner, "other", at), victim.Announcement(owner, "late", at)
	pr := w.Git("commit-tree", "-m", "change", "-p", c1, "HEAD^{tree}")
	later := w.Git("commit-tree", "-m", "later", "-p", pr, "HEAD^{tree}")
	pull := owner.Pull("tool", later, owner)
	gone := issue(owner, owner, "tool", "deleted")
	c.Must(gone, owner.Deletion(0, nostr.Tag{"e", gone.ID}))
	orphan := "refs/nostr/" + strings.Repeat("b", 64)
	w.Git("push", "-q", victim.Repo(owner, "tool"), pr+":"+orphan)
	c.Held(state, announcement, late, pull)
	victim.Kill()

	h := housetest.Start(t, func(cfg *config.Config) { cfg.Data, cfg.Listen = data, victim.Host })
	c = h.Dial()
	h.Lives(h.Repo(owner, "other"))
	housetest.Refs(t, h.Repo(owner, "tool"), "main="+c1, orphan+"="+pr)
	c.Hides(state, announcement, pull)
	c.Refused(gone, "blocked: ")
	h.Clock.Advance(19 * time.Minute)
	h.Sweep()
	housetest.Refs(t, h.Repo(owner, "tool"), "main="+c1, orphan+"="+pr)
	h.Clock.Advance(61 * time.Second)
	h.Sweep()
	housetest.Refs(t, h.Repo(owner, "tool"), "main="+c1)
	h.Clock.Advance(9 * time.Minute)
	h.Sweep()
	w.Git("push", "-q", h.Repo(owner, "tool"), "main", later+":refs/nostr/"+pull.ID)
	c.Shows(state, pull)
	c.Held(owner.State("other", at, "main="+c1))
	w.Git("push", "-q", h.Repo(owner, "other"), c1+":refs/heads/main")
	c.Shows(announcement)
	h.Lives(h.Repo(owner, "late"))
	h.Clock.Advance(time.Minute)
	h.Sweep()
	h.Gone(h.Repo(owner, "late"))
}

// check 176, G01-406: nobody sees an event before what it names can be fetched.
func TestPurgatoryReleasesRefsFirst(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	for i := range 5 {
		id := fmt.Sprint("tool", i)
		repo := h.Repo(owner, id)
		w.Commit()
		w.Git("tag", "-f", "v"+fmt.Sprint(i))
		state := owner.State(id, at, "main="+w.Git("rev-parse", "main"), "refs/tags/v"+fmt.Sprint(i)+"="+w.Git("rev-parse", "main"))
		announcement := h.Announcement(owner, id, at)
		c.Held(announcement, state)
		want := w.Git("rev-parse", "main") + " refs/heads/main\n"
		var wg sync.WaitGroup
		for _, ev := range []*nostr.Event{announcement, state} {
			eye := h.Dial()
			wg.Go(func() {
				tick := time.NewTicker(time.Millisecond)
				defer tick.Stop()
				for deadline := time.Now().Add(housetest.Wait); time.Now().Before(deadline); <-tick.C {
					if len(eye.Query(nostr.Filter{IDs: []string{ev.ID}})) == 0 {
						continue
					}
					if _, body := h.Get(repo + "/info/refs?service=git-upload-pack"); !strings.Contains(body, want) {
						t.Errorf("kind %d is served, and its repository advertises %q", ev.Kind, body)
					}
					return
				}
				t.Errorf("kind %d was never served", ev.Kind)
			})
		}
		w.Git("push", "-q", repo, "main", "v"+fmt.Sprint(i))
		wg.Wait()
	}
}

// check 177, G01-407: what waits is no anchor.
func TestPurgatoryIsNoAnchor(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, owner, x, at := h.Dial(), housetest.NewKey(t), housetest.NewKey(t), past()
	announcement := h.Announcement(owner, "tool", at)
	c.Held(announcement)
	early := issue(x, owner, "tool", "too early")
	for _, ev := range []*nostr.Event{
		early,
		x.Sign(1111, 0, "x", nostr.Tag{"A", housetest.Coordinate(owner, "tool")}),
		x.Sign(1, 0, "x", nostr.Tag{"q", housetest.Coordinate(owner, "tool")}),
		x.Sign(7, 0, "+", nostr.Tag{"e", announcement.ID}),
	} {
		c.Refused(ev, "blocked: event must reference an accepted repository or accepted event")
		c.Hides(ev)
	}
	w := housetest.NewCopy(t)
	c.Held(owner.State("tool", at, "main="+w.Commit()))
	w.Git("push", "-q", h.Repo(owner, "tool"), "main")
	c.Shows(early) // G01-805
}

// check 178, G01-408, G01-110: one key cannot fill the place.
func TestPurgatoryIsBounded(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, flood, other, at := h.Dial(), housetest.NewKey(t), housetest.NewKey(t), past()
	limit := config.Default().Limits.WaitingPerKey
	for i := range limit {
		c.Held(h.Announcement(flood, fmt.Sprint("r", i), at))
	}
	c.Refused(h.Announcement(flood, "more", at), "rate-limited: ")
	h.Gone(h.Repo(flood, "more"))
	c.Refused(flood.State("r1", at, "main="+missing), "rate-limited: ")
	c.Held(h.Announcement(other, "tool", at))
	for i := range limit { // nothing was pushed out to make room
		h.Lives(h.Repo(flood, fmt.Sprint("r", i)))
	}
	c.Held(h.Announcement(flood, "r1", at+1)) // it may still correct itself
	h.Clock.Advance(31 * time.Minute)
	h.Sweep()
	c.Held(h.Announcement(flood, "more", at))
}

// checks 179, 269, N-032, N-034, G01-903: a deleted state permits nothing, from the OK on.
func TestPurgatoryStateIsDeleted(t *testing.T) {
	t.Parallel()
	for name, tag := range map[string]func(owner *housetest.Key, ev *nostr.Event) nostr.Tag{
		"by id":         func(_ *housetest.Key, ev *nostr.Event) nostr.Tag { return nostr.Tag{"e", ev.ID} },
		"by coordinate": func(k *housetest.Key, _ *nostr.Event) nostr.Tag { return nostr.Tag{"a", "30618:" + k.Pub + ":tool"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, c, owner, w, at := settled(t)
			repo, m1, c1 := h.Repo(owner, "tool"), housetest.NewKey(t), w.Git("rev-parse", "main")
			c.Accepted(h.Announcement(owner, "tool", at+1, housetest.Maintainers(m1)))
			state := m1.State("tool", at+10, "main="+w.Commit())
			c.Held(state)
			// Deleting the announcement's coordinate of oneself, or somebody else's state, changes nothing.
			c.Accepted(m1.Deletion(at+20, nostr.Tag{"a", housetest.Coordinate(m1, "tool")}))
			c.Accepted(owner.Deletion(at+5, nostr.Tag{"a", "30618:" + m1.Pub + ":tool"}))
			h.Dial().Must(m1.Deletion(at+20, tag(m1, state)))
			w.Fails("[remote rejected]", "push", repo, "main")
			c.Hides(state)
			c.Refused(state, "blocked: ")
			housetest.Refs(t, repo, "main="+c1)
		})
	}
}

// check 180, G01-905: the ref of a deleted pull request goes when its time has come.
func TestPurgatoryOfDeletedPull(t *testing.T) {
	t.Parallel()
	h, c, owner, w, _ := settled(t)
	repo, p, c1 := h.Repo(owner, "tool"), housetest.NewKey(t), w.Git("rev-parse", "main")
	tip := w.Commit()
	pull := p.Pull("tool", tip, owner)
	c.Held(pull)
	ref := "refs/nostr/" + pull.ID
	w.Git("push", "-q", repo, "main:"+ref)
	c.Shows(pull)
	c.Accepted(p.Deletion(0, nostr.Tag{"e", pull.ID}))
	c.Hides(pull)
	h.Clock.Advance(19 * time.Minute)
	h.Sweep()
	housetest.Refs(t, repo, "main="+c1, ref+"="+tip)
	h.Clock.Advance(time.Minute + time.Second)
	h.Sweep()
	housetest.Refs(t, repo, "main="+c1)
	c.Refused(pull, "blocked: ")
}

// check 260, G01-404: what a push relies on stays until the push is through.
func TestPurgatoryWaitsForAPush(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, owner, at := h.Dial(), housetest.NewKey(t), past()
	w := housetest.NewCopy(t)
	noise := make([]byte, 600<<10)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(noise)
	announcement, state := h.Announcement(owner, "tool", at), owner.State("tool", at, "main="+w.CommitFile("noise", noise))
	c.Held(announcement, state)
	h.Clock.Advance(29 * time.Minute)
	h.Sweep()

	link := h.Link(400 << 10)
	done := make(chan error, 1)
	var out string
	go func() {
		var err error
		out, err = housetest.Git(t, w.Dir, "push", strings.Replace(h.Repo(owner, "tool"), h.URL, link.URL, 1), "main")
		done <- err
	}()
	// A third of the pack has gone through the link: the push was let in long before.
	for deadline := time.Now().Add(housetest.Wait); len(link.Sent()) < 200<<10; {
		select {
		case err := <-done:
			t.Fatalf("the push ended too early: %v\n%s", err, out)
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("the push does not get on")
		}
	}
	link.Hold() // until the sweep is over, however long that takes
	h.Clock.Advance(5 * time.Minute)
	h.Sweep()
	select {
	case <-done:
		t.Fatal("the push was over before the sweep: make it larger")
	default:
	}
	link.Release()
	if err := <-done; err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	c.Shows(announcement, state)
	housetest.Refs(t, h.Repo(owner, "tool"), "main="+w.Git("rev-parse", "main"))
}
