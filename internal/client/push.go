package client

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// Announce signs a once and hands it to the relay of each server; the answers are in their order.
// It ends with an error at the first relay that cannot be reached.
func (c *Client) Announce(ctx context.Context, key Key, servers []Server, a Announcement) (*nostr.Event, []Answer, error) {
	const op = "client: announce"
	if len(servers) == 0 {
		return nil, nil, fault.E(fault.Invalid, op, "no server is named")
	}
	if !grasp.ValidIdentifier(a.ID) {
		return nil, nil, fault.Errorf(fault.Invalid, op, "%q cannot be the name of a repository; choose another with --id", a.ID)
	}
	relays := make([]*Relay, 0, len(servers))
	// An announcement replaces an older one of the same key and name, whoever's clock was ahead.
	at := c.Now()
	for _, server := range servers {
		if err := checkKey(key, server); err != nil {
			return nil, nil, err
		}
		relay, err := Dial(ctx, server.Relay())
		if err != nil {
			return nil, nil, err
		}
		defer relay.Close()
		relays = append(relays, relay)
		was, err := relay.Query(ctx, nostr.Filter{
			Kinds: []int{grasp.KindAnnouncement}, Authors: []string{string(key.Public())}, Tags: nostr.TagMap{"d": {a.ID}}, Limit: 1,
		})
		if err != nil {
			return nil, nil, err
		}
		for _, ev := range was {
			at = after(at, int64(ev.CreatedAt))
		}
	}
	ev := a.Event(at)
	if err := key.Sign(ev); err != nil {
		return nil, nil, err
	}
	answers := make([]Answer, len(relays))
	for i, relay := range relays {
		var err error
		if answers[i], err = relay.Publish(ctx, ev); err != nil {
			return ev, answers, err
		}
	}
	return ev, answers, nil
}

// A Push says what to push.
type Push struct {
	Dir  string
	Home Home
	Key  Key

	// Branches are names such as "main". None means the branch that is checked out.
	Branches []string
	Tags     bool // and every tag
	All      bool // every branch and tag, and nothing else: what is not here is deleted there
	Force    bool // also where commits would be lost
}

// Pushed is what became of a Push.
type Pushed struct {
	State  *nostr.Event // nil if the state that is served says it all already
	Answer Answer       // of the relay; OK if State is nil
	Refs   []grasp.RefName
	Output string // what git printed for people
}

// Push signs a state that says where the refs shall be, hands it to the relay, and has git push
// them. The state is the one that is served, with the pushed refs changed. A relay that says no
// ends it with a fault.Refused, git's no with its output and a fault.Refused.
func (c *Client) Push(ctx context.Context, p Push) (Pushed, error) {
	const op = "client: push"
	var done Pushed
	if err := checkKey(p.Key, p.Home.Server); err != nil {
		return done, err
	}
	local, err := c.Local(ctx, p.Dir)
	if err != nil {
		return done, err
	}
	names, err := p.choose(local)
	if err != nil {
		return done, err
	}
	relay, err := Dial(ctx, p.Home.Server.Relay())
	if err != nil {
		return done, err
	}
	defer relay.Close()
	base, newest, err := served(ctx, relay, p.Home.Addr, p.Key.Public())
	if err != nil {
		return done, err
	}
	if !p.Force {
		if err := c.losesNothing(ctx, p, local, names, base.Refs); err != nil {
			return done, err
		}
	}
	next := State{ID: p.Home.Addr.ID, Refs: grasp.Refs{}, Peeled: local.Peeled, Head: base.Head}
	if !p.All {
		maps.Copy(next.Refs, base.Refs)
	}
	for _, n := range names {
		next.Refs[n] = local.Refs[n]
	}
	if _, ok := next.Refs[next.Head]; !ok {
		next.Head = local.Head
	}
	done.Refs = names
	done.Answer = Answer{OK: true, Message: "the state is served already"}
	if base.Event == nil || !next.equal(base) {
		next.Peeled = peeledOf(next, local, base)
		done.State = next.Event(after(c.Now(), newest))
		if err := p.Key.Sign(done.State); err != nil {
			return done, err
		}
		if done.Answer, err = relay.Publish(ctx, done.State); err != nil {
			return done, err
		}
		if !done.Answer.OK {
			return done, fault.Errorf(fault.Refused, op, "the relay refuses the state: %s", done.Answer.Message)
		}
	}
	// The signed state decides, so git's own objection to a rewritten branch is not asked for.
	args := []string{"push", p.Home.Server.Clone(p.Home.Addr)}
	for _, n := range names {
		args = append(args, "+"+string(n)+":"+string(n))
	}
	_, stderr, err := c.Git(ctx, p.Dir, args...)
	done.Output = stderr
	if err != nil {
		return done, fault.E(fault.Refused, op, "git push failed; what it said is above")
	}
	return done, nil
}

// choose returns the refs to push, in order.
func (p Push) choose(local Local) ([]grasp.RefName, error) {
	const op = "client: push"
	var out []grasp.RefName
	for _, b := range p.Branches {
		n := grasp.RefName("refs/heads/" + b)
		if strings.HasPrefix(b, "refs/") {
			n = grasp.RefName(b)
		}
		if _, ok := local.Refs[n]; !ok {
			return nil, fault.Errorf(fault.Invalid, op, "there is no branch %q here", b)
		}
		out = append(out, n)
	}
	if len(p.Branches) == 0 && !p.All && local.Head != "" {
		if _, ok := local.Refs[local.Head]; ok {
			out = append(out, local.Head)
		}
	}
	for n := range local.Refs {
		if p.All || p.Tags && n.IsTag() {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if len(out) == 0 {
		return nil, fault.E(fault.Invalid, op, "there is nothing to push: commit something first, or name a branch")
	}
	return out, nil
}

// losesNothing makes sure that what is served can be reached from what is pushed.
func (c *Client) losesNothing(ctx context.Context, p Push, local Local, names []grasp.RefName, was grasp.Refs) error {
	const op = "client: push"
	for _, n := range names {
		old, ok := was[n]
		if !ok || old == local.Refs[n] {
			continue
		}
		if n.IsTag() {
			return fault.Errorf(fault.Invalid, op, "%s is served already and means another commit; push it with --force to move it", n)
		}
		if _, _, err := c.Git(ctx, p.Dir, "merge-base", "--is-ancestor", string(old), string(local.Refs[n])); err != nil {
			return fault.Errorf(fault.Invalid, op,
				"%s is served at %s, which your branch does not contain; fetch and merge it first (git fetch %s %s), or push with --force to drop it",
				n, old.Short(), p.Home.Server.Clone(p.Home.Addr), n)
		}
	}
	if !p.All {
		return nil
	}
	for _, n := range was.Sorted() {
		if _, ok := local.Refs[n]; !ok {
			return fault.Errorf(fault.Invalid, op, "%s is served but not here; --all would delete it: fetch it, or add --force", n)
		}
	}
	return nil
}

// served returns the newest state by a maintainer of repo that the relay serves, and the time of
// the newest state by any of them or by me.
func served(ctx context.Context, relay *Relay, repo grasp.Addr, me grasp.PubKey) (grasp.State, int64, error) {
	events, err := relay.Query(ctx, nostr.Filter{
		Kinds: []int{grasp.KindAnnouncement, grasp.KindState}, Tags: nostr.TagMap{"d": {repo.ID}},
	})
	if err != nil {
		return grasp.State{}, 0, err
	}
	view := grasp.View{ID: repo.ID, Announcements: map[grasp.PubKey]grasp.Announcement{}, States: map[grasp.PubKey][]grasp.State{}}
	// A waiting announcement is not served; its owner maintains all the same.
	view.Announcements[repo.Owner] = grasp.Announcement{Addr: repo}
	for _, ev := range events {
		switch ev.Kind {
		case grasp.KindAnnouncement:
			if a, err := (grasp.Site{}).Announcement(ev); err == nil {
				view.Announcements[a.Addr.Owner] = a
			}
		case grasp.KindState:
			if s, err := grasp.ParseState(ev); err == nil {
				s.Shelf = grasp.Served // or the relay would not have sent it
				view.States[s.Author] = append(view.States[s.Author], s)
			}
		}
	}
	members := view.Maintainers(repo.Owner)
	newest := int64(0)
	for author, states := range view.States {
		for _, s := range states {
			if members.Has(author) || author == me {
				newest = max(newest, s.At)
			}
		}
	}
	best, _ := view.State(repo.Owner)
	return best, newest, nil
}

// peeledOf keeps the ^{} companions of tags that are not pushed now.
func peeledOf(next State, local Local, base grasp.State) map[grasp.RefName]grasp.OID {
	out := map[grasp.RefName]grasp.OID{}
	if base.Event != nil {
		for _, t := range base.Event.Tags {
			if len(t) < 2 {
				continue
			}
			n, ok := strings.CutSuffix(t[0], "^{}")
			name := grasp.RefName(n)
			if oid, good := grasp.ParseOID(t[1]); ok && good && next.Refs[name] != "" && next.Refs[name] == base.Refs[name] {
				out[name] = oid
			}
		}
	}
	for n, o := range local.Peeled {
		if next.Refs[n] == local.Refs[n] {
			out[n] = o
		}
	}
	return out
}

// after returns now, or the second after was if that is later: of two events in one second the
// lower id wins, which is a lottery (N-009).
func after(now time.Time, was int64) time.Time {
	if now.Unix() > was {
		return now
	}
	return time.Unix(was+1, 0)
}

func checkKey(key Key, server Server) error {
	if key.Public() == "" {
		return fault.E(fault.Invalid, "client: key", "no key is given")
	}
	if key.Demo && !server.Loopback() {
		return fault.Errorf(fault.Refused, "client: key",
			"this key was made for a demonstration and is not used on %s; make your own with: gitroost key new --out my.key", server)
	}
	return nil
}
