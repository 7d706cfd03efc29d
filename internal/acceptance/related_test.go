package acceptance_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// about is an event of kind with one tag.
func about(t *testing.T, kind int, tag ...string) *nostr.Event {
	t.Helper()
	return housetest.NewKey(t).Sign(kind, 0, fmt.Sprintf("kind %d about %v", kind, tag), nostr.Tag(tag))
}

// check 213, G01-801: whatever names something served by one tag is served at once.
func TestRelatedByOneTag(t *testing.T) {
	t.Parallel()
	h, c, owner, _, _ := settled(t)
	at := housetest.Coordinate(owner, "tool")
	anchor := issue(housetest.NewKey(t), owner, "tool", "the anchor")
	c.Accepted(anchor)
	state := c.Query(nostr.Filter{Kinds: []int{grasp.KindState}})[0]
	announcement := c.Query(nostr.Filter{Kinds: []int{grasp.KindAnnouncement}})[0]
	listener := h.Dial()
	sub := listener.Subscribe(nostr.Filter{Limit: 0, Kinds: []int{1, 7, 1111, 1617, 1621, 1622, 1624, 1632, 1985, 9735, 30023}})
	listener.Stored(sub)
	for name, ev := range map[string]*nostr.Event{
		"issue by a":                    about(t, 1621, "a", at),
		"patch by a":                    about(t, 1617, "a", at),
		"comment by A":                  about(t, 1111, "A", at),
		"note by q to the coordinate":   about(t, 1, "q", at),
		"reaction by e to the issue":    about(t, 7, "e", anchor.ID),
		"label by e":                    about(t, 1985, "e", anchor.ID),
		"status by e":                   about(t, 1632, "e", anchor.ID),
		"comment by E":                  about(t, 1111, "E", anchor.ID),
		"note by q to the issue":        about(t, 1, "q", anchor.ID),
		"reply by e":                    about(t, 1622, "e", anchor.ID, "wss://hint.example", "reply"),
		"cover note by e":               about(t, 1624, "e", anchor.ID),
		"zap by a":                      about(t, 9735, "a", at, "not a relay"),
		"reaction to the state":         about(t, 7, "e", state.ID),
		"reaction to the announcement":  about(t, 7, "e", announcement.ID),
		"reaction to the state's place": about(t, 7, "a", "30618:"+owner.Pub+":tool"),
		"long text by a":                housetest.NewKey(t).Sign(30023, 0, "x", nostr.Tag{"d", "post"}, nostr.Tag{"a", at}),
		"one good tag among bad ones":   housetest.NewKey(t).Sign(1621, 0, "x", nostr.Tag{"a", "30617:x:tool"}, nostr.Tag{"e", "no"}, nostr.Tag{"e"}, nostr.Tag{"q", anchor.ID}),
	} {
		if ok, msg := c.Publish(ev); !ok || msg != "" {
			t.Errorf("%s: OK %v %q", name, ok, msg)
			continue
		}
		c.Shows(ev)
		housetest.Same(t, listener.Live(sub), ev)
	}
	listener.Silent(sub)
}

// check 214, G01-802: what is about something about the repository is about the repository.
func TestRelatedThroughOthers(t *testing.T) {
	t.Parallel()
	_, c, owner, _, _ := settled(t)
	last := issue(housetest.NewKey(t), owner, "tool", "the anchor")
	c.Accepted(last)
	for _, step := range []struct {
		kind int
		tag  string
	}{{1111, "E"}, {1111, "e"}, {1, "e"}, {1, "q"}, {7, "e"}, {1985, "e"}} {
		ev := about(t, step.kind, step.tag, last.ID)
		c.Accepted(ev)
		last = ev
	}
	// An addressable one opens the door by its place as well.
	post := housetest.NewKey(t).Sign(30023, 0, "x", nostr.Tag{"d", "a:post"}, nostr.Tag{"e", last.ID})
	c.Accepted(post)
	c.Accepted(about(t, 1111, "A", "30023:"+post.PubKey+":a:post"))
}

// check 215, G01-802: what an accepted event names is let in as it is.
func TestRelatedForward(t *testing.T) {
	t.Parallel()
	for _, tag := range []string{"q", "e", "E"} {
		t.Run(tag, func(t *testing.T) {
			t.Parallel()
			_, c, owner, _, _ := settled(t)
			k := housetest.NewKey(t)
			named, other := k.Sign(1, 0, "named"), k.Sign(1, 0, "not named")
			c.Accepted(issue(housetest.NewKey(t), owner, "tool", "see there", nostr.Tag{tag, named.ID, "wss://hint.example"}))
			c.Accepted(named)
			c.Refused(other, "blocked: ")
			c.Hides(other)
			c.Accepted(k.Sign(1, 0, "reply", nostr.Tag{"e", named.ID})) // and it is an anchor itself
		})
	}
	for _, tag := range []string{"q", "a", "A"} {
		t.Run("coordinate by "+tag, func(t *testing.T) {
			t.Parallel()
			_, c, owner, _, _ := settled(t)
			k := housetest.NewKey(t)
			c.Accepted(issue(housetest.NewKey(t), owner, "tool", "see there", nostr.Tag{tag, "30023:" + k.Pub + ":post"}))
			c.Accepted(k.Sign(30023, 0, "named", nostr.Tag{"d", "post"}))
			c.Refused(k.Sign(30023, 0, "not named", nostr.Tag{"d", "posts"}), "blocked: ")
			c.Refused(housetest.NewKey(t).Sign(30023, 0, "by another", nostr.Tag{"d", "post"}), "blocked: ")
		})
	}
}

// check 216, G01-803: one good tag is enough.
func TestRelatedByTheOtherTag(t *testing.T) {
	t.Parallel()
	_, c, owner, _, _ := settled(t)
	anchor := issue(housetest.NewKey(t), owner, "tool", "the anchor")
	c.Accepted(anchor)
	c.Accepted(issue(housetest.NewKey(t), housetest.NewKey(t), "nowhere", "see there", nostr.Tag{"q", anchor.ID}))
}

// check 217, G01-804, G01-803: whatever names nothing served is refused.
func TestUnrelated(t *testing.T) {
	t.Parallel()
	h, c, owner, _, _ := settled(t)
	x, at := housetest.NewKey(t), housetest.Coordinate(owner, "tool")
	anchor := issue(x, owner, "tool", "the anchor")
	c.Accepted(anchor)
	c.Held(h.Announcement(x, "waiting", 0))
	for name, ev := range map[string]*nostr.Event{
		"issue for an unknown repository":     issue(x, x, "tool", "x"),
		"issue for an unknown identifier":     issue(x, owner, "tools", "x"),
		"issue for a repository that waits":   issue(x, x, "waiting", "x"),
		"bare note":                           x.Sign(1, 0, "hello"),
		"comment on an unknown repository":    about(t, 1111, "A", housetest.Coordinate(x, "tool")),
		"reply to an unknown event":           about(t, 1, "e", strings.Repeat("a", 64)),
		"coordinate with garbage in front":    about(t, 1, "a", " "+at),
		"coordinate with garbage behind":      about(t, 1, "a", at+" "),
		"coordinate of another kind":          about(t, 1, "a", "30023:"+owner.Pub+":tool"),
		"coordinate with the key as npub":     about(t, 1, "a", "30617:"+owner.Npub+":tool"),
		"coordinate in a tag that is none":    about(t, 1, "x", at),
		"id as nostr link":                    about(t, 1, "e", "nostr:"+anchor.ID),
		"id in upper case":                    about(t, 1, "e", strings.ToUpper(anchor.ID)),
		"id cut short":                        about(t, 1, "e", anchor.ID[:63]),
		"id in the second value":              about(t, 1, "e", "", anchor.ID),
		"id in the content":                   x.Sign(1, 0, anchor.ID+" "+at),
		"only the owner is named":             about(t, 1, "p", owner.Pub),
		"long text about nothing":             x.Sign(30023, 0, "x", nostr.Tag{"d", "post"}),
		"long text in the repository's place": x.Sign(30023, 0, "x", nostr.Tag{"d", "tool"}),
	} {
		ok, msg := c.Publish(ev)
		if ok || !strings.HasPrefix(msg, "blocked: ") {
			t.Errorf("%s: OK %v %q", name, ok, msg)
		}
		c.Hides(ev)
	}
}

// check 218, G01-801: an identifier may contain colons, and more.
func TestRelatedToAnOddIdentifier(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, owner, at := h.Dial(), housetest.NewKey(t), past()
	for i, id := range []string{"a:b:c", ":", "my 🚀 repo+x:y%", "30617:x"} {
		w := h.Served(c, owner, id, at+int64(i))
		anchor := issue(housetest.NewKey(t), owner, id, "x")
		c.Accepted(anchor, about(t, 1111, "A", housetest.Coordinate(owner, id)))
		c.Refused(issue(housetest.NewKey(t), owner, id+":", "x"), "blocked: ")
		pull := housetest.NewKey(t).Pull(id, w.Commit(), owner)
		c.Held(pull)
		w.Git("push", "-q", h.Repo(owner, id), "main:"+housetest.PullRef(pull.ID))
		c.Shows(pull)
	}
	c.Refused(issue(housetest.NewKey(t), owner, "a:b", "x"), "blocked: ")
	c.Refused(issue(housetest.NewKey(t), owner, "a", "x"), "blocked: ")
}

// check 219, G01-805: what came just before its anchor is let in after it, without another word.
func TestRelatedTooEarly(t *testing.T) {
	t.Parallel()
	h, c, owner, _, _ := settled(t)
	sub := c.Subscribe(nostr.Filter{Kinds: []int{1111}})
	c.Stored(sub)
	anchor := issue(housetest.NewKey(t), owner, "tool", "the anchor")
	comment := about(t, 1111, "E", anchor.ID)
	reply := about(t, 1111, "e", comment.ID)
	c.Refused(reply, "blocked: ")
	c.Refused(comment, "blocked: ")
	h.Clock.Advance(5 * time.Second)
	c.Accepted(anchor)
	housetest.Same(t, c.Live(sub), comment)
	housetest.Same(t, c.Live(sub), reply)
	c.Shows(comment, reply)
	c.None("OK")

	late := issue(housetest.NewKey(t), owner, "tool", "later")
	forgotten := about(t, 1111, "E", late.ID)
	c.Refused(forgotten, "blocked: ")
	h.Clock.Advance(11 * time.Minute)
	h.Sweep()
	c.Accepted(late)
	c.Hides(forgotten)
	c.Accepted(forgotten) // sent again
}

// check 219, G01-805: the anchor may be the repository itself, once it is served.
func TestRelatedBeforeTheRepository(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := announced(t)
	early := issue(housetest.NewKey(t), owner, "tool", "early")
	c.Refused(early, "blocked: ")
	c.Held(owner.State("tool", at, "main="+w.Commit()))
	c.Hides(early)
	sub := c.Subscribe(nostr.Filter{Kinds: []int{1621}})
	c.Stored(sub)
	w.Git("push", "-q", h.Repo(owner, "tool"), "main")
	housetest.Same(t, c.Live(sub), early)
	c.Shows(early)
}

// check 220, G01-806: anybody may say which servers they prefer.
func TestGraspList(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, x, at := h.Dial(), housetest.NewKey(t), past()
	list := func(at int64, servers ...string) *nostr.Event {
		var tags []nostr.Tag
		for _, s := range servers {
			tags = append(tags, nostr.Tag{"g", s})
		}
		return x.Sign(10317, at, "", tags...)
	}
	first, second := list(at, "wss://a.example"), list(at+1, "wss://b.example", "wss://a.example")
	c.Accepted(first)
	c.Accepted(second)
	c.Hides(first)
	c.Refused(list(at, "wss://c.example"), "invalid: have a newer version of this event")
	c.Accepted(list(at + 2)) // and change their mind
	if got := c.Query(nostr.Filter{Kinds: []int{10317}}); len(got) != 1 || len(got[0].Tags) != 0 {
		t.Errorf("%v are served", got)
	}
}

// check 221, G01-808: what was accepted stays when its anchor goes; what comes later is judged anew.
func TestRelatedOutlivesItsAnchor(t *testing.T) {
	t.Parallel()
	_, c, owner, _, at := settled(t)
	x := housetest.NewKey(t)
	early := issue(x, owner, "tool", "early")
	comment := about(t, 1111, "E", early.ID)
	c.Accepted(early, comment)
	c.Accepted(owner.Deletion(at+1, nostr.Tag{"a", housetest.Coordinate(owner, "tool")}))
	c.Shows(early, comment)
	late := issue(x, owner, "tool", "late")
	c.Refused(late, "blocked: ")
	c.Hides(late)
	c.Accepted(about(t, 1111, "E", early.ID)) // the issue is an anchor of its own
	// One issue gone, what hung on it stays, and nothing new hangs on it.
	c.Accepted(x.Deletion(0, nostr.Tag{"e", early.ID}))
	c.Hides(early)
	c.Shows(comment)
	c.Refused(about(t, 7, "e", early.ID), "blocked: ")
}

// check 222, G01-810: tags beside the point neither help nor hurt, and can be asked for.
func TestRelatedWithManyTags(t *testing.T) {
	t.Parallel()
	_, c, owner, _, _ := settled(t)
	var tags []nostr.Tag
	for i := range 20 {
		tags = append(tags, nostr.Tag{"t", fmt.Sprintf("topic-%d", i), "extra", ""})
	}
	tags = append(tags, nostr.Tag{"alt", "an issue"}, nostr.Tag{"client", "x", "31990:abc:d"}, nostr.Tag{"nonce", "1", "2"}, nostr.Tag{"t"}, nostr.Tag{"t", ""}, nostr.Tag{"weird", "\u0000\u2028<>&"})
	for i, kind := range []int{1621, 1617, 1, 1111, 1985} {
		ev := housetest.NewKey(t).Sign(kind, 0, "x", append([]nostr.Tag{{"a", housetest.Coordinate(owner, "tool")}}, tags...)...)
		c.Accepted(ev)
		for _, values := range [][]string{{"topic-19"}, {"none", "topic-7"}, {"topic-0", "topic-1", "topic-2"}} {
			got := c.Query(nostr.Filter{Kinds: []int{kind}, Tags: nostr.TagMap{"t": values}})
			if len(got) != 1 {
				t.Fatalf("kind %d, #t %v: %d events", kind, values, len(got))
			}
			housetest.Same(t, got[0], ev)
		}
		if n := c.Count(nostr.Filter{Tags: nostr.TagMap{"t": {"topic-3", "topic-4"}}}); n != int64(i+1) {
			t.Errorf("%d events are counted, want %d", n, i+1)
		}
	}
	c.Refused(housetest.NewKey(t).Sign(1, 0, "x", tags...), "blocked: ")
}

// check 223, G01-902: a deleted repository is gone until its owner announces it again.
func TestServedRepositoryIsDeleted(t *testing.T) {
	t.Parallel()
	for name, tag := range map[string]func(owner *housetest.Key, ev *nostr.Event) nostr.Tag{
		"by coordinate": func(owner *housetest.Key, _ *nostr.Event) nostr.Tag {
			return nostr.Tag{"a", housetest.Coordinate(owner, "tool")}
		},
		"by id": func(_ *housetest.Key, ev *nostr.Event) nostr.Tag { return nostr.Tag{"e", ev.ID} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, c, owner, w, at := settled(t)
			repo, oid, x := h.Repo(owner, "tool"), w.Git("rev-parse", "main"), housetest.NewKey(t)
			theirs := h.Served(c, x, "tool", at)
			ev := c.Query(nostr.Filter{Kinds: []int{30617}, Authors: []string{owner.Pub}})[0]
			pull := housetest.NewKey(t).Pull("tool", oid, owner)
			c.Accepted(pull)
			pending := owner.State("tool", at+1, "main="+w.Commit())
			c.Held(pending)
			c.Accepted(owner.Deletion(at+2, tag(owner, ev)))
			c.Hides(ev)
			h.Gone(repo)
			w.Fails("not found", "push", repo, "main")
			w.Fails("not found", "fetch", repo)
			c.Refused(ev, "blocked: ")
			c.Refused(owner.State("tool", at+3, "main="+oid), "invalid: ")
			housetest.Refs(t, h.Repo(x, "tool"), "main="+theirs.Git("rev-parse", "main"))
			housetest.Clone(t, h.Repo(x, "tool"))

			h.Clock.Advance(80 * 24 * time.Hour)
			h.Sweep()
			h.Restart(nil)
			h.Sweep()
			h.Gone(repo)
			c = h.Dial()
			again := h.Announcement(owner, "tool", at+4)
			c.Accepted(again)
			h.HeadIs(repo, "main")
			got := housetest.Remote(t, repo)
			if got["refs/heads/main"] != oid {
				t.Errorf("the data did not come back: %v", got)
			}
			housetest.Clone(t, repo).Git("fsck", "--full", "--strict")
			next := owner.State("tool", at+5, "main="+w.Git("rev-parse", "main"))
			c.Held(next)
			w.Git("push", "-q", repo, "main")
			c.Shows(next, again)
		})
	}
}

// check 223, G01-902: in the end the data is gone, too.
func TestDeletedRepositoryIsForgotten(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo := h.Repo(owner, "tool")
	c.Accepted(owner.Deletion(at+2, nostr.Tag{"a", housetest.Coordinate(owner, "tool")}))
	h.Clock.Advance(91 * 24 * time.Hour)
	h.Sweep()
	c.Held(h.Announcement(owner, "tool", at+4))
	housetest.Refs(t, repo)
	c.Held(owner.State("tool", at+5, "main="+w.Git("rev-parse", "main")))
	w.Git("push", "-q", repo, "main")
	housetest.Clone(t, repo).Git("fsck", "--full", "--strict")
}

// check 268, N-027: the limits that are told are the limits that are kept.
func TestToldLimits(t *testing.T) {
	t.Parallel()
	h, c, owner, _, at := settled(t, func(cfg *config.Config) {
		cfg.Limits.Subscriptions, cfg.Limits.QueryResults = 7, 25
	})
	limitation, ok := document(t, h, "Accept", "application/nostr+json")["limitation"].(map[string]any)
	if !ok {
		t.Fatal("no limitation is told")
	}
	told := func(name string) int {
		n, ok := limitation[name].(float64)
		if !ok || n < 1 {
			t.Fatalf("%s is %v", name, limitation[name])
		}
		return int(n)
	}

	most := told("max_limit")
	for i := range most + 5 {
		c.Must(owner.Sign(1621, at+int64(i), "x", nostr.Tag{"a", housetest.Coordinate(owner, "tool")}))
	}
	for _, limit := range []int{0, most, most + 1, 1 << 30} {
		if got := len(c.Query(nostr.Filter{Kinds: []int{1621}, Limit: limit})); got != most {
			t.Errorf("max_limit is %d, and limit %d brings %d", most, limit, got)
		}
	}

	subscriptions, d := told("max_subscriptions"), h.Dial()
	var ids []string
	for range subscriptions {
		ids = append(ids, d.Subscribe(nostr.Filter{Kinds: []int{1}}))
	}
	for _, id := range ids {
		d.Stored(id)
	}
	over := d.Subscribe(nostr.Filter{Kinds: []int{1}})
	if m := d.Message("CLOSED"); m[1] != over || !strings.HasPrefix(m[2], "rate-limited: ") && !strings.HasPrefix(m[2], "blocked: ") && !strings.HasPrefix(m[2], "error: ") {
		t.Errorf("one subscription more is answered %q", m)
	}
	d.Send("CLOSE", ids[0])
	d.Stored(d.Subscribe(nostr.Filter{Kinds: []int{1}}))

	length := told("max_message_length")
	message := func(n int) string {
		const head, tail = `["REQ","long",{"ids":["`, `"],"limit":1}]`
		id := strings.Repeat("0", 64)
		return head + id + tail + strings.Repeat(" ", n-len(head)-len(id)-len(tail))
	}
	e := h.Dial()
	e.SendRaw(message(length))
	if m := e.Message("EOSE"); m[1] != "long" {
		t.Errorf("a message of %d bytes is answered %q", length, m)
	}
	f := h.Dial()
	if err := f.WS().WriteMessage(1, []byte(message(length+1))); err == nil {
		m := f.Next("answer to a message that is too long", func(l string, _ []json.RawMessage) bool { return true })
		if label := string(m[0]); label == `"EOSE"` || label == `"EVENT"` {
			t.Errorf("a message of %d bytes is answered %s", length+1, m)
		}
	}
}
