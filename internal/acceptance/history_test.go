package acceptance_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// G05-06: where the state of an archived repository moves a branch elsewhere or takes one away, the refs
// are exactly those of the state, and what was there before stays: told of by nobody, brought by its id,
// there again as soon as a maintainer signs it again, though no other server has it any more.
func TestArchiveKeepsHistory(t *testing.T) {
	t.Parallel()
	a := housetest.Start(t, housetest.Syncing)
	owner, at := housetest.NewKey(t), time.Now().Unix()-1000
	ca := a.Dial()
	w := housetest.NewCopy(t)
	base := w.Commit()
	w.Git("checkout", "-q", "-b", "dev")
	dev := w.Commit()
	w.Git("checkout", "-q", "main")
	first := w.Commit()
	ca.Must(a.Announcement(owner, "demo", at), owner.State("demo", at, "main="+first, "dev="+dev))
	w.Git("push", "-q", a.Repo(owner, "demo"), "main", "dev")
	b := housetest.Start(t, archiving("all", func(c *config.Config) { c.Sync.Relays = []string{a.RelayURL()} }))
	state := ca.Query(filterOf(grasp.KindState, owner))[0]
	b.Arrives(state)
	housetest.Refs(t, b.Repo(owner, "demo"), "main="+first, "dev="+dev)

	// A fast-forward lets go of nothing; a branch that is moved elsewhere and one that goes do.
	forward := w.Commit()
	follow := func(n int64, lines ...string) {
		t.Helper()
		st := owner.State("demo", at+n, lines...)
		ca.Must(st)
		w.Git("push", "-q", "--force", "--all", "--prune", a.Repo(owner, "demo"))
		b.Arrives(st)
	}
	follow(1, "main="+forward, "dev="+dev)
	w.Git("reset", "-q", "--hard", base)
	other := w.Commit()
	w.Git("branch", "-D", "dev")
	follow(2, "main="+other)
	housetest.Refs(t, b.Repo(owner, "demo"), "main="+other)

	out := w.Git("ls-remote", b.Repo(owner, "demo"))
	if strings.Contains(out, "history") || strings.Contains(out, dev) || strings.Contains(out, forward) {
		t.Errorf("hidden refs are told of:\n%s", out)
	}
	kept := b.Kept(owner, "demo")
	slices.SortFunc(kept, func(x, y grasp.Kept) int { return strings.Compare(string(x.Ref), string(y.Ref)) })
	if len(kept) != 2 || kept[0].Ref != "refs/heads/dev" || string(kept[0].OID) != dev || kept[1].Ref != "refs/heads/main" || string(kept[1].OID) != forward {
		t.Fatalf("kept: %+v, want dev at %s and main at %s", kept, dev, forward)
	}
	w.Fails("couldn't find remote ref", "fetch", b.Repo(owner, "demo"), string(kept[0].Name()))
	fresh := housetest.NewCopy(t)
	fresh.Git("fetch", "-q", b.Repo(owner, "demo"), dev)
	if got := fresh.Git("rev-parse", "FETCH_HEAD"); got != dev {
		t.Errorf("%s was fetched, want %s", got, dev)
	}

	// The other server is gone; what is signed again is served at once.
	a.Stop()
	again := owner.State("demo", at+3, "main="+forward, "dev="+dev)
	b.Dial().Must(again)
	housetest.Refs(t, b.Repo(owner, "demo"), "main="+forward, "dev="+dev)

	// Its deletion hides all of it, and what was kept goes with the rest of the repository.
	b.Dial().Must(owner.Deletion(0, nostr.Tag{"a", housetest.Coordinate(owner, "demo")}))
	if resp, _ := b.Get(b.Repo(owner, "demo") + "/info/refs?service=git-upload-pack"); resp.StatusCode != 404 {
		t.Errorf("after its deletion: %d", resp.StatusCode)
	}
}

// G05-06: a repository that names this server is no archive: nothing of its past is kept, as its
// maintainers want it.
func TestNoHistoryOfWhatLivesHere(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, archiving("all"))
	c, owner, at := h.Dial(), housetest.NewKey(t), time.Now().Unix()-1000
	w := h.Served(c, owner, "demo", at)
	w.Git("commit", "-q", "--amend", "--allow-empty", "-m", "another")
	tip := w.Git("rev-parse", "main")
	c.Held(owner.State("demo", at+1, "main="+tip))
	w.Git("push", "-q", "--force", h.Repo(owner, "demo"), "main")
	housetest.Refs(t, h.Repo(owner, "demo"), "main="+tip)
	if kept := h.Kept(owner, "demo"); len(kept) != 0 {
		t.Errorf("kept: %+v", kept)
	}
}
