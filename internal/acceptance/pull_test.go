package acceptance_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/housetest"
)

// contributor is a clone of repo with a commit on each of the named branches.
func contributor(t *testing.T, repo string, branches ...string) (w *housetest.Copy, tips []string) {
	t.Helper()
	w = housetest.Clone(t, repo)
	for _, b := range branches {
		tips = append(tips, branch(w, b))
	}
	return w, tips
}

// check 200, G01-701, G01-706: a PR ref may come before its event; the last push of it counts.
func TestPullRefBeforeItsEvent(t *testing.T) {
	t.Parallel()
	h, _, owner, main, _ := settled(t)
	repo, ref := h.Repo(owner, "tool"), housetest.PullRef(unusedID(t))
	w, tips := contributor(t, repo, "p1", "p2")
	served := "main=" + main.Git("rev-parse", "main")
	w.Git("push", "-q", repo, "p1:"+ref)
	housetest.Refs(t, repo, served, ref+"="+tips[0])
	w.Fails("[rejected]", "push", repo, "p2:"+ref) // git's own objection, without force
	w.Git("push", "-q", "-f", repo, "p2:"+ref)
	housetest.Refs(t, repo, served, ref+"="+tips[1])
	// H-207: both services show it, and it can be fetched like any ref.
	_, body := h.Get(repo + "/info/refs?service=git-receive-pack")
	if !strings.Contains(body, tips[1]+" "+ref) {
		t.Errorf("receive-pack does not show the PR ref: %q", body)
	}
	reader := housetest.NewCopy(t)
	reader.Git("fetch", "-q", repo, ref+":refs/heads/review")
	if got := reader.Git("rev-parse", "review"); got != tips[1] {
		t.Errorf("fetched %s, want %s", got, tips[1])
	}
	// What has nothing to do with the repository's history is a commit, too.
	odd := housetest.NewCopy(t)
	oid, other := odd.Commit(), housetest.PullRef(unusedID(t))
	odd.Git("push", "-q", repo, "main:"+other)
	housetest.Refs(t, repo, served, ref+"="+tips[1], other+"="+oid)
}

// check 200, G01-701: it does not matter whether anything was ever pushed.
func TestPullRefInAnEmptyRepository(t *testing.T) {
	t.Parallel()
	h, _, owner, w, _ := announced(t)
	repo, ref, oid := h.Repo(owner, "tool"), housetest.PullRef(unusedID(t)), w.Commit()
	w.Git("push", "-q", repo, "main:"+ref)
	housetest.Refs(t, repo, ref+"="+oid)
	if v0, v2 := h.Heads(repo); v0 != "" || v2 != "" {
		t.Errorf("a PR ref made HEAD %q, %q", v0, v2)
	}
}

// check 201, G01-701: the name ends in an event id and the object is a commit, or it is refused.
func TestPullRefThatIsNone(t *testing.T) {
	t.Parallel()
	h, _, owner, w, _ := settled(t)
	repo, id, oid := h.Repo(owner, "tool"), unusedID(t), w.Commit()
	pack := w.Pack("main")
	for _, name := range []string{
		"123", strings.ToUpper("abcdef" + id[6:]), id[:63], id + "0", id + "/x", "pr/" + id, id[:63] + "g", "pr/x", id + ".lock", "x" + id[1:],
	} {
		ref := "refs/nostr/" + name
		h.RefusePush(repo, pack, ref, housetest.ZeroID+" "+oid+" "+ref)
	}
	for _, name := range []string{"123", id[:63], id + "/x"} {
		w.Fails("refs/nostr/"+name, "push", repo, "main:refs/nostr/"+name)
	}
	w.Git("tag", "-a", "-m", "one", "v1")
	good := housetest.PullRef(id)
	for what, object := range map[string]string{
		"blob": w.Git("rev-parse", "HEAD:file1.txt"), "tree": w.Git("rev-parse", "HEAD^{tree}"), "tag": w.Git("rev-parse", "v1"),
	} {
		r := h.RefusePush(repo, w.Pack(object), "commit", housetest.ZeroID+" "+object+" "+good)
		if len(r.Refs[good]) > 200 {
			t.Errorf("%s: the reason is %q", what, r.Refs[good])
		}
	}
	housetest.Refs(t, repo, "main="+w.Git("rev-parse", "main~1"))
}

// checks 202, 203, G01-702, G01-703: the event says what its ref has to be, and is served with it.
func TestPullEventBeforeItsRef(t *testing.T) {
	t.Parallel()
	h, c, owner, main, _ := settled(t)
	repo, p := h.Repo(owner, "tool"), housetest.NewKey(t)
	w, tips := contributor(t, repo, "p1", "p2")
	listener := h.Dial()
	sub := listener.Subscribe(nostr.Filter{Kinds: []int{grasp.KindPull}})
	listener.Stored(sub)
	pull := p.Pull("tool", tips[0], owner)
	ref, served := housetest.PullRef(pull.ID), "main="+main.Git("rev-parse", "main")
	c.Held(pull)
	c.Hides(pull)
	said := housetest.Undotted(w.Fails(ref, "push", repo, "p2:"+ref))
	if !strings.Contains(said, tips[0][:7]) {
		t.Errorf("the refusal does not say what was expected:\n%s", said)
	}
	housetest.Refs(t, repo, served)
	c.Hides(pull)
	listener.Silent(sub)
	w.Git("push", "-q", repo, "p1:"+ref)
	c.Shows(pull)
	housetest.Same(t, listener.Live(sub), pull)
	listener.Silent(sub)
	housetest.Refs(t, repo, served, ref+"="+tips[0])
	// Served, it still says so.
	w.Fails(ref, "push", "-f", repo, "p2:"+ref)
	w.Git("push", repo, "p1:"+ref)
	housetest.Refs(t, repo, served, ref+"="+tips[0])
	listener.Silent(sub)
}

// check 204, G01-704: a ref that its event contradicts is removed, wherever it is.
func TestPullEventContradictsItsRef(t *testing.T) {
	t.Parallel()
	h, c, owner, main, at := settled(t)
	m1 := housetest.NewKey(t)
	c.Accepted(h.Announcement(m1, "tool", at, housetest.Maintainers(owner)))
	repos := []string{h.Repo(owner, "tool"), h.Repo(m1, "tool")}
	w, tips := contributor(t, repos[0], "p1", "p2")
	pull := housetest.NewKey(t).Pull("tool", tips[0], owner, m1)
	ref, served := housetest.PullRef(pull.ID), "main="+main.Git("rev-parse", "main")
	for _, repo := range repos {
		w.Git("push", "-q", repo, "p2:"+ref)
		housetest.Refs(t, repo, served, ref+"="+tips[1])
	}
	c.Held(pull)
	for _, repo := range repos {
		housetest.Within(t, housetest.Wait, "removal of the ref", func() bool { return housetest.Remote(t, repo)[ref] == "" })
	}
	c.Hides(pull)
	w.Fails(ref, "push", repos[0], "p2:"+ref)
	w.Git("push", "-q", repos[0], "p1:"+ref)
	c.Shows(pull)
	for _, repo := range repos {
		housetest.Refs(t, repo, served, ref+"="+tips[0])
	}
}

// check 204, G01-704: with its commit here already, the ref is put right instead.
func TestPullEventPutsItsRefRight(t *testing.T) {
	t.Parallel()
	h, c, owner, main, _ := settled(t)
	repo, tip := h.Repo(owner, "tool"), main.Git("rev-parse", "main")
	w, _ := contributor(t, repo, "p2")
	pull := housetest.NewKey(t).Pull("tool", tip, owner)
	w.Git("push", "-q", repo, "p2:"+housetest.PullRef(pull.ID))
	c.Accepted(pull)
	housetest.Within(t, housetest.Wait, "the ref at the event's commit", func() bool {
		return housetest.Remote(t, repo)[housetest.PullRef(pull.ID)] == tip
	})
}

// check 205, G01-704: an event whose ref is right is served at once.
func TestPullEventAfterItsRef(t *testing.T) {
	t.Parallel()
	h, c, owner, main, _ := settled(t)
	repo := h.Repo(owner, "tool")
	w, tips := contributor(t, repo, "p1")
	pull := housetest.NewKey(t).Pull("tool", tips[0], owner)
	ref := housetest.PullRef(pull.ID)
	w.Git("push", "-q", repo, "p1:"+ref)
	c.Accepted(pull)
	housetest.Refs(t, repo, "main="+main.Git("rev-parse", "main"), ref+"="+tips[0])
	h.Clock.Advance(time.Hour) // it is no orphan any more
	h.Sweep()
	housetest.Refs(t, repo, "main="+main.Git("rev-parse", "main"), ref+"="+tips[0])
}

// check 206, G01-702: an id that belongs to something else makes no PR ref.
func TestPullRefOfAnotherEvent(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, tip, p := h.Repo(owner, "tool"), w.Git("rev-parse", "main"), housetest.NewKey(t)
	h.Served(c, owner, "other", at)
	ev := issue(p, owner, "tool", "broken")
	elsewhere := p.Pull("other", w.Commit(), owner)
	c.Accepted(ev)
	c.Held(elsewhere)
	pack := w.Pack("main", "^"+tip)
	for what, id := range map[string]string{
		"an issue":                 ev.ID,
		"an announcement":          c.Query(nostr.Filter{Kinds: []int{30617}, Tags: nostr.TagMap{"d": {"tool"}}})[0].ID,
		"a state":                  c.Query(nostr.Filter{Kinds: []int{30618}, Tags: nostr.TagMap{"d": {"tool"}}})[0].ID,
		"a pull request elsewhere": elsewhere.ID,
	} {
		ref := housetest.PullRef(id)
		h.RefusePush(repo, pack, "refs/nostr/", housetest.ZeroID+" "+w.Git("rev-parse", "main")+" "+ref)
		if _, there := housetest.Remote(t, repo)[ref]; there {
			t.Errorf("%s has a PR ref", what)
		}
	}
	housetest.Refs(t, repo, "main="+tip)
}

// check 207, G01-705: the ref is in every repository that the event concerns.
func TestPullInSeveralRepositories(t *testing.T) {
	t.Parallel()
	h, c, owner, main, at := settled(t)
	m1, chief, x := housetest.NewKey(t), housetest.NewKey(t), housetest.NewKey(t)
	c.Accepted(h.Announcement(m1, "tool", at, housetest.Maintainers(owner)), h.Announcement(chief, "tool", at, housetest.Maintainers(owner)))
	h.Served(c, x, "tool", at) // the same name, and nobody in common
	w, tips := contributor(t, h.Repo(owner, "tool"), "p1")
	pull := housetest.NewKey(t).Pull("tool", tips[0], owner, m1)
	c.Held(pull)
	ref, served := housetest.PullRef(pull.ID), "main="+main.Git("rev-parse", "main")
	w.Git("push", "-q", h.Repo(owner, "tool"), "p1:"+ref)
	c.Shows(pull)
	for who, k := range map[string]*housetest.Key{"named": owner, "named too": m1, "of whom a maintainer is named": chief} {
		t.Run(who, func(t *testing.T) {
			housetest.Refs(t, h.Repo(k, "tool"), served, ref+"="+tips[0])
			reader := housetest.Clone(t, h.Repo(k, "tool"))
			reader.Git("fetch", "-q", "origin", ref)
			reader.Git("fsck", "--full", "--strict", "FETCH_HEAD")
		})
	}
	if _, there := housetest.Remote(t, h.Repo(x, "tool"))[ref]; there {
		t.Error("a stranger's repository of the same name has the ref")
	}
}

// check 208, G01-706: nobody deletes a PR ref by pushing.
func TestPullRefIsNotDeleted(t *testing.T) {
	t.Parallel()
	h, c, owner, main, _ := settled(t)
	repo := h.Repo(owner, "tool")
	w, tips := contributor(t, repo, "p1")
	pull := housetest.NewKey(t).Pull("tool", tips[0], owner)
	ref, orphan := housetest.PullRef(pull.ID), housetest.PullRef(unusedID(t))
	c.Held(pull)
	w.Git("push", "-q", repo, "p1:"+ref, "p1:"+orphan)
	for _, r := range []string{ref, orphan} {
		w.Fails(r, "push", repo, ":"+r)
		w.Fails(r, "push", repo, ":"+r, "p1:"+housetest.PullRef(unusedID(t)))
	}
	housetest.Refs(t, repo, "main="+main.Git("rev-parse", "main"), ref+"="+tips[0], orphan+"="+tips[0])
	c.Shows(pull)
	// Deleting what is not there is done already (H-249).
	h.MustPush(repo, "", housetest.ZeroID+" "+housetest.ZeroID+" "+housetest.PullRef(unusedID(t)))
}

// check 209, G01-707: without an event a PR ref is gone after 20 minutes, also when the server was
// not running all the time.
func TestPullRefOrphans(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %v", restart), func(t *testing.T) {
			t.Parallel()
			h, _, owner, main, _ := settled(t)
			repo, served := h.Repo(owner, "tool"), "main="+main.Git("rev-parse", "main")
			w, tips := contributor(t, repo, "p1", "p2")
			pause := func(minutes int) {
				h.Clock.Advance(time.Duration(minutes) * time.Minute)
				if restart {
					h.Restart(nil)
				}
				h.Sweep()
			}
			left, again := housetest.PullRef(unusedID(t)), housetest.PullRef(unusedID(t))
			w.Git("push", "-q", repo, "p1:"+left, "p1:"+again)
			pause(15)
			housetest.Refs(t, repo, served, left+"="+tips[0], again+"="+tips[0])
			w.Git("push", "-q", "-f", repo, "p2:"+again)
			pause(6)
			housetest.Refs(t, repo, served, again+"="+tips[1])
			pause(13)
			housetest.Refs(t, repo, served, again+"="+tips[1])
			pause(2)
			housetest.Refs(t, repo, served)
			// It may come again.
			w.Git("push", "-q", repo, "p1:"+left)
			housetest.Refs(t, repo, served, left+"="+tips[0])
		})
	}
}

// check 210, G01-707, G01-710: with its event served, a PR ref stays.
func TestPullRefStaysWithItsEvent(t *testing.T) {
	t.Parallel()
	h, c, owner, main, _ := settled(t)
	repo := h.Repo(owner, "tool")
	w, tips := contributor(t, repo, "p1")
	pull := housetest.NewKey(t).Pull("tool", tips[0], owner)
	ref := housetest.PullRef(pull.ID)
	c.Held(pull)
	w.Git("push", "-q", repo, "p1:"+ref)
	c.Accepted(owner.Sign(1631, 0, "", nostr.Tag{"e", pull.ID, "", "root"})) // merged, or so somebody says
	for range 3 {
		h.Clock.Advance(20*time.Minute + time.Second)
		h.Sweep()
	}
	h.Restart(nil)
	h.Sweep()
	housetest.Refs(t, repo, "main="+main.Git("rev-parse", "main"), ref+"="+tips[0])
	h.Dial().Shows(pull)
}

// check 211, G01-708: a pull request names its tip.
func TestPullWithoutATip(t *testing.T) {
	t.Parallel()
	_, c, owner, w, _ := settled(t)
	p, a := housetest.NewKey(t), nostr.Tag{"a", housetest.Coordinate(owner, "tool")}
	tip := w.Git("rev-parse", "main")
	for _, kind := range []int{grasp.KindPull, grasp.KindPullUpdate} {
		for _, tags := range [][]nostr.Tag{{a}, {a, {"c"}}, {a, {"c", ""}}, {a, {"c", "main"}}, {a, {"c", tip[:39]}}, {a, {"c", tip + "0"}}, {a, {"c", "zz" + tip[2:]}, {"c", tip}}} {
			ev := p.Sign(kind, 0, "", tags...)
			c.Refused(ev, "invalid: ")
			c.Hides(ev)
		}
	}
	// The first c counts; one that only a repository of another hash could have waits.
	ev := p.Sign(grasp.KindPull, 0, "", a, nostr.Tag{"c", tip}, nostr.Tag{"c", "junk"})
	c.Accepted(ev)
	c.Held(p.Sign(grasp.KindPull, 0, "", a, nostr.Tag{"c", strings.Repeat("ab", 32)}))
	c.Refused(p.Pull("unknown", tip, owner), "blocked: ")
}

// check 212, G01-709: an update is an event of its own, with a ref of its own.
func TestPullUpdate(t *testing.T) {
	t.Parallel()
	h, c, owner, main, _ := settled(t)
	repo, p := h.Repo(owner, "tool"), housetest.NewKey(t)
	w, tips := contributor(t, repo, "p1", "p2", "p3")
	pull := p.Pull("tool", tips[0], owner)
	c.Held(pull)
	first, served := housetest.PullRef(pull.ID), "main="+main.Git("rev-parse", "main")
	w.Git("push", "-q", repo, "p1:"+first)
	update := func(tip string) *nostr.Event {
		return p.Sign(grasp.KindPullUpdate, 0, "", nostr.Tag{"a", housetest.Coordinate(owner, "tool")},
			nostr.Tag{"E", pull.ID}, nostr.Tag{"P", p.Pub}, nostr.Tag{"K", "1618"}, nostr.Tag{"c", tip})
	}
	// event, then ref
	second := update(tips[1])
	ref := housetest.PullRef(second.ID)
	c.Held(second)
	c.Hides(second)
	w.Fails(ref, "push", repo, "p3:"+ref)
	w.Git("push", "-q", repo, "p2:"+ref)
	c.Shows(pull, second)
	housetest.Refs(t, repo, served, first+"="+tips[0], ref+"="+tips[1])
	// ref, then event
	third := update(tips[2])
	w.Git("push", "-q", repo, "p3:"+housetest.PullRef(third.ID))
	c.Accepted(third)
	h.Clock.Advance(time.Hour)
	h.Sweep()
	housetest.Refs(t, repo, served, first+"="+tips[0], ref+"="+tips[1], housetest.PullRef(third.ID)+"="+tips[2])
	// one that nobody pushes
	fourth := update(strings.Repeat("4", 40))
	c.Held(fourth)
	h.Clock.Advance(31 * time.Minute)
	h.Sweep()
	c.Hides(fourth)
	c.Shows(pull, second, third)
	c.Refused(p.Sign(grasp.KindPullUpdate, 0, "", nostr.Tag{"E", unusedID(t)}, nostr.Tag{"c", tips[1]}), "")
}
