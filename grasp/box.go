package grasp

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// Box returns the contributor's box that a clone URL names: http or https at our authority with the
// path /prs/<npub>/<identifier>.git, one slash behind it at most, and no user, query, fragment or
// further segment. How the identifier is percent-encoded does not matter (G06-07).
func (s Site) Box(raw string) (Addr, bool) {
	u, err := url.Parse(raw)
	if err != nil || !schemeIs(u, "http", "https") || !s.has(u) || strings.ContainsAny(raw, "?#") {
		return Addr{}, false
	}
	at := u.EscapedPath()
	if s.basePath != "" {
		at = strings.TrimPrefix(at, "/"+s.basePath)
	}
	rest, ok := strings.CutPrefix(at, "/prs/")
	key, name, two := strings.Cut(strings.TrimSuffix(rest, "/"), "/")
	if !ok || !two || strings.Contains(name, "/") {
		return Addr{}, false
	}
	owner, err := ParseNpub(key)
	if err != nil {
		return Addr{}, false
	}
	if name, err = url.PathUnescape(name); err != nil {
		return Addr{}, false
	}
	id, ok := strings.CutSuffix(name, ".git")
	box := Addr{Owner: owner, ID: id, Box: true}
	return box, ok && box.Valid()
}

// Pull is ParsePull, and finds the boxes of its author that a pull request names here: each for an
// identifier that its own a tags name as well (G06-07).
func (s Site) Pull(ev *nostr.Event) (Pull, error) {
	p, err := ParsePull(ev)
	if err != nil {
		return p, err
	}
	for _, u := range p.Clone {
		if box, ok := s.Box(u); ok && p.Fits(box) && !slices.Contains(p.Boxes, box) {
			p.Boxes = append(p.Boxes, box)
		}
	}
	return p, nil
}

func (p Pull) author() PubKey { return PubKey(p.Event.PubKey) }

// Fits reports whether box is of p's author and of an identifier that p names (G06-06).
func (p Pull) Fits(box Addr) bool {
	return box.Box && p.author() == box.Owner && slices.ContainsFunc(p.Repos, func(a Addr) bool { return a.ID == box.ID })
}

// Lockers returns the boxes in which the commit of p may be: those of its author, one for each
// identifier that p names, at most MaxLockers.
func (p Pull) Lockers() []Addr {
	var out []Addr
	for _, a := range p.Repos {
		box := Addr{Owner: p.author(), ID: a.ID, Box: true}
		if !slices.Contains(out, box) {
			if out = append(out, box); len(out) == MaxLockers {
				break
			}
		}
	}
	return out
}

// MaxLockers is in how many boxes the commit of one pull request is looked for.
const MaxLockers = 16

// boxed reports whether the ref of p is in one of its boxes, at its tip.
func (p Pull) boxed(at map[Addr]*Snapshot) bool {
	for _, box := range p.Lockers() {
		if snap := at[box]; snap != nil && p.Tip != "" && snap.Refs.OID(PullRef(p.ID)) == p.Tip {
			return true
		}
	}
	return false
}

// Mirrored returns the boxes in at whose commits come to hosted repositories with the next Plan
// (G06-09). What is complete in them counts among what is here: it is about to be.
func (v View) Mirrored(at map[Addr]*Snapshot) []Addr {
	var out []Addr
	c := newCensus(v)
	for _, id := range slices.Sorted(maps.Keys(v.Pulls)) {
		p := v.Pulls[id]
		for _, box := range p.Lockers() {
			if snap := at[box]; snap != nil && p.Tip != "" && snap.Refs.OID(PullRef(id)) == p.Tip &&
				!slices.Contains(out, box) && len(c.concerned(p, c.maintainers)) > 0 {
				out = append(out, box)
			}
		}
	}
	return out
}

// checkBoxPush is CheckPush for a contributor's box. It takes PR refs alone; one whose event is known
// here has to be the author's own, for this identifier, at its tip, and has to name the box
// (G06-04, G06-05). No text holds a hex digit of what was pushed: chance makes error codes of them.
func (v View) checkBoxPush(box Addr, now Tips, updates []RefChange) (Grant, error) {
	var g Grant
	if len(updates) == 0 {
		return Grant{}, refuse("H-244", Invalid, "the push names no ref")
	}
	seen := make(map[RefName]struct{}, len(updates))
	for _, u := range updates {
		if _, twice := seen[u.Ref]; twice {
			return Grant{}, refuseBox("H-253", u.Ref, "a ref is named twice in one push", "")
		}
		seen[u.Ref] = struct{}{}
		if _, ok := u.Ref.Pull(); !ok {
			return Grant{}, refuseBox("G06-04", u.Ref, "only pull requests can be pushed to this address",
				"push to refs/nostr/<event-id>, 64 lower-case hex digits; branches and tags belong to the repository's own address")
		}
		if u.New != "" && !IsHex(string(u.New), 40) {
			return Grant{}, refuseBox("H-253", u.Ref, "a ref is pushed to what is no object id", "")
		}
	}
	for _, u := range updates {
		is := value(now, u.Ref)
		if is == u.New || is == ZeroOID && u.New.IsZero() {
			continue // H-249
		}
		id, _ := u.Ref.Pull()
		if err := v.checkBoxPull(box, id, u); err != nil {
			return Grant{}, err
		}
		if u.Old != is && !(u.Old.IsZero() && is.IsZero()) { // H-250
			return Grant{}, refuseBox("H-250", u.Ref, "fetch first: a ref is not where your push expects it", "run git fetch, then push again")
		}
		u.Old = is
		g.Updates = append(g.Updates, u)
		g.Pulls = append(g.Pulls, id)
	}
	return g, nil
}

func (v View) checkBoxPull(box Addr, id EventID, u RefChange) error {
	if u.New.IsZero() { // G01-706
		return refuseBox("G01-706", u.Ref, "a pull request's ref cannot be deleted by a push",
			"delete its event (kind 5), or wait: without an event it goes by itself")
	}
	if _, other := v.Foreign[id]; other {
		return refuseBox("G06-05", u.Ref, "the event of this id is no pull request", "")
	}
	p, known := v.Pulls[id]
	switch {
	case !known:
		return nil // G06-06
	case p.author() != box.Owner:
		return refuseBox("G06-05", u.Ref, "the pull request of this id is signed by somebody else", "push it to the address of who signed it")
	case !p.Fits(box):
		return refuseBox("G06-05", u.Ref, "the pull request of this id is for a repository of another name", "push it to /prs/<npub>/<identifier>.git with the identifier that it names")
	case u.New != p.Tip:
		return refuseBox("G06-05", u.Ref, "the pull request of this id names another commit", "push the commit that its c tag names")
	case !slices.Contains(p.Boxes, box):
		return refuseBox("G06-05", u.Ref, "the pull request of this id does not name this address", "name this URL in its clone tag, and publish it anew")
	}
	return nil
}

func refuseBox(rule string, ref RefName, text, hint string) *Refusal {
	return &Refusal{Rule: rule, Prefix: Blocked, Ref: ref, Text: text, Hint: hint}
}
