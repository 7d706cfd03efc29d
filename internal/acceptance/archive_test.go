package acceptance_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

func archiving(mode string, change ...func(*config.Config)) func(*config.Config) {
	return func(c *config.Config) {
		housetest.Syncing(c)
		c.Archive.Mode = mode
		for _, f := range change {
			f(c)
		}
	}
}

// TestArchive: a repository that does not list us is found at a peer, hunted for, and served when its
// data is here; it takes no branches, and follows what its maintainers sign elsewhere (checks 251, 253,
// 267, 276).
func TestArchive(t *testing.T) {
	t.Parallel()
	a := housetest.Start(t, housetest.Syncing)
	owner, at := housetest.NewKey(t), time.Now().Unix()-1000
	ca := a.Dial()
	w := a.Served(ca, owner, "demo", at)
	announcement := ca.Query(filterOf(grasp.KindAnnouncement, owner))[0]
	state := ca.Query(filterOf(grasp.KindState, owner))[0]

	b := housetest.Start(t, archiving("all", func(c *config.Config) { c.Sync.Relays = []string{a.RelayURL()} }))
	b.Arrives(announcement, state)
	tip := w.Git("rev-parse", "main")
	housetest.Refs(t, b.Repo(owner, "demo"), "main="+tip)

	// It follows.
	next := w.Commit()
	moved := owner.State("demo", at+100, "main="+next)
	ca.Must(moved)
	w.Git("push", "-q", a.Repo(owner, "demo"), "main")
	b.Arrives(moved)
	housetest.Refs(t, b.Repo(owner, "demo"), "main="+next)

	// It takes nothing itself, and says why.
	more := w.Commit()
	cb := b.Dial()
	cb.Held(owner.State("demo", at+200, "main="+more))
	w.Fails("this is an archive of a repository that lives elsewhere", "push", b.Repo(owner, "demo"), "main")
	for _, service := range []string{"git-upload-pack", "git-receive-pack"} {
		if resp, body := b.Get(b.Repo(owner, "demo") + "/info/refs?service=" + service); resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", service, resp.StatusCode, body)
		}
	}
	_, document := b.Get("/", "Accept", "application/nostr+json")
	if !strings.Contains(document, `"GRASP-05"`) || strings.Contains(document, "curation") {
		t.Errorf("NIP-11: %s", document)
	}
}

// TestArchiveOfWhatWaits: an archive whose data cannot be had is not served (check 276), one of a server
// that is not listed is refused, as all are where there is no archive (checks 251, 252), and deny beats
// it (check 277).
func TestArchiveOfWhatWaits(t *testing.T) {
	t.Parallel()
	owner, denied := housetest.NewKey(t), housetest.NewKey(t)
	listed := archiving("listed", func(c *config.Config) {
		c.Archive.Services = []string{"mirror.example"}
		c.Archive.Repos = []string{owner.Npub + "/named"}
		c.Authors.Deny = []grasp.PubKey{grasp.PubKey(denied.Pub)}
		c.Sync.Git = false
	})
	b := housetest.Start(t, listed)
	cb := b.Dial()
	elsewhere := func(k *housetest.Key, id, host string) []string {
		return []string{"https://" + host + "/" + k.Npub + "/" + id + ".git"}
	}
	announce := func(k *housetest.Key, id, host string) (bool, string) {
		return cb.Publish(k.Sign(grasp.KindAnnouncement, 0, "", tag("d", id), tag("clone", elsewhere(k, id, host)...), tag("relays", "wss://"+host)))
	}
	for _, c := range []struct {
		name string
		key  *housetest.Key
		id   string
		host string
		want string
	}{
		{"a listed service", owner, "tool", "mirror.example", "purgatory"},
		{"another service", owner, "tool2", "other.example", "announcement must list this service"},
		{"a listed repository", owner, "named", "other.example", "purgatory"},
		{"a denied owner", denied, "tool", "mirror.example", "takes nothing from this key"},
	} {
		if ok, msg := announce(c.key, c.id, c.host); ok != (c.want == "purgatory") || !strings.Contains(msg, c.want) {
			t.Errorf("%s: %v %q, want %q", c.name, ok, msg, c.want)
		}
	}
	if got := cb.Query(filterOf(grasp.KindAnnouncement, owner)); len(got) != 0 {
		t.Errorf("%d announcements are served though nothing of them is here", len(got))
	}

	off := housetest.Start(t, housetest.Syncing)
	c := off.Dial()
	c.Refused(owner.Sign(grasp.KindAnnouncement, 0, "", tag("d", "tool"), tag("clone", elsewhere(owner, "tool", "mirror.example")...), tag("relays", "wss://mirror.example")),
		"announcement must list this service")

	all := housetest.Start(t, archiving("all", func(c *config.Config) {
		c.Sync.Git = false
		c.Repos.Deny = []string{denied.Npub}
	}))
	c = all.Dial()
	c.Refused(denied.Sign(grasp.KindAnnouncement, 0, "", tag("d", "tool"), tag("clone", elsewhere(denied, "tool", "x.example")...), tag("relays", "wss://x.example")), "does not take")
}

// TestReadOnlyServer: nobody pushes branches, and NIP-11 says so (check 253).
func TestReadOnlyServer(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, func(c *config.Config) { c.Archive.ReadOnly = true })
	c, owner, w := h.Dial(), housetest.NewKey(t), housetest.NewCopy(t)
	tip := w.Commit()
	c.Held(h.Announcement(owner, "demo", 0), owner.State("demo", 0, "main="+tip))
	w.Fails("this server is read-only", "push", h.Repo(owner, "demo"), "main")
	if _, document := h.Get("/", "Accept", "application/nostr+json"); !strings.Contains(document, `"curation":"Read-only:`) {
		t.Errorf("NIP-11: %s", document)
	}
}
