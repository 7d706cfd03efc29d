package grasp

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// ParseState parses an event of kind 30618 (G01-302, G01-303). Only refs below refs/heads/ and
// refs/tags/ count. A value that is no object id is kept in Unsatisfiable: such a state is legal
// and waits in vain.
func ParseState(ev *nostr.Event) (State, error) {
	s := State{
		Event: ev, ID: EventID(ev.ID), Author: PubKey(ev.PubKey),
		At: int64(ev.CreatedAt), Refs: make(Refs, len(ev.Tags)),
	}
	var err error
	if s.Repo, err = identifier(ev); err != nil {
		return s, err
	}
	raw := make(map[string]string, len(ev.Tags)) // every ref named so far, with its value
	for _, t := range ev.Tags {
		if len(t) == 0 {
			continue
		}
		name := t[0]
		if name == "HEAD" && len(t) >= 2 && s.Head == "" {
			h, ok := ParseRefName(strings.TrimPrefix(t[1], "ref: "))
			if ok && h.IsHead() {
				s.Head = h
			}
			continue
		}
		if !strings.HasPrefix(name, headsPrefix) && !strings.HasPrefix(name, tagsPrefix) || strings.HasSuffix(name, "^{}") {
			continue
		}
		if len(t) < 2 || t[1] == "" {
			return s, refuse("G01-302", Invalid, fmt.Sprintf("the state names %.100q without an object id", name))
		}
		if strings.HasPrefix(t[1], "ref: ") {
			continue
		}
		value := strings.ToLower(t[1])
		ref, ok := ParseRefName(name)
		if !ok {
			return s, refuse("G01-302", Invalid, fmt.Sprintf("%.100q is not a ref name that git accepts", name))
		}
		if was, twice := raw[name]; twice {
			if was != value {
				return s, refuse("G01-302", Invalid, fmt.Sprintf("the state names %s twice with different object ids", name))
			}
			continue
		}
		raw[name] = value
		oid, ok := ParseOID(value)
		switch {
		case !ok:
			s.Unsatisfiable = append(s.Unsatisfiable, ref)
		case oid != ZeroOID:
			s.Refs[ref] = oid
		}
	}
	named := s.Refs
	if len(s.Unsatisfiable) > 0 {
		named = maps.Clone(named)
		for _, ref := range s.Unsatisfiable {
			named[ref] = ZeroOID
		}
	}
	if a, b, clash := conflict(named); clash {
		return s, refuse("G01-302", Invalid, fmt.Sprintf("%s and %s cannot both exist in git", a, b))
	}
	return s, nil
}

// conflict finds two refs of which one would have to be a folder of the other.
func conflict(refs Tips) (file, folder RefName, found bool) {
	for n := range refs.Coded() {
		for folder := range folders(n) {
			if _, ok := refs.Tip(folder); ok {
				return folder, n, true
			}
		}
	}
	return "", "", false
}

// folders yields the names that cannot be refs where the head or tag n is one: its folders.
func folders(n RefName) iter.Seq[RefName] {
	return func(yield func(RefName) bool) {
		for i := len(tagsPrefix) + 1; i < len(n); i++ {
			if n[i] == '/' && !yield(n[:i]) {
				return
			}
		}
	}
}

// Conflict reports two names of refs that git cannot hold together: one is a folder of the other.
func Conflict(refs Tips) (a, b RefName, found bool) { return conflict(refs) }

// Empty reports whether s declares nothing: its author asserts no refs. Such a state deletes
// nothing and authorises nothing (G01-311).
func (s State) Empty() bool { return len(s.Refs) == 0 && len(s.Unsatisfiable) == 0 }

// declares reports whether s says anything about ref.
func (s State) declares(ref RefName) bool {
	if _, ok := s.Refs[ref]; ok {
		return true
	}
	return slices.Contains(s.Unsatisfiable, ref)
}

// newer is the order between states: later created_at, then lower id (G01-308, NIP-01).
func newer(a, b State) bool {
	if a.At != b.At {
		return a.At > b.At
	}
	return a.ID < b.ID
}

func byAge(a, b *State) int {
	switch {
	case a.ID == b.ID:
		return 0
	case newer(*a, *b):
		return -1
	}
	return 1
}

// statesFor returns the states that speak for owner's repository, in any order, without those that
// declare nothing.
func (v View) statesFor(owner PubKey) []*State {
	var out []*State
	c := newCensus(v)
	c.each(c.maintainers(owner), func(k PubKey) {
		list := v.States[k]
		for i := range list {
			if !list[i].Empty() {
				out = append(out, &list[i])
			}
		}
	})
	return out
}

// authoritative returns the newest served state among list, or nil.
func authoritative(list []*State) *State {
	var is *State
	for _, s := range list {
		if s.Shelf == Served && (is == nil || newer(*s, *is)) {
			is = s
		}
	}
	return is
}

// State returns the authoritative state of owner's repository: the newest served one by any of
// its maintainers. Of two that are equally old the one with the lower id wins (N-009).
func (v View) State(owner PubKey) (State, bool) {
	if s := authoritative(v.statesFor(owner)); s != nil {
		return *s, true
	}
	return State{}, false
}

// candidates returns the states that may authorise a push to owner's repository: the waiting ones
// that are newer than the authoritative state, newest first, then the authoritative one itself
// (G01-5xx, G01-310).
func (v View) candidates(owner PubKey) []*State {
	all := v.statesFor(owner)
	is := authoritative(all)
	out := slices.DeleteFunc(all, func(s *State) bool {
		return s != is && (s.Shelf != Waiting || is != nil && !newer(*s, *is))
	})
	slices.SortFunc(out, byAge)
	return out
}
