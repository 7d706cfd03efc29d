package acceptance_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// elsewhere are the tags of an announcement that names only other servers.
func elsewhere() []nostr.Tag {
	return []nostr.Tag{{"clone", "https://other.example/x.git"}, {"relays", "wss://other.example"}}
}

// foreign is an announcement that does not list the house.
func foreign(k *housetest.Key, id string, at int64, more ...nostr.Tag) *nostr.Event {
	return k.Sign(grasp.KindAnnouncement, at, "", append(append([]nostr.Tag{{"d", id}}, elsewhere()...), more...)...)
}

// checks 125, 131, 132, G01-101, G01-105: a new repository is there with the OK, and empty.
func TestAnnouncementIsUsableAtOnce(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, owner := h.Dial(), housetest.NewKey(t)
	repo := h.Repo(owner, "tool")
	h.Gone(repo)
	ok, msg := c.Publish(h.Announcement(owner, "tool", 0))
	h.Lives(repo)
	if !ok || msg != "purgatory: won't be served until git data arrives" {
		t.Fatalf("OK %v %q", ok, msg)
	}
	for _, version := range []string{"0", "2"} {
		if _, err := housetest.Git(t, ".", "-c", "protocol.version="+version, "clone", "-q", repo, t.TempDir()+"/empty"); err != nil {
			t.Errorf("cloning the empty repository, protocol %s: %v", version, err)
		}
	}
	housetest.Refs(t, repo)
}

// checks 126, 129, G01-101, G01-102: both tags have to name this server's relay and git.
func TestAnnouncementMustListThisServer(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, owner := h.Dial(), housetest.NewKey(t)
	clone, relays := h.Repo(owner, "tool"), h.RelayURL()
	const other, otherRelay = "https://other.example/npub1/tool.git", "wss://other.example"
	for name, tags := range map[string][]nostr.Tag{
		"only clone":           {{"clone", clone}, {"relays", otherRelay}},
		"only clone, no relay": {{"clone", clone}},
		"only relays":          {{"clone", other}, {"relays", relays}},
		"only relays, alone":   {{"relays", relays}},
		"neither":              {{"clone", other}, {"relays", otherRelay}},
		"nothing at all":       {},
		"other path of relay":  {{"clone", clone}, {"relays", relays + "/other/path"}},
		"swapped":              {{"clone", relays}, {"relays", clone}},
		"empty values":         {{"clone", ""}, {"relays", ""}},
		"in other tags":        {{"web", clone}, {"r", relays}, {"clone", other}, {"relays", otherRelay}},
		"other port":           {{"clone", "http://127.0.0.1:1/x.git"}, {"relays", "ws://127.0.0.1:1"}},
	} {
		ev := owner.Sign(grasp.KindAnnouncement, 0, "", append(tags, nostr.Tag{"d", "tool"})...)
		if ok, msg := c.Publish(ev); ok || msg != "blocked: announcement must list this service in clone and relays" {
			t.Errorf("%s: OK %v %q", name, ok, msg)
		}
		h.Gone(clone)
	}
	// Related events do not change that (G01-101).
	ev := owner.Sign(grasp.KindAnnouncement, 0, "", nostr.Tag{"d", "tool"}, nostr.Tag{"a", housetest.Coordinate(owner, "tool")})
	c.Refused(ev, "blocked: ")
}

// checks 127, 128, G01-102: URLs are compared by their parts and not as text.
func TestAnnouncementNamesAreCompared(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, func(cfg *config.Config) { cfg.Domain = "git.example.com" })
	c := h.Dial()
	try := func(clone, relay string) (bool, string) {
		k := housetest.NewKey(t)
		return c.Publish(k.Sign(grasp.KindAnnouncement, 0, "", nostr.Tag{"d", "tool"}, nostr.Tag{"clone", clone}, nostr.Tag{"relays", relay}))
	}
	const path = "/npub1xyz/tool.git"
	for _, tc := range [][2]string{
		{"https://git.example.com" + path, "wss://git.example.com"},
		{"https://GIT.Example.COM" + path, "wss://Git.EXAMPLE.com"},
		{"https://git.example.com:443" + path, "wss://git.example.com:443"},
		{"http://git.example.com:80" + path, "ws://git.example.com:80/"},
		{"https://git.example.com" + path, "wss://git.example.com/"},
		{"https://git.example.com" + path, "wss://git.example.com///"},
		{"http://git.example.com" + path, "ws://git.example.com"},
		{"HTTPS://git.example.com" + path, "WSS://git.example.com"},
	} {
		if ok, msg := try(tc[0], tc[1]); !ok {
			t.Errorf("%v: refused with %q", tc, msg)
		}
	}
	const good, goodRelay = "https://git.example.com" + path, "wss://git.example.com"
	for _, clone := range []string{
		"https://git.example.com.evil.net" + path, "https://evil-git.example.com" + path, "https://example.com" + path,
		"https://evil.net/git.example.com" + path, "https://evil.net/?https://git.example.com" + path, "https://evil.net/#git.example.com",
		"https://git.example.com@evil.net" + path, "https://user@git.example.com" + path, "https://git.example.com:444" + path,
		"ssh://git.example.com" + path, "git@git.example.com:tool.git", "wss://git.example.com", "git.example.com" + path,
		"https://git.example.com%2eevil.net" + path, "https://git.example.com\\@evil.net" + path, "nostr://git.example.com" + path,
	} {
		if ok, _ := try(clone, goodRelay); ok {
			t.Errorf("clone %q counts as this server", clone)
		}
	}
	for _, relay := range []string{
		"wss://git.example.com.evil.net", "wss://evil-git.example.com", "wss://git.example.com/other/path", "wss://git.example.com/x",
		"wss://evil.net/?git.example.com", "https://git.example.com", "git.example.com", "wss://git.example.com:444", "wss://user@git.example.com",
	} {
		if ok, _ := try(good, relay); ok {
			t.Errorf("relay %q counts as this server", relay)
		}
	}
	if ok, _ := try("https://git.example.com.evil.net"+path, "wss://git.example.com.evil.net"); ok {
		t.Error("a name that begins with ours counts as ours")
	}
}

// check 128, G01-102: an alias is this server too.
func TestAnnouncementOfAlias(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, func(cfg *config.Config) {
		cfg.Domain, cfg.Aliases = "git.example.com", []string{"old.example.org:8443"}
	})
	c, k := h.Dial(), housetest.NewKey(t)
	c.Held(k.Sign(grasp.KindAnnouncement, 0, "", nostr.Tag{"d", "tool"},
		nostr.Tag{"clone", "https://OLD.example.org:8443/x/tool.git"}, nostr.Tag{"relays", "wss://old.example.org:8443"}))
	h.Lives(h.Repo(k, "tool"))
}

// checks 130, 254, G01-103, G01-104: tags are united, and the path of a clone URL is free.
func TestAnnouncementTagShapes(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c := h.Dial()
	say := func(k *housetest.Key, tags ...nostr.Tag) *nostr.Event {
		return k.Sign(grasp.KindAnnouncement, 0, "", append([]nostr.Tag{{"d", "tool"}}, tags...)...)
	}
	for name, tags := range map[string][]nostr.Tag{
		"two clone tags":     {{"clone", "https://other.example/x.git"}, {"clone", h.URL + "/a.git"}, {"relays", h.RelayURL()}},
		"two relays tags":    {{"clone", h.URL + "/a.git"}, {"relays", "wss://other.example"}, {"relays", h.RelayURL()}},
		"second values":      {{"clone", "https://other.example/x.git", h.URL + "/a.git"}, {"relays", "wss://other.example", h.RelayURL()}},
		"empty ones between": {{"clone", "", h.URL + "/a.git"}, {"clone"}, {"relays", "", h.RelayURL()}, {""}},
		"any path":           {{"clone", h.URL + "/anything.git"}, {"relays", h.RelayURL()}},
	} {
		t.Run(name, func(t *testing.T) {
			k := housetest.NewKey(t)
			c.Held(say(k, tags...))
			h.Lives(h.Repo(k, "tool"))
			h.Gone(h.URL + "/anything.git")
		})
	}
	k := housetest.NewKey(t)
	c.Refused(say(k, nostr.Tag{"clone", h.URL + "/prs/" + k.Npub + "/tool.git"}, nostr.Tag{"relays", h.RelayURL()}), "blocked: ")
	h.Gone(h.Repo(k, "tool"))
	c.Refused(k.Sign(grasp.KindAnnouncement, 0, "", nostr.Tag{"clone", h.URL + "/a.git"}, nostr.Tag{"relays", h.RelayURL()}), "invalid: ")
}

// check 133, N-045: what waits is not seen by any way of asking.
func TestAnnouncementInPurgatoryIsInvisible(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, owner := h.Dial(), housetest.NewKey(t)
	listener := h.Dial()
	sub := listener.Subscribe(nostr.Filter{}, nostr.Filter{Kinds: []int{30617}}, nostr.Filter{Authors: []string{owner.Pub}}, nostr.Filter{Search: "zxqv"})
	listener.Stored(sub)
	ev := h.Announcement(owner, "tool", 0, nostr.Tag{"t", "zxqv"}, nostr.Tag{"description", "about zxqv"})
	c.Held(ev)
	c.Hides(ev)
	for _, f := range []nostr.Filter{
		{}, {Kinds: []int{30617}}, {Authors: []string{owner.Pub}}, {Tags: nostr.TagMap{"d": {"tool"}}}, {Tags: nostr.TagMap{"t": {"zxqv"}}},
		{Search: "zxqv"}, {Search: "tool", Kinds: []int{30617}},
	} {
		if n := len(c.Query(f)); n != 0 {
			t.Errorf("%v brings %d events", f, n)
		}
		if n := c.Count(f); n != 0 {
			t.Errorf("%v counts %d events", f, n)
		}
	}
	listener.Silent(sub)
	// N-045: nor does the page say what the event says.
	if _, body := h.Get(h.Repo(owner, "tool")); strings.Contains(body, "zxqv") || strings.Contains(body, ev.ID) {
		t.Error("the repository's page shows an event that waits")
	}
	if _, body := h.Get("/"); strings.Contains(body, owner.Npub) {
		t.Error("the landing page shows a repository that waits")
	}
}

// check 134, G01-106: the push brings the announcement out, as it was sent.
func TestAnnouncementIsReleasedByAPush(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, owner, at := h.Dial(), housetest.NewKey(t), past()
	listener := h.Dial()
	sub := listener.Subscribe(nostr.Filter{Kinds: []int{30617, 30618}})
	listener.Stored(sub)
	w := housetest.NewCopy(t)
	ev := h.Announcement(owner, "tool", at, nostr.Tag{"description", "<b>\u2028 \"quoted\" \x01 😀"}, nostr.Tag{"odd", "", "x", ""}, nostr.Tag{"maintainers"}, nostr.Tag{"alt"})
	state := owner.State("tool", at, "main="+w.Commit())
	c.Held(ev, state)
	listener.Silent(sub)
	w.Git("push", "-q", h.Repo(owner, "tool"), "main")
	c.Shows(ev, state)
	housetest.Same(t, listener.Live(sub), ev)
	housetest.Same(t, listener.Live(sub), state)
	listener.Silent(sub)
}

// check 135, G01-106: PR refs alone do not bring it out.
func TestAnnouncementIsNotReleasedByPRRefs(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, owner := h.Dial(), housetest.NewKey(t)
	ev := h.Announcement(owner, "tool", 0)
	c.Held(ev)
	w := housetest.NewCopy(t)
	ref := "refs/nostr/" + strings.Repeat("a", 64)
	oid := w.Commit()
	w.Git("push", "-q", h.Repo(owner, "tool"), "main:"+ref)
	housetest.Refs(t, h.Repo(owner, "tool"), ref+"="+oid)
	c.Hides(ev)
}

// check 136, G01-106: an announcement whose data is here already does not wait.
func TestAnnouncementWhoseDataIsHere(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	m1 := housetest.NewKey(t)
	ev := h.Announcement(m1, "tool", at, housetest.Maintainers(owner))
	c.Accepted(ev)
	housetest.Refs(t, h.Repo(m1, "tool"), "main="+w.Git("rev-parse", "main"))
	housetest.Clone(t, h.Repo(m1, "tool")).Git("fsck", "--full")
	if got := housetest.Head(t, h.Repo(m1, "tool")); got != "refs/heads/main" {
		t.Errorf("HEAD is %q", got)
	}
}

// check 137, G01-107: a served announcement is replaced in place.
func TestAnnouncementIsReplaced(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	sub := c.Subscribe(nostr.Filter{Kinds: []int{30617}})
	old := c.Stored(sub)[0]
	ev := h.Announcement(owner, "tool", at+1, nostr.Tag{"description", "new"})
	c.Accepted(ev)
	c.Hides(old)
	housetest.Same(t, c.Live(sub), ev)
	c.Silent(sub)
	housetest.Refs(t, h.Repo(owner, "tool"), "main="+w.Git("rev-parse", "main"))
}

// check 138, G01-107: whom it names may act from then on.
func TestAnnouncementAddsMaintainers(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	x := housetest.NewKey(t)
	c.Refused(x.State("tool", at+1, "main="+w.Commit()), "invalid: author not authorized for this repository")
	c.Accepted(h.Announcement(owner, "tool", at+2, housetest.Maintainers(x)))
	state := x.State("tool", at+3, "main="+w.Git("rev-parse", "main"))
	c.Held(state)
	w.Git("push", "-q", h.Repo(owner, "tool"), "main")
	c.Shows(state)
}

// check 139, G01-108: replacing one that waits begins its time anew.
func TestAnnouncementIsReplacedInPurgatory(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, owner, at := h.Dial(), housetest.NewKey(t), past()
	repo := h.Repo(owner, "tool")
	first, second := h.Announcement(owner, "tool", at), h.Announcement(owner, "tool", at+1, nostr.Tag{"description", "second"})
	c.Held(first)
	h.Clock.Advance(20 * time.Minute)
	c.Held(second)
	c.Refused(first, "invalid: have a newer version of this event")
	c.Refused(h.Announcement(owner, "tool", at, nostr.Tag{"description", "older"}), "invalid: have a newer version of this event")
	h.Clock.Advance(20 * time.Minute)
	h.Sweep()
	h.Lives(repo)
	w := housetest.NewCopy(t)
	c.Held(owner.State("tool", at, "main="+w.Commit()))
	w.Git("push", "-q", repo, "main")
	c.Shows(second)
	c.Hides(first)
	if n := c.Count(nostr.Filter{Kinds: []int{30617}}); n != 1 {
		t.Errorf("%d announcements are served", n)
	}
}

// checks 140, 141, G01-111: a maintainer's announcement of other servers is served; a stranger's is not.
func TestAnnouncementOfMaintainerElsewhere(t *testing.T) {
	t.Parallel()
	h, c, owner, _, at := settled(t)
	m1, m2, x := housetest.NewKey(t), housetest.NewKey(t), housetest.NewKey(t)
	c.Accepted(h.Announcement(owner, "tool", at+1, housetest.Maintainers(m1)))
	c.Refused(foreign(m2, "tool", at), "blocked: announcement must list this service")
	first := foreign(m1, "tool", at, housetest.Maintainers(m2))
	c.Accepted(first)
	c.Accepted(foreign(m2, "tool", at+1))
	c.Refused(foreign(x, "tool", at), "blocked: announcement must list this service in clone and relays")
	c.Refused(foreign(m1, "another", at), "blocked: announcement must list this service in clone and relays")
	for _, k := range []*housetest.Key{m1, m2, x} {
		h.Gone(h.Repo(k, "tool"))
	}
	c.Accepted(foreign(m1, "tool", at+5)) // it may be replaced
	c.Hides(first)
}

// check 140, G01-111: with the only repository still waiting, the maintainer's announcement waits too.
func TestAnnouncementOfMaintainerWaitsWithTheOwner(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, owner, m1, at := h.Dial(), housetest.NewKey(t), housetest.NewKey(t), past()
	theirs := foreign(m1, "tool", at)
	c.Held(h.Announcement(owner, "tool", at, housetest.Maintainers(m1)), theirs)
	c.Hides(theirs)
	h.Gone(h.Repo(m1, "tool"))
	w := housetest.NewCopy(t)
	c.Held(owner.State("tool", at, "main="+w.Commit()))
	w.Git("push", "-q", h.Repo(owner, "tool"), "main")
	c.Shows(theirs)
	h.Gone(h.Repo(m1, "tool"))
}

// check 142, G01-112: one that came too early is remembered.
func TestAnnouncementThatCameTooEarly(t *testing.T) {
	t.Parallel()
	for _, minutes := range []int{0, 9, 11} {
		t.Run(fmt.Sprint(minutes, " minutes"), func(t *testing.T) {
			t.Parallel()
			h := housetest.Start(t)
			c, owner, m1, at := h.Dial(), housetest.NewKey(t), housetest.NewKey(t), past()
			early := foreign(m1, "tool", at)
			c.Refused(early, "blocked: ")
			h.Clock.Advance(time.Duration(minutes) * time.Minute)
			h.Sweep()
			w := housetest.NewCopy(t)
			c.Held(h.Announcement(owner, "tool", at, housetest.Maintainers(m1)), owner.State("tool", at, "main="+w.Commit()))
			w.Git("push", "-q", h.Repo(owner, "tool"), "main")
			if minutes > 10 {
				c.Hides(early)
				return
			}
			c.Shows(early)
			h.Gone(h.Repo(m1, "tool"))
		})
	}
}

// check 143, G01-114: garbage among the maintainers is nobody.
func TestAnnouncementWithGarbageMaintainers(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, owner, m1, at := h.Dial(), housetest.NewKey(t), housetest.NewKey(t), past()
	ev := h.Announcement(owner, "tool", at, nostr.Tag{"maintainers", "garbage", "", "npub1xyz", strings.Repeat("z", 64), m1.Pub[:63], m1.Pub, "<script>", m1.Pub + "0"})
	c.Held(ev)
	w := housetest.NewCopy(t)
	c.Held(m1.State("tool", at, "main="+w.Commit()))
	c.Refused(housetest.NewKey(t).State("tool", at, "main="+w.Git("rev-parse", "main")), "invalid: author not authorized")
	w.Git("push", "-q", h.Repo(owner, "tool"), "main")
	c.Shows(ev)
}

// check 144, G01-115: a repository whose owner moved away is read-only, and later gone.
func TestAnnouncementIsWithdrawn(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo := h.Repo(owner, "tool")
	old := c.Query(nostr.Filter{Kinds: []int{30617}})[0]
	pending := owner.State("tool", at+1, "main="+w.Commit())
	c.Held(pending)
	gone := foreign(owner, "tool", at+2)
	c.Accepted(gone)
	c.Hides(old)
	housetest.Clone(t, repo)
	w.Fails("repository announcement no longer lists this server", "push", repo, "main")
	h.Clock.Advance(29 * 24 * time.Hour)
	h.Sweep()
	housetest.Clone(t, repo)
	h.Clock.Advance(2 * 24 * time.Hour)
	h.Sweep()
	h.Gone(repo)
	c.Shows(gone)
}

// check 145, G01-115: one who comes back finds everything.
func TestAnnouncementComesBack(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, oid := h.Repo(owner, "tool"), w.Git("rev-parse", "main")
	c.Accepted(foreign(owner, "tool", at+2))
	w.Fails("[remote rejected]", "push", repo, "main:new")
	h.Clock.Advance(10 * 24 * time.Hour)
	h.Sweep()
	c.Accepted(h.Announcement(owner, "tool", at+3))
	housetest.Refs(t, repo, "main="+oid)
	state := owner.State("tool", at+4, "main="+w.Commit())
	c.Held(state)
	w.Git("push", "-q", repo, "main")
	c.Shows(state)
	h.Clock.Advance(40 * 24 * time.Hour) // the grace of the withdrawal is forgotten
	h.Sweep()
	housetest.Refs(t, repo, "main="+w.Git("rev-parse", "main"))
}

// check 146, G01-115: withdrawing one that still waits removes it.
func TestAnnouncementIsWithdrawnInPurgatory(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, owner, at := h.Dial(), housetest.NewKey(t), past()
	w := housetest.NewCopy(t)
	c.Held(h.Announcement(owner, "tool", at), owner.State("tool", at, "main="+w.Commit()))
	c.Refused(foreign(owner, "tool", at+1), "blocked: ")
	h.Gone(h.Repo(owner, "tool"))
	w.Fails("not found", "push", h.Repo(owner, "tool"), "main")
	if n := c.Count(nostr.Filter{Kinds: []int{30617, 30618}}); n != 0 {
		t.Errorf("%d events are served", n)
	}
	// It may begin again.
	c.Held(h.Announcement(owner, "tool", at+2))
	h.Lives(h.Repo(owner, "tool"))
}

// check 147, G01-116: the same identifier under another key is another repository.
func TestAnnouncementOfSameNameByAnother(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	x := housetest.NewKey(t)
	c.Held(h.Announcement(x, "tool", at))
	housetest.Refs(t, h.Repo(x, "tool"))
	evil := housetest.NewCopy(t)
	state := x.State("tool", at+100, "main="+evil.Commit())
	c.Held(state)
	evil.Fails("[remote rejected]", "push", "-f", h.Repo(owner, "tool"), "main")
	evil.Git("push", "-q", h.Repo(x, "tool"), "main")
	c.Shows(state)
	housetest.Refs(t, h.Repo(owner, "tool"), "main="+w.Git("rev-parse", "main"))
	housetest.Refs(t, h.Repo(x, "tool"), "main="+evil.Git("rev-parse", "main"))
}
