package ci

import (
	"cmp"
	"slices"
	"strings"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// A Trigger is a Manual Trigger that is well formed. Whether its author may ask is another question.
type Trigger struct {
	ID       grasp.EventID
	Author   grasp.PubKey
	At       int64 // seconds since 1970
	Repos    []grasp.Addr
	Job      string // a name of the configuration
	Hash     string // of its definition
	Commit   grasp.OID
	Ref      grasp.RefName // "" if it says none
	Proposal bool          // it is about one
}

// ParseTrigger reads a Manual Trigger that is addressed to self. What is none, or to somebody else, is a
// fault.Invalid.
func ParseTrigger(ev *nostr.Event, self grasp.PubKey) (Trigger, error) {
	const op = "ci: trigger"
	bad := func(text string) (Trigger, error) { return Trigger{}, fault.E(fault.Invalid, op, text) }
	t := Trigger{ID: grasp.EventID(ev.ID), Author: grasp.PubKey(ev.PubKey), At: int64(ev.CreatedAt)}
	if ev.Kind != KindManualTrigger || ev.Content != "" {
		return bad("not a manual trigger, or its content is not empty")
	}
	addressed, ours := 0, false
	for _, tag := range ev.Tags {
		if len(tag) < 2 {
			continue
		}
		switch tag[0] {
		case "p":
			addressed++
			ours = ours || tag[1] == string(self)
		case "a":
			repo, ok := repoOf(tag[1])
			if !ok {
				return bad("an a tag names no repository")
			}
			t.Repos = append(t.Repos, repo)
		case "w":
			if t.Job != "" || len(tag) < 3 || !grasp.IsHex(tag[2], 64) {
				return bad("one w tag with a path and a hash is needed")
			}
			name, ok := strings.CutPrefix(tag[1], workflowPath)
			if !ok || name == "" || strings.Contains(name, "/") {
				return bad("the w tag names no job of this server: " + workflowPath + "<name>")
			}
			t.Job, t.Hash = name, tag[2]
		case "c":
			if t.Commit == "" {
				t.Commit = grasp.OID(tag[1])
			}
		case "r":
			if strings.HasPrefix(tag[1], "refs/") {
				if t.Ref != "" {
					return bad("it names two refs")
				}
				t.Ref = grasp.RefName(tag[1])
			}
		case "E":
			t.Proposal = true
		case "o":
			return bad("a manual trigger has no o tag")
		}
	}
	switch {
	case !ours:
		return bad("it is addressed to somebody else")
	case addressed > 1 && !t.Proposal: // of a proposal its author is named too
		return bad("it is addressed to several")
	case len(t.Repos) == 0 || t.Job == "" || !grasp.IsHex(string(t.Commit), 40):
		return bad("it needs a, c and w tags")
	case t.Ref != "" && t.Proposal:
		return bad("it is about a ref and about a proposal")
	}
	for _, r := range t.Repos {
		if r.ID != t.Repos[0].ID {
			return bad("it names several repositories")
		}
	}
	return t, nil
}

func repoOf(coordinate string) (grasp.Addr, bool) {
	parts := strings.SplitN(coordinate, ":", 3)
	if len(parts) != 3 || parts[0] != "30617" || !grasp.IsHex(parts[1], 64) || parts[2] == "" {
		return grasp.Addr{}, false
	}
	return grasp.Addr{Owner: grasp.PubKey(parts[1]), ID: parts[2]}, true
}

// Standing returns the Service Request of a maintainer that stands for repo at a time, in seconds since
// 1970: the latest of one that no later Stop ended. A maintainer's Stop ends all, another's only their
// own. Later is a greater time, or the same and a smaller id.
func Standing(events []*nostr.Event, repo grasp.Addr, self grasp.PubKey, maintainers grasp.KeySet, at int64) (Control, bool) {
	list := slices.Clone(events)
	slices.SortFunc(list, func(a, b *nostr.Event) int { // the earliest first
		return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), -cmp.Compare(a.ID, b.ID))
	})
	stands := map[grasp.PubKey]Control{}
	var order []grasp.PubKey
	for _, ev := range list {
		author := grasp.PubKey(ev.PubKey)
		if int64(ev.CreatedAt) > at || !controls(ev, repo, self) {
			continue
		}
		switch {
		case ev.Kind == KindServiceRequest && maintainers.Has(author):
			stands[author] = Control{ID: grasp.EventID(ev.ID), Author: author}
			order = append(slices.DeleteFunc(order, func(k grasp.PubKey) bool { return k == author }), author)
		case ev.Kind == KindServiceStop && maintainers.Has(author):
			clear(stands)
			order = nil
		case ev.Kind == KindServiceStop:
			delete(stands, author)
		}
	}
	for _, author := range slices.Backward(order) {
		if c, ok := stands[author]; ok {
			return c, true
		}
	}
	return Control{}, false
}

// controls reports whether ev is a Request or Stop for repo that is addressed to self alone.
func controls(ev *nostr.Event, repo grasp.Addr, self grasp.PubKey) bool {
	if ev.Kind != KindServiceRequest && ev.Kind != KindServiceStop || ev.Content != "" {
		return false
	}
	var a, p int
	for _, tag := range ev.Tags {
		if len(tag) < 2 {
			continue
		}
		switch tag[0] {
		case "a":
			if a++; tag[1] != repo.Coordinate() {
				return false
			}
		case "p":
			if p++; tag[1] != string(self) {
				return false
			}
		case "d", "expiration":
			return false
		}
	}
	return a == 1 && p == 1
}
