package syncer

import (
	"cmp"
	"context"
	"hash/maphash"
	"maps"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/net/idna"

	"github.com/gitroost/gitroost/grasp"
)

const (
	maxTouched = 10_000 // identifiers to look at again; beyond that all are
	pageSize   = 1_000  // announcements read at a time
	maxLead    = 100    // maintainers of one announcement who are people of its repository
	maxURL     = 512    // bytes of a relay's address
)

// A roster knows which announcements are held here, and so which peers may have what.
type roster struct {
	site   grasp.Site
	plain  bool
	plus   bool     // those that name no peer are kept as well, and who leads them
	always []string // peers that nobody has to name

	// mu guards the rest.
	mu      sync.Mutex
	touched map[string]struct{} // identifiers whose announcements may have changed
	all     bool                // or anything may have
	held    map[string]*listing // by coordinate
	byID    map[string][]*listing
	byPeer  map[string]map[*listing]struct{}
	version map[string]uint64 // of what a peer may have
	changes uint64            // so far; versions are never used again
	counted bool              // peers were asked for since anything changed
	digests map[string]uint64 // of the announcements of each identifier
	read    bool              // all were read once
	rev     uint64            // grows with each change of held
	seed    maphash.Seed
}

// A listing is an announcement, as far as it matters here.
type listing struct {
	id, coord, owner string
	served           bool
	peers            []string // addresses, sorted
	lead             []string // owner and maintainers, sorted; only for sync-plus
}

func newRoster(site grasp.Site, plain bool, relays []string) *roster {
	r := &roster{site: site, plain: plain, touched: map[string]struct{}{}}
	for _, raw := range relays {
		if u, ok := PeerURL(raw, true); ok && !site.Ours(u) {
			r.always = append(r.always, u)
		}
	}
	r.clear()
	return r
}

func (r *roster) clear() {
	r.held, r.byID = map[string]*listing{}, map[string][]*listing{}
	r.byPeer, r.version = map[string]map[*listing]struct{}{}, map[string]uint64{}
	r.digests, r.seed = map[string]uint64{}, maphash.MakeSeed()
}

// digest tells sets of announcements apart, whatever their order.
func (r *roster) digest(a Announced) uint64 {
	if a.Served {
		return maphash.String(r.seed, "served "+a.Event.ID)
	}
	return maphash.String(r.seed, "waiting "+a.Event.ID)
}

// touch says that the announcements of an identifier may have changed.
func (r *roster) touch(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.touched) >= maxTouched {
		r.all = true
	} else if !r.all {
		r.touched[id] = struct{}{}
	}
}

func (r *roster) touchAll() {
	r.mu.Lock()
	r.all = true
	r.mu.Unlock()
}

// refresh looks at what was touched. It returns the identifiers of which others are announced now.
func (r *roster) refresh(ctx context.Context, lib Library) (changed []string, err error) {
	r.mu.Lock()
	all, touched := r.all, r.touched
	r.all, r.touched = false, map[string]struct{}{}
	r.mu.Unlock()
	if all {
		if changed, err = r.readAll(ctx, lib); err != nil {
			r.touchAll()
		}
		return changed, err
	}
	for id := range touched {
		var list []*listing
		var sum uint64
		err := lib.AnnouncementsOf(ctx, id, func(a Announced) {
			sum += r.digest(a)
			if l := r.listing(a); l != nil && l.id == id {
				list = append(list, l)
			}
		})
		if err != nil {
			r.touchAll()
			return changed, err
		}
		r.mu.Lock()
		r.replace(id, list)
		if r.sum(id, sum) {
			changed = append(changed, id)
		}
		r.mu.Unlock()
	}
	return changed, nil
}

// sum keeps a digest, and reports whether it is another one. Call it with mu held.
func (r *roster) sum(id string, is uint64) bool {
	was := r.digests[id]
	if r.digests[id] = is; is == 0 {
		delete(r.digests, id)
	}
	return was != is
}

func (r *roster) readAll(ctx context.Context, lib Library) (changed []string, err error) {
	fresh, sums := map[string][]*listing{}, map[string]uint64{}
	for after, more := int64(0), true; more; {
		n := 0
		err := lib.Announcements(ctx, after, pageSize, func(seq int64, a Announced) {
			n, after = n+1, seq
			sums[grasp.FirstValue(a.Event, "d")] += r.digest(a)
			if l := r.listing(a); l != nil {
				fresh[l.id] = append(fresh[l.id], l)
			}
		})
		if err != nil {
			return nil, err
		}
		more = n == pageSize
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.byID {
		if _, ok := fresh[id]; !ok {
			r.replace(id, nil)
		}
	}
	for id, list := range fresh {
		r.replace(id, list)
	}
	for id := range r.digests {
		if _, ok := sums[id]; !ok {
			sums[id] = 0
		}
	}
	for id, sum := range sums {
		if r.sum(id, sum) && r.read {
			changed = append(changed, id)
		}
	}
	r.read = true
	return changed, nil
}

// listing reads an announcement. It is nil if no peer is named.
func (r *roster) listing(a Announced) *listing {
	parsed, err := r.site.Announcement(a.Event)
	if err != nil {
		return nil
	}
	l := &listing{id: parsed.Addr.ID, owner: string(parsed.Addr.Owner), served: a.Served}
	l.coord = "30617:" + l.owner + ":" + l.id
	best := map[string]string{} // without the scheme; with TLS beats without
	for _, raw := range parsed.Relays {
		u, ok := PeerURL(raw, r.plain)
		if !ok || r.site.Ours(u) {
			continue // G02-03
		}
		_, rest, _ := strings.Cut(u, "://")
		if have := best[rest]; have == "" || strings.HasPrefix(u, "wss:") {
			best[rest] = u
		}
	}
	if len(best) == 0 && !r.plus {
		return nil
	}
	l.peers = slices.Sorted(maps.Values(best))
	if r.plus {
		l.lead = append(l.lead, l.owner)
		for _, m := range parsed.Maintainers[:min(len(parsed.Maintainers), maxLead)] {
			l.lead = append(l.lead, string(m))
		}
		slices.Sort(l.lead)
		l.lead = slices.Compact(l.lead)
	}
	return l
}

// replace makes list all that is announced of id. What waits beside a served version of the same
// repository adds its peers. Call it with mu held.
func (r *roster) replace(id string, list []*listing) {
	merged := map[string]*listing{}
	for _, l := range list {
		if m := merged[l.coord]; m != nil {
			m.served = m.served || l.served
			m.peers = append(m.peers, l.peers...)
			slices.Sort(m.peers)
			m.peers = slices.Compact(m.peers)
			m.lead = slices.Compact(slices.Sorted(slices.Values(append(m.lead, l.lead...))))
			continue
		}
		merged[l.coord] = l
	}
	r.counted = false
	var keep []*listing
	for _, was := range r.byID[id] {
		if is := merged[was.coord]; is != nil && is.served == was.served && slices.Equal(is.peers, was.peers) && slices.Equal(is.lead, was.lead) {
			keep = append(keep, was)
			delete(merged, was.coord)
			continue
		}
		delete(r.held, was.coord)
		r.rev++
		for _, p := range was.peers {
			r.changes++
			r.version[p] = r.changes
			if delete(r.byPeer[p], was); len(r.byPeer[p]) == 0 {
				delete(r.byPeer, p)
				delete(r.version, p)
			}
		}
	}
	for _, l := range merged {
		keep = append(keep, l)
		r.held[l.coord] = l
		r.rev++
		for _, p := range l.peers {
			r.changes++
			r.version[p] = r.changes
			if r.byPeer[p] == nil {
				r.byPeer[p] = map[*listing]struct{}{}
			}
			r.byPeer[p][l] = struct{}{}
		}
	}
	if r.byID[id] = keep; len(keep) == 0 {
		delete(r.byID, id)
	}
}

// peers returns at most so many peers: those first that most people name, so that one person cannot
// fill the list. It is nil if nothing has changed since the last time.
func (r *roster) peers(most int) map[string]struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counted {
		return nil
	}
	r.counted = true
	type rank struct {
		url             string
		served, waiting int // owners
	}
	list := make([]rank, 0, len(r.byPeer))
	for u, of := range r.byPeer {
		if len(r.byPeer) <= most {
			list = append(list, rank{url: u})
			continue
		}
		owners := map[string]bool{} // whether any of an owner's is served
		for l := range of {
			owners[l.owner] = owners[l.owner] || l.served
		}
		k := rank{url: u}
		for _, served := range owners {
			if served {
				k.served++
			} else {
				k.waiting++
			}
		}
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b rank) int {
		return cmp.Or(cmp.Compare(b.served, a.served), cmp.Compare(b.waiting, a.waiting), cmp.Compare(a.url, b.url))
	})
	out := make(map[string]struct{}, min(len(list), most)+len(r.always))
	for _, u := range r.always {
		out[u] = struct{}{}
	}
	for _, k := range list[:min(len(list), most)] {
		out[k.url] = struct{}{}
	}
	return out
}

// recount makes peers look again.
func (r *roster) recount() {
	r.mu.Lock()
	r.counted = false
	r.mu.Unlock()
}

// wantOf returns what a peer may have that belongs here, and its version.
func (r *roster) wantOf(peer string) (w want, version uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l := range r.byPeer[peer] {
		w.ids = append(w.ids, l.id)
		if l.served {
			w.coords = append(w.coords, l.coord)
			w.authors = append(w.authors, l.owner)
		}
	}
	for _, list := range []*[]string{&w.ids, &w.coords, &w.authors} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	w.named = len(w.ids) > 0 || slices.Contains(r.always, peer)
	return w, r.version[peer]
}

// servedSince returns the repositories that are served, and the number of this answer; nothing if that is
// rev.
func (r *roster) servedSince(rev uint64) (list []*listing, is uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rev == rev {
		return nil, rev
	}
	for _, l := range r.held {
		if l.served {
			list = append(list, l)
		}
	}
	return list, r.rev
}

// versionOf is wantOf without the work.
func (r *roster) versionOf(peer string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.version[peer]
}

// count returns how many repositories a peer is named for, and how many of them are served.
func (r *roster) count(peer string) (all, served int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l := range r.byPeer[peer] {
		if l.served {
			served++
		}
	}
	return len(r.byPeer[peer]), served
}

// keysOf returns the peers of the repositories that ev names.
func (r *roster) keysOf(ev *nostr.Event) []string {
	_, coords := grasp.Anchors(ev)
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, c := range coords {
		if l := r.held[c]; l != nil && l.served {
			out = append(out, l.peers...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// peersOf returns the peers of a repository, or of all repositories of an identifier if owner is "".
func (r *roster) peersOf(owner, id string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, l := range r.byID[id] {
		if owner == "" || l.owner == owner {
			out = append(out, l.peers...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// PeerURL returns the one form of a relay's address: scheme and host in lower case, IDNA as ASCII, no
// default port, no slash at the end (G02-03). Only ws (if plain is set) and wss are relays; user names,
// queries and fragments are none.
func PeerURL(raw string, plain bool) (string, bool) {
	if len(raw) > maxURL || strings.ContainsFunc(raw, func(c rune) bool { return c <= ' ' || c == '\\' || c == 0x7f }) {
		return "", false
	}
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(raw, "#") {
		return "", false
	}
	scheme := strings.ToLower(u.Scheme)
	standard := "443"
	switch {
	case scheme == "wss":
	case scheme == "ws" && plain:
		standard = "80"
	default:
		return "", false
	}
	host := strings.TrimSuffix(u.Hostname(), ".")
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return "", false
		}
		host = ip.Unmap().String()
		if ip.Unmap().Is6() {
			host = "[" + host + "]"
		}
	} else {
		ascii, err := idna.Lookup.ToASCII(host)
		if err != nil || ascii == "" || len(ascii) > 253 {
			return "", false
		}
		host = strings.ToLower(ascii)
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return "", false
		}
		if p = strconv.FormatUint(n, 10); p != standard {
			host += ":" + p
		}
	} else if strings.HasSuffix(u.Host, ":") && strings.Count(u.Host, ":") != 1 && !strings.HasSuffix(u.Host, "]:") {
		return "", false
	}
	at := u.EscapedPath()
	if strings.Contains(at, "..") || strings.Contains(at, "//") {
		at = path.Clean(at)
	}
	return scheme + "://" + host + strings.TrimRight(at, "/"), true
}
