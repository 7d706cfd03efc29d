package syncer

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// Sync-plus (GRASP-03): who takes part in a repository writes to relays that no announcement names. Their
// relay lists say which, and there they are asked for what is about the repositories that they take part in
// and for who they are. Such a relay is a peer like any other, but that it is not asked for announcements
// and states. Whoever answers once can name relays: so there are few of each person, a bound of all, and
// those come first that owners and maintainers name.

const (
	perPerson   = 3              // relays of one relay list
	maxPeople   = 20_000         // who are remembered, in all; owners and maintainers always are
	maxCrowd    = 500            // of one repository, beside these
	maxAsked    = 2_000          // people that one relay is asked about
	maxHeard    = 1_000          // events whose repository is still to be found out
	crowdsAtOne = 20             // repositories whose people are read at a time
	listsAtOne  = 500            // and relay lists
	crowdAgain  = 24 * time.Hour // when the people of a repository are read again
)

// A Society knows who takes part. Its methods are safe for concurrent use.
type Society interface {
	// People returns who signed what is served about a repository, at most limit.
	People(ctx context.Context, coord string, limit int) ([]grasp.PubKey, error)

	// RelayLists calls each with the relay lists (kind 10002) that are served of keys.
	RelayLists(ctx context.Context, keys []grasp.PubKey, each func(ev *nostr.Event)) error

	// Named calls each with the served events among ids.
	Named(ctx context.Context, ids []grasp.EventID, each func(ev *nostr.Event)) error
}

// A person takes part in repositories.
type person struct {
	key    string
	leads  int                 // repositories that they own or maintain
	crowds map[*crowd]struct{} // all that they take part in
	relays []string            // that they write to, at most perPerson
	listed int64               // created_at of the list that says so; 0 without
}

// A crowd are the people of one served repository.
type crowd struct {
	coord  string
	lead   []string // owner and maintainers, sorted
	named  []string // relays of the announcement, or who is always asked; sorted
	people map[string]*person
	late   map[string]struct{} // who joined since they were read: what was read may not know them
	read   time.Time           // when they were read last; zero: never
}

// A hearsay is somebody who answered something.
type hearsay struct {
	who string
	ids []grasp.EventID
}

// A circle knows who takes part in which repository, and where they write.
type circle struct {
	site   grasp.Site
	plain  bool
	always []string
	most   int

	// mu guards the rest.
	mu      sync.Mutex
	rev     uint64 // of the roster that it has seen
	crowds  map[string]*crowd
	people  map[string]*person
	byRelay map[string]map[*person]struct{} // who writes there
	byPeer  map[string]map[*crowd]struct{}  // whose announcement names it
	version map[string]uint64
	changes uint64
	changed bool     // relays came or went
	unread  []string // crowds whose people are to be read
	unasked []string // people whose relay list is to be looked for
	heard   []hearsay
	chosen  map[string]struct{} // relays that are peers because people write there
}

func newCircle(site grasp.Site, plain bool, always []string, most int) *circle {
	return &circle{
		site: site, plain: plain, always: always, most: most,
		crowds: map[string]*crowd{}, people: map[string]*person{}, byRelay: map[string]map[*person]struct{}{},
		byPeer: map[string]map[*crowd]struct{}{}, version: map[string]uint64{}, chosen: map[string]struct{}{},
	}
}

// bump says that a relay is asked for something else from now on. Call it with mu held, as all below that
// begin with a small letter and take no context.
func (c *circle) bump(urls ...string) {
	for _, u := range urls {
		c.changes++
		c.version[u] = c.changes
	}
}

// follow takes in what the roster says is served.
func (c *circle) follow(r *roster) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list, rev := r.servedSince(c.rev)
	if rev == c.rev {
		return
	}
	c.rev = rev
	is := make(map[string]*listing, len(list))
	for _, l := range list {
		is[l.coord] = l
	}
	for coord, was := range c.crowds {
		if is[coord] == nil {
			c.close(was)
		}
	}
	for coord, l := range is {
		named := l.peers
		if len(named) == 0 {
			named = c.always
		}
		w := c.crowds[coord]
		if w != nil && slices.Equal(w.lead, l.lead) && slices.Equal(w.named, named) {
			continue
		}
		next := &crowd{coord: coord, lead: l.lead, named: named, people: map[string]*person{}, late: map[string]struct{}{}}
		c.open(next)
		if w != nil {
			for key := range w.people {
				c.join(next, key) // until they are read anew
			}
			c.close(w)
		}
	}
}

func (c *circle) open(w *crowd) {
	c.crowds[w.coord] = w
	c.unread = append(c.unread, w.coord)
	for _, u := range w.named {
		if c.byPeer[u] == nil {
			c.byPeer[u] = map[*crowd]struct{}{}
		}
		c.byPeer[u][w] = struct{}{}
	}
	for _, key := range w.lead {
		c.join(w, key)
	}
	c.bump(w.named...)
}

func (c *circle) close(w *crowd) {
	if c.crowds[w.coord] == w {
		delete(c.crowds, w.coord)
	}
	for _, p := range w.people {
		c.leave(w, p)
	}
	for _, u := range w.named {
		if delete(c.byPeer[u], w); len(c.byPeer[u]) == 0 {
			delete(c.byPeer, u)
		}
	}
	c.bump(w.named...)
}

// join says that somebody takes part, if there is room for them.
func (c *circle) join(w *crowd, key string) {
	if w.people[key] != nil {
		return
	}
	leads := slices.Contains(w.lead, key)
	if !leads && len(w.people) >= maxCrowd+len(w.lead) {
		return
	}
	p := c.people[key]
	if p == nil {
		if !leads && len(c.people) >= maxPeople {
			return
		}
		p = &person{key: key, crowds: map[*crowd]struct{}{}}
		c.people[key] = p
		c.unasked = append(c.unasked, key)
	}
	if leads {
		p.leads++
	}
	p.crowds[w], w.people[key], w.late[key] = struct{}{}, p, struct{}{}
	c.bump(w.named...)
	c.bump(p.relays...)
	if len(p.relays) == 0 {
		for u := range w.outboxes() {
			c.bump(u)
		}
	}
}

// outboxes returns the relays to which the people of a repository write.
func (w *crowd) outboxes() map[string]struct{} {
	out := map[string]struct{}{}
	for _, p := range w.people {
		for _, u := range p.relays {
			out[u] = struct{}{}
		}
	}
	return out
}

func (c *circle) leave(w *crowd, p *person) {
	if slices.Contains(w.lead, p.key) {
		p.leads--
	}
	delete(p.crowds, w)
	delete(w.people, p.key)
	delete(w.late, p.key)
	c.bump(p.relays...)
	if len(p.crowds) == 0 {
		c.writes(p, nil)
		delete(c.people, p.key)
	}
}

// writes says where somebody writes.
func (c *circle) writes(p *person, relays []string) {
	if slices.Equal(p.relays, relays) {
		return
	}
	c.changed = true
	for _, u := range p.relays {
		if delete(c.byRelay[u], p); len(c.byRelay[u]) == 0 {
			delete(c.byRelay, u)
		}
	}
	c.bump(p.relays...)
	p.relays = relays
	for _, u := range relays {
		if c.byRelay[u] == nil {
			c.byRelay[u] = map[*person]struct{}{}
		}
		c.byRelay[u][p] = struct{}{}
	}
	c.bump(relays...)
}

// list takes in somebody's relay list, if it is the newest.
func (c *circle) list(ev *nostr.Event) {
	p := c.people[ev.PubKey]
	if p == nil || int64(ev.CreatedAt) < p.listed {
		return
	}
	p.listed = int64(ev.CreatedAt)
	var relays []string
	for _, raw := range grasp.WriteRelays(ev, 3*perPerson) {
		u, ok := PeerURL(raw, c.plain)
		if ok && !c.site.Ours(u) && !slices.Contains(relays, u) && len(relays) < perPerson {
			relays = append(relays, u)
		}
	}
	slices.Sort(relays)
	c.writes(p, relays)
}

// served takes in what has become visible. It does not block.
func (c *circle) served(ev *nostr.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case ev.Kind == grasp.KindRelayList:
		c.list(ev)
		return
	case slices.Contains(grasp.ProfileKinds, ev.Kind), ev.Kind == grasp.KindDeletion, ev.Kind == grasp.KindVanish:
		return
	}
	ids, coords := grasp.Anchors(ev)
	direct := false
	for _, coord := range coords {
		if w := c.crowds[coord]; w != nil {
			c.join(w, ev.PubKey)
			direct = true
		}
	}
	if !direct && len(ids) > 0 && len(c.heard) < maxHeard {
		c.heard = append(c.heard, hearsay{ev.PubKey, ids[:min(len(ids), 4)]})
	}
}

// work reads what is still to be read. It does a bounded part of it at a time.
func (c *circle) work(ctx context.Context, of Society, now time.Time) error {
	if err := c.attribute(ctx, of); err != nil {
		return err
	}
	c.mu.Lock()
	if len(c.unread) == 0 {
		for coord, w := range c.crowds {
			if !w.read.IsZero() && now.Sub(w.read) >= crowdAgain {
				c.unread = append(c.unread, coord)
			}
		}
		slices.Sort(c.unread)
	}
	some := c.unread[:min(len(c.unread), crowdsAtOne)]
	c.unread = c.unread[len(some):]
	c.mu.Unlock()
	for i, coord := range some {
		list, err := of.People(ctx, coord, maxCrowd)
		c.mu.Lock()
		if err != nil {
			c.unread = append(c.unread, some[i:]...)
			c.mu.Unlock()
			return err
		}
		c.gather(coord, list, now)
		c.mu.Unlock()
	}
	c.mu.Lock()
	keys := c.unasked[:min(len(c.unasked), listsAtOne)]
	c.unasked = c.unasked[len(keys):]
	c.mu.Unlock()
	if len(keys) == 0 {
		return nil
	}
	names := make([]grasp.PubKey, len(keys))
	for i, k := range keys {
		names[i] = grasp.PubKey(k)
	}
	var lists []*nostr.Event
	err := of.RelayLists(ctx, names, func(ev *nostr.Event) { lists = append(lists, ev) })
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.unasked = append(c.unasked, keys...)
		return err
	}
	for _, ev := range lists {
		c.list(ev)
	}
	return nil
}

// gather makes list the people of a repository, beside those who lead it.
func (c *circle) gather(coord string, list []grasp.PubKey, now time.Time) {
	w := c.crowds[coord]
	if w == nil {
		return
	}
	w.read = now
	is := make(map[string]bool, len(list))
	for _, k := range list {
		is[string(k)] = true
	}
	for key, p := range w.people {
		if _, late := w.late[key]; !is[key] && !late && !slices.Contains(w.lead, key) {
			c.leave(w, p)
		}
	}
	for _, k := range list {
		c.join(w, string(k))
	}
	clear(w.late)
}

// attribute finds out to which repositories answers belong that name no repository themselves.
func (c *circle) attribute(ctx context.Context, of Society) error {
	c.mu.Lock()
	heard := c.heard
	c.heard = nil
	c.mu.Unlock()
	if len(heard) == 0 {
		return nil
	}
	var ids []grasp.EventID
	for _, h := range heard {
		ids = append(ids, h.ids...)
	}
	slices.Sort(ids)
	about := map[grasp.EventID][]string{}
	err := of.Named(ctx, slices.Compact(ids), func(ev *nostr.Event) {
		_, coords := grasp.Anchors(ev)
		about[grasp.EventID(ev.ID)] = coords
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.heard = append(heard, c.heard...)[:min(len(heard)+len(c.heard), maxHeard)]
		return err
	}
	for _, h := range heard {
		for _, id := range h.ids {
			for _, coord := range about[id] {
				if w := c.crowds[coord]; w != nil {
					c.join(w, h.who)
				}
			}
		}
	}
	return nil
}

// choose adds to named the relays that are peers because people write there, at most so many.
func (c *circle) choose(named map[string]struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed = false
	maps.DeleteFunc(c.version, func(u string, _ uint64) bool { return c.byRelay[u] == nil && c.byPeer[u] == nil })
	type rank struct {
		url           string
		leads, people int
	}
	var list []rank
	for u, of := range c.byRelay {
		if _, is := named[u]; is {
			continue
		}
		k := rank{url: u, people: len(of)}
		for p := range of {
			if p.leads > 0 {
				k.leads++
			}
		}
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b rank) int {
		return cmp.Or(cmp.Compare(b.leads, a.leads), cmp.Compare(b.people, a.people), cmp.Compare(a.url, b.url))
	})
	clear(c.chosen)
	for _, k := range list[:min(len(list), c.most)] {
		c.chosen[k.url] = struct{}{}
		named[k.url] = struct{}{}
	}
}

// moved reports whether choose may answer something else than the last time.
func (c *circle) moved() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// add puts into w what a relay is asked for because of people, and returns its version.
func (c *circle) add(url string, w *want) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	coords, people, asked := map[string]struct{}{}, map[string]struct{}{}, map[*crowd]struct{}{}
	for _, s := range w.coords {
		coords[s] = struct{}{}
	}
	for p := range c.byRelay[url] {
		people[p.key] = struct{}{}
		for of := range p.crowds {
			if _, twice := asked[of]; twice {
				continue
			}
			asked[of] = struct{}{}
			coords[of.coord] = struct{}{}
			for key, other := range of.people {
				if len(other.relays) == 0 {
					people[key] = struct{}{} // where they write is not known: others of the same repository write here
				}
			}
		}
	}
	for of := range c.byPeer[url] {
		for key := range of.people {
			people[key] = struct{}{}
		}
	}
	w.coords = slices.Sorted(maps.Keys(coords))
	w.people = slices.Sorted(maps.Keys(people))
	if len(w.people) > maxAsked {
		// Those who lead are asked for in any case.
		slices.SortStableFunc(w.people, func(a, b string) int { return cmp.Compare(c.people[b].leads, c.people[a].leads) })
		w.people = w.people[:maxAsked]
		slices.Sort(w.people)
	}
	return c.version[url]
}

// versionOf is add without the work.
func (c *circle) versionOf(url string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version[url]
}

// relaysOf returns the relays to which people of these repositories write.
func (c *circle) relaysOf(coords []string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]struct{}{}
	for _, coord := range coords {
		if w := c.crowds[coord]; w != nil {
			maps.Copy(out, w.outboxes())
		}
	}
	return slices.Sorted(maps.Keys(out))
}

// at returns how many people write to a relay, about how many repositories, and whether it is a peer
// because of that.
func (c *circle) at(url string) (people, repos int, chosen bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := map[*crowd]struct{}{}
	for p := range c.byRelay[url] {
		maps.Copy(of, p.crowds)
	}
	_, chosen = c.chosen[url]
	return len(c.byRelay[url]), len(of), chosen
}

// relaysFor returns the relays to which the people of a repository write; of all of an identifier if
// owner is "".
func (c *circle) relaysFor(owner, id string) []string {
	c.mu.Lock()
	var coords []string
	for coord := range c.crowds {
		if (owner == "" || strings.HasPrefix(coord, "30617:"+owner+":")) && strings.HasSuffix(coord, ":"+id) && len(coord) == 71+len(id) {
			coords = append(coords, coord)
		}
	}
	c.mu.Unlock()
	return c.relaysOf(coords)
}

// leadsAny reports whether somebody owns or maintains what is served here.
func (c *circle) leadsAny(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.people[key]
	return p != nil && p.leads > 0
}
