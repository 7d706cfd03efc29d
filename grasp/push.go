package grasp

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Grant permits a push.
type Grant struct {
	// Updates are what remains to be done: the pusher's updates without those that are true
	// already (H-249).
	Updates []RefChange

	// State is the state that grants the heads and tags among them; its ID is "" if there
	// are none.
	State State

	// Partial says that more of State is to come (G01-502).
	Partial bool

	// Pulls are the pull requests whose refs are among the updates.
	Pulls []EventID
}

// Relies returns the events that must stay while the push is under way (G01-404).
func (g Grant) Relies() []EventID {
	ids := g.Pulls
	if g.State.ID != "" {
		ids = append(ids[:len(ids):len(ids)], g.State.ID)
	}
	return ids
}

// CheckPush permits updates of repo, whose refs are now, if, once they are made, its branches and
// tags are exactly those of a maintainer's state that is no older than the one served (G01-501),
// or if every update moves towards the newest such state (G01-502), and if each ref below
// refs/nostr/ carries its event's tip (G01-702). Otherwise it returns a *Refusal that names the
// first offending ref and what was expected. It is all or nothing (H-251). What may be pushed to a
// contributor's box is G06-04 and G06-05.
func (v View) CheckPush(repo Addr, now Tips, updates []RefChange) (Grant, error) {
	if now == nil {
		now = Refs(nil)
	}
	if repo.Box {
		return v.checkBoxPush(repo, now, updates)
	}
	var g Grant
	if len(updates) == 0 {
		return Grant{}, refuse("H-244", Invalid, "the push names no ref")
	}
	seen := make(map[RefName]struct{}, len(updates))
	changes := make(Refs, len(updates)) // of heads and tags; ZeroOID deletes
	for _, u := range updates {
		if _, twice := seen[u.Ref]; twice {
			return Grant{}, refuseRef("H-253", u.Ref, "is named twice in one push")
		}
		seen[u.Ref] = struct{}{}
		if err := checkNamespace(u.Ref); err != nil {
			return Grant{}, err
		}
		if u.New != "" && !IsHex(string(u.New), 40) {
			return Grant{}, refuseRef("H-253", u.Ref, "is pushed to what is no object id")
		}
		if value(now, u.Ref) == u.New || value(now, u.Ref) == ZeroOID && u.New.IsZero() {
			continue // H-249
		}
		g.Updates = append(g.Updates, u)
		if u.Ref.IsNostr() {
			continue
		}
		changes[u.Ref] = u.New
	}
	if len(g.Updates) == 0 {
		return g, nil
	}
	if v.Hosted[repo.Owner] != Live {
		r := refuse("G01-115", Blocked, "repository announcement no longer lists this server")
		r.Ref = g.Updates[0].Ref
		return Grant{}, r
	}
	for _, u := range g.Updates {
		if id, ok := u.Ref.Pull(); ok {
			if err := v.checkPull(repo, id, u); err != nil {
				return Grant{}, err
			}
			g.Pulls = append(g.Pulls, id)
		}
	}
	if len(changes) > 0 {
		for _, u := range g.Updates {
			if !u.Ref.IsNostr() {
				if err := v.checkReadOnly(repo, u.Ref); err != nil {
					return Grant{}, err
				}
				break
			}
		}
		s, partial, err := v.grantingState(repo, now, changes, g.Updates)
		if err != nil {
			return Grant{}, err
		}
		g.State, g.Partial = s, partial
	}
	for i, u := range g.Updates { // H-250
		if is := value(now, u.Ref); u.Old != is && !(u.Old.IsZero() && is.IsZero()) {
			r := refuseRef("H-250", u.Ref, fmt.Sprintf("is at %s here, your push expects %s", spell(is), spell(u.Old)))
			r.Text = "fetch first: " + r.Text
			r.Hint = "run git fetch, then push again"
			return Grant{}, r
		} else {
			g.Updates[i].Old = is
		}
	}
	return g, nil
}

func value(t Tips, n RefName) OID {
	if o, ok := t.Tip(n); ok {
		return o
	}
	return ZeroOID
}

func spell(o OID) string {
	if o.IsZero() {
		return "absent"
	}
	return o.Short()
}

func refuseRef(rule string, ref RefName, text string) *Refusal {
	return &Refusal{Rule: rule, Prefix: Blocked, Ref: ref, Text: string(ref) + " " + text}
}

// checkNamespace says which refs a push may name at all (G01-506, G01-701).
func checkNamespace(ref RefName) error {
	_, legal := ParseRefName(string(ref))
	switch {
	case !legal && strings.HasPrefix(string(ref), "refs/"):
		return &Refusal{
			Rule: "H-253", Prefix: Blocked, Ref: ref,
			Text: fmt.Sprintf("%.100q is not a ref name that git accepts", string(ref)),
		}
	case ref.IsHead(), ref.IsTag():
		return nil
	case ref.IsNostr():
		if _, ok := ref.Pull(); ok {
			return nil
		}
		r := refuseRef("G01-701", ref, "does not end in an event id")
		r.Hint = "push pull requests to refs/nostr/<event-id>, 64 lower-case hex digits"
		return r
	}
	return &Refusal{
		Rule: "G01-506", Prefix: Blocked, Ref: ref,
		Text: plain(ref) + " is outside refs/heads/, refs/tags/ and refs/nostr/",
		Hint: "only branches, tags and refs/nostr/<event-id> can be pushed here",
	}
}

// plain spells a name that need not be one: as it is, or quoted if it could be misread.
func plain(ref RefName) string {
	q := fmt.Sprintf("%.100q", string(ref))
	if q[1:len(q)-1] == string(ref) {
		return string(ref)
	}
	return q
}

// checkPull judges one update of a PR ref that is not true already.
func (v View) checkPull(repo Addr, id EventID, u RefChange) error {
	if u.New.IsZero() { // G01-706
		return refuseRef("G01-706", u.Ref, "cannot be deleted by a push; this server removes it when its time has come")
	}
	if _, other := v.Foreign[id]; other {
		return refuseRef("G01-702", u.Ref, "carries the id of an event that is no pull request of this repository")
	}
	p, known := v.Pulls[id]
	if !known {
		return nil // G01-701
	}
	if c := newCensus(v); !c.concerns(c.named(p), repo.Owner, c.maintainers) {
		return refuseRef("G01-702", u.Ref, "carries the id of a pull request for another repository")
	}
	if u.New != p.Tip {
		return refuseRef("G01-702", u.Ref, fmt.Sprintf("must be %s, the tip that its event names, push has %s", spell(p.Tip), u.New.Short()))
	}
	return nil
}

// grantingState finds the state that permits changes to heads and tags, or says why none does.
func (v View) grantingState(repo Addr, now Tips, changes Refs, order []RefChange) (State, bool, error) {
	candidates := v.candidates(repo.Owner)
	if len(candidates) == 0 {
		r := refuse("G01-503", Blocked, "no repository state event authorises this push; publish kind 30618 first")
		r.Hint = "sign a state with ngit push, nak git push or gitroost push; plain git cannot"
		for _, u := range order {
			if isPullBranch(u.Ref) {
				r.Hint = pullBranchHint
			}
		}
		return State{}, false, r
	}
	for _, s := range candidates {
		if aligned(s, now, changes) {
			return *s, false, nil // G01-501
		}
	}
	newest := candidates[0]
	for _, u := range order { // G01-502; in the pusher's order, so that the first offence is named
		if u.Ref.IsNostr() {
			continue
		}
		if declared, ok := newest.Refs[u.Ref]; ok && declared == u.New || u.New.IsZero() && !newest.declares(u.Ref) {
			continue
		}
		return State{}, false, offence(newest, u)
	}
	if err := checkFolders(now, changes); err != nil {
		return State{}, false, err
	}
	return *newest, true, nil
}

// checkFolders refuses a partial push that would leave one ref where git needs a folder for
// another. No state can ask for that, but a part of one may, while something older is in the way.
func checkFolders(now Tips, changes Refs) error {
	created := make(map[RefName]struct{}, len(changes))
	for ref, oid := range changes {
		if _, exists := now.Tip(ref); !exists && !oid.IsZero() {
			created[ref] = struct{}{}
		}
	}
	if len(created) == 0 {
		return nil
	}
	stays := func(ref RefName) bool {
		if oid, changed := changes[ref]; changed {
			return !oid.IsZero()
		}
		_, exists := now.Tip(ref)
		return exists
	}
	refuse := func(ref, other RefName) error {
		r := refuseRef("G01-502", ref, fmt.Sprintf("cannot exist in git beside %s", other))
		r.Hint = fmt.Sprintf("delete %s in the same push", other)
		return r
	}
	for _, ref := range slices.Sorted(maps.Keys(created)) {
		for folder := range folders(ref) {
			if stays(folder) {
				return refuse(ref, folder)
			}
		}
	}
	var ref, file RefName // the first, so that the same push is always told the same
	for n := range now.Coded() {
		for folder := range folders(n) {
			if _, made := created[folder]; made && stays(n) && (ref == "" || n < ref) {
				ref, file = n, folder
			}
		}
	}
	if ref != "" {
		return refuse(file, ref)
	}
	return nil
}

// aligned reports whether heads and tags would be exactly what s declares.
func aligned(s *State, now Tips, changes Refs) bool {
	if len(s.Unsatisfiable) > 0 {
		return false
	}
	n := 0
	for ref, oid := range changes {
		declared, ok := s.Refs[ref]
		if oid.IsZero() && !ok {
			continue
		}
		if declared != oid {
			return false
		}
		n++
	}
	for ref, oid := range now.Coded() {
		if _, changed := changes[ref]; changed {
			continue
		}
		if s.Refs[ref] != oid {
			return false
		}
		n++
	}
	return n == len(s.Refs)
}

func offence(s *State, u RefChange) *Refusal {
	r := &Refusal{Rule: "G01-503", Prefix: Blocked, Ref: u.Ref}
	declared, ok := s.Refs[u.Ref]
	what := fmt.Sprintf("you pushed %s", u.New.Short())
	if u.New.IsZero() {
		what = "you delete it"
	}
	switch {
	case ok:
		r.Text = fmt.Sprintf("%s: signed state %s says %s, %s", u.Ref, s.ID.Short(), declared.Short(), what)
	case s.declares(u.Ref):
		r.Text = fmt.Sprintf("%s: signed state %s says something that is no object id, %s", u.Ref, s.ID.Short(), what)
	default:
		r.Text = fmt.Sprintf("%s: signed state %s does not name it, %s", u.Ref, s.ID.Short(), what)
	}
	r.Hint = "publish a new state event (kind 30618), then push again"
	if isPullBranch(u.Ref) {
		r.Hint = pullBranchHint
	}
	return r
}

const pullBranchHint = "pull requests travel over Nostr: use ngit, or push to refs/nostr/<event-id>"

// isPullBranch reports whether ref is how some clients call a pull request (G01-508).
func isPullBranch(ref RefName) bool { return strings.HasPrefix(string(ref), headsPrefix+"pr/") }
