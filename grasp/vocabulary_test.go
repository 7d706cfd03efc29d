package grasp_test

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// The tests speak of people (O, the owner; M1, whom O lists; M2, whom only M1 lists; X, a
// stranger), of commits (c1, c2, …) and of events by name. What a name stands for is computed
// from it, and names finds the way back, so that failures can be read.

const (
	repoID   = "tool"
	ourClone = "https://git.example.com/npub1x/tool.git"
	ourRelay = "wss://git.example.com"
)

var names sync.Map // hex → name

func named(hex, name string) string {
	names.Store(hex, name)
	return hex
}

func nameOf[T ~string](hex T) string {
	if hex == "" {
		return "none"
	}
	if n, ok := names.Load(string(hex)); ok {
		return n.(string)
	}
	if len(hex) == 64 && strings.Trim(string(hex[8:40]), "0") == "" {
		return "ev" + strings.TrimLeft(string(hex[8:]), "0")
	}
	return string(hex)
}

func sha256hex(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }

func key(who string) grasp.PubKey { return grasp.PubKey(named(sha256hex("key "+who), who)) }

func eventID(name string) grasp.EventID {
	return grasp.EventID(named(sha256hex("event "+name), name))
}

func oid(name string) grasp.OID {
	if name == "0" {
		return grasp.ZeroOID
	}
	h := sha1.Sum([]byte("object " + name))
	return grasp.OID(named(hex.EncodeToString(h[:]), name))
}

func addr(who string) grasp.Addr { return grasp.Addr{Owner: key(who), ID: repoID} }

// ref spells a ref: "main" is a branch, "tags/v1" a tag, "@e1" the PR ref of event e1, and what
// begins with "refs/" or "!" is taken literally.
func ref(s string) grasp.RefName {
	switch {
	case strings.HasPrefix(s, "refs/"):
		return grasp.RefName(s)
	case strings.HasPrefix(s, "!"):
		return grasp.RefName(s[1:])
	case strings.HasPrefix(s, "tags/"):
		return grasp.RefName("refs/" + s)
	case strings.HasPrefix(s, "@"):
		return grasp.PullRef(eventID(s[1:]))
	}
	return grasp.RefName("refs/heads/" + s)
}

func shortRef(r grasp.RefName) string {
	if id, ok := r.Pull(); ok {
		return "@" + nameOf(id)
	}
	if s, ok := strings.CutPrefix(string(r), "refs/heads/"); ok {
		return s
	}
	return strings.TrimPrefix(string(r), "refs/")
}

// refs spells a set of refs: "main=c1 dev=c2 tags/v1=t1".
func refs(spec string) grasp.Refs {
	out := grasp.Refs{}
	for f := range strings.FieldsSeq(spec) {
		n, o, _ := strings.Cut(f, "=")
		out[ref(n)] = oid(o)
	}
	return out
}

// push spells updates of a repository: "main=c2 dev=0". The old values are those of now, unless
// one is given: "main=c1>c2".
func push(now grasp.Refs, spec string) []grasp.RefChange {
	var out []grasp.RefChange
	for f := range strings.FieldsSeq(spec) {
		n, o, _ := strings.Cut(f, "=")
		u := grasp.RefChange{Ref: ref(n), Old: grasp.ZeroOID}
		if is, ok := now[u.Ref]; ok {
			u.Old = is
		}
		if old, is, ok := strings.Cut(o, ">"); ok {
			u.Old, o = oid(old), is
		}
		u.New = oid(o)
		out = append(out, u)
	}
	return out
}

func event(kind int, who string, at int64, id grasp.EventID, tags ...nostr.Tag) *nostr.Event {
	return &nostr.Event{
		ID: string(id), PubKey: string(key(who)), Kind: kind,
		CreatedAt: nostr.Timestamp(at), Tags: tags,
	}
}

func site(t testing.TB, urls ...string) grasp.Site {
	t.Helper()
	if len(urls) == 0 {
		urls = []string{"https://git.example.com", "http://alias.example.org:8080"}
	}
	s, err := grasp.NewSite(urls...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A fact is something that a View knows.
type fact func(t testing.TB, v *grasp.View)

func view(t testing.TB, facts ...fact) grasp.View {
	t.Helper()
	v := grasp.View{
		ID:            repoID,
		Announcements: map[grasp.PubKey]grasp.Announcement{},
		States:        map[grasp.PubKey][]grasp.State{},
		Pulls:         map[grasp.EventID]grasp.Pull{},
		Hosted:        map[grasp.PubKey]grasp.Hosting{},
		Foreign:       map[grasp.EventID]struct{}{},
	}
	for _, f := range facts {
		f(t, &v)
	}
	return v
}

// announcement is an announcement by who. Its event is called "<who>'s".
func announcement(t testing.TB, who string, at int64, lists bool, maintainers ...string) grasp.Announcement {
	t.Helper()
	tags := nostr.Tags{{"d", repoID}}
	if lists {
		tags = append(tags, nostr.Tag{"clone", ourClone}, nostr.Tag{"relays", ourRelay})
	} else {
		tags = append(tags, nostr.Tag{"clone", "https://other.example/x.git"}, nostr.Tag{"relays", "wss://other.example"})
	}
	m := nostr.Tag{"maintainers"}
	for _, k := range maintainers {
		m = append(m, string(key(k)))
	}
	a, err := site(t).Announcement(event(grasp.KindAnnouncement, who, at, eventID(who+"'s"), append(tags, m)...))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func announced(who string, shelf grasp.Shelf, lists bool, h grasp.Hosting, maintainers ...string) fact {
	return func(t testing.TB, v *grasp.View) {
		a := announcement(t, who, 1, lists, maintainers...)
		a.Shelf = shelf
		v.Announcements[key(who)] = a
		if h != grasp.NotHosted {
			v.Hosted[key(who)] = h
		}
	}
}

// hosts: who's announcement is served, and the repository lives here.
func hosts(who string, maintainers ...string) fact {
	return announced(who, grasp.Served, true, grasp.Live, maintainers...)
}

// waits: who's announcement waits; the repository lives here all the same.
func waits(who string, maintainers ...string) fact {
	return announced(who, grasp.Waiting, true, grasp.Live, maintainers...)
}

// elsewhere: who's announcement is served here because somebody else's repository led to it.
func elsewhere(who string, maintainers ...string) fact {
	return announced(who, grasp.Served, false, grasp.NotHosted, maintainers...)
}

// withdrew: who's served announcement does not list this site any more.
func withdrew(who string, maintainers ...string) fact {
	return announced(who, grasp.Served, false, grasp.Withdrawn, maintainers...)
}

// state is a state by who. Its event is called "<who>@<at>". spec is that of refs, with
// "HEAD=<branch>" and, for a value that is no object id, "main=?".
func state(t testing.TB, who string, at int64, spec string) grasp.State {
	t.Helper()
	tags := nostr.Tags{{"d", repoID}}
	for f := range strings.FieldsSeq(spec) {
		n, o, _ := strings.Cut(f, "=")
		switch {
		case n == "HEAD":
			tags = append(tags, nostr.Tag{"HEAD", "ref: refs/heads/" + o})
		case o == "?":
			tags = append(tags, nostr.Tag{string(ref(n)), "abc123"})
		default:
			tags = append(tags, nostr.Tag{string(ref(n)), string(oid(o))})
		}
	}
	s, err := grasp.ParseState(event(grasp.KindState, who, at, eventID(fmt.Sprintf("%s@%d", who, at)), tags...))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stated(who string, at int64, shelf grasp.Shelf, spec string) fact {
	return func(t testing.TB, v *grasp.View) {
		s := state(t, who, at, spec)
		s.Shelf = shelf
		v.States[s.Author] = append(v.States[s.Author], s)
	}
}

// says: a served state. pends: a waiting one.
func says(who string, at int64, spec string) fact  { return stated(who, at, grasp.Served, spec) }
func pends(who string, at int64, spec string) fact { return stated(who, at, grasp.Waiting, spec) }

// asks is a pull request called name, for the repositories of some owners.
func asks(name string, shelf grasp.Shelf, tip string, owners ...string) fact {
	return func(t testing.TB, v *grasp.View) {
		tags := nostr.Tags{{"c", string(oid(tip))}}
		for _, o := range owners {
			tags = append(tags, nostr.Tag{"a", addr(o).Coordinate()})
		}
		p, err := grasp.ParsePull(event(grasp.KindPull, "P", 5, eventID(name), tags...))
		if err != nil {
			t.Fatal(err)
		}
		p.Shelf = shelf
		v.Pulls[p.ID] = p
	}
}

func foreign(name string) fact {
	return func(_ testing.TB, v *grasp.View) { v.Foreign[eventID(name)] = struct{}{} }
}

func without(who string) fact {
	return func(_ testing.TB, v *grasp.View) { delete(v.Announcements, key(who)) }
}

func hosting(who string, h grasp.Hosting) fact {
	return func(_ testing.TB, v *grasp.View) { v.Hosted[key(who)] = h }
}

// refusal returns err as the refusal that it must be.
func refusal(t testing.TB, err error) *grasp.Refusal {
	t.Helper()
	var r *grasp.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("got error %v, want a *Refusal", err)
	}
	if r.Rule == "" || r.Text == "" || strings.ContainsAny(r.Text+r.Hint, "\n\r") {
		t.Errorf("refusal %+v: want a rule, and text on one line", r)
	}
	return r
}

// keysOf names the members of a set, sorted.
func keysOf(m grasp.KeySet) string {
	var out []string
	for k := range m {
		out = append(out, nameOf(k))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func spellChanges(list []grasp.RefChange) string {
	var out []string
	for _, c := range list {
		if c.New.IsZero() {
			out = append(out, "-"+shortRef(c.Ref))
		} else {
			out = append(out, shortRef(c.Ref)+"="+nameOf(c.New))
		}
	}
	return strings.Join(out, " ")
}

// spellPlan writes a plan in one line:
// "O: main=c2 -dev HEAD=main by O@10; release O's O@10; drop O@9".
func spellPlan(p grasp.Plan) string {
	var parts []string
	for _, r := range p.Repos {
		s := nameOf(r.Repo.Owner) + ":"
		if r.Repo.Box {
			s = "box of " + s
		}
		if len(r.Edits) > 0 {
			s += " " + spellChanges(r.Edits)
		}
		if r.Head != "" {
			s += " HEAD=" + shortRef(r.Head)
		}
		if r.Cause != "" {
			s += " by " + nameOf(r.Cause)
		}
		parts = append(parts, s)
	}
	for verb, ids := range map[string][]grasp.EventID{"release": p.Release, "drop": p.Drop} {
		if len(ids) == 0 {
			continue
		}
		for _, id := range ids {
			verb += " " + nameOf(id)
		}
		parts = append(parts, verb)
	}
	slices.SortStableFunc(parts, func(a, b string) int { return rank(a) - rank(b) })
	return strings.Join(parts, "; ")
}

func rank(part string) int {
	switch {
	case strings.HasPrefix(part, "release "):
		return 1
	case strings.HasPrefix(part, "drop "):
		return 2
	}
	return 0
}
