package grasp_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/btcsuite/btcd/btcutil/bech32"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// tagsOf reads tags as lines of values between vertical bars: any bytes make some tags.
func tagsOf(s string) nostr.Tags {
	var out nostr.Tags
	for line := range strings.SplitSeq(s, "\n") {
		out = append(out, strings.Split(line, "|"))
	}
	return out
}

func fuzzEvent(kind int, tags string) *nostr.Event {
	return event(kind, "O", 1, eventID("fuzzed"), tagsOf(tags)...)
}

// answered checks what holds of every answer by the rules, whatever was asked.
func answered(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	r := refusal(t, err)
	if len(r.Text)+len(r.Hint) > 4096 {
		t.Errorf("the refusal is %d bytes long", len(r.Text)+len(r.Hint))
	}
	if _, err := json.Marshal(r.Text); err != nil || !utf8.ValidString(r.Text) {
		t.Errorf("%q cannot be sent", r.Text)
	}
}

func FuzzAnnouncement(f *testing.F) {
	f.Add("d|tool\nclone|" + ourClone + "\nrelays|" + ourRelay + "\nmaintainers|" + string(key("M1")) + "|" + key("M2").Npub())
	f.Add("d|\nclone\nrelays||\nmaintainers|x")
	f.Add("d|a/b")
	f.Add("d|" + strings.Repeat("é", 130))
	s := site(f)
	f.Fuzz(func(t *testing.T, tags string) {
		a, err := s.Announcement(fuzzEvent(grasp.KindAnnouncement, tags))
		answered(t, err)
		if err != nil {
			return
		}
		if !a.Addr.Valid() {
			t.Errorf("%q may name no repository", a.Addr.ID)
		}
		if len(a.Maintainers) > grasp.MaxMaintainersListed || len(a.Clone) > grasp.MaxCloneURLs || len(a.Relays) > grasp.MaxRelayURLs {
			t.Errorf("%d maintainers, %d clone URLs, %d relays", len(a.Maintainers), len(a.Clone), len(a.Relays))
		}
		seen := grasp.KeySet{}
		for _, k := range a.Maintainers {
			if !grasp.IsHex(string(k), 64) || seen.Has(k) {
				t.Errorf("maintainer %q", k)
			}
			seen[k] = struct{}{}
		}
		var clone, relay bool
		for _, u := range a.Clone {
			clone = clone || s.ListsClone(u)
		}
		for _, u := range a.Relays {
			relay = relay || s.ListsRelay(u)
		}
		if a.ListsUs != (clone && relay) {
			t.Errorf("ListsUs = %t", a.ListsUs)
		}
	})
}

func FuzzState(f *testing.F) {
	c1 := string(oid("c1"))
	f.Add("d|tool\nHEAD|ref: refs/heads/main\nrefs/heads/main|" + c1 + "\nrefs/tags/v1|" + c1 + "\nrefs/tags/v1^{}|" + c1)
	f.Add("d|tool\nrefs/heads/a|" + c1 + "\nrefs/heads/a/b|" + c1)
	f.Add("d|tool\nrefs/heads/a|abc123\nrefs/heads/a|ABC123\nrefs/heads/b|" + string(grasp.ZeroOID))
	f.Add("d|tool\nrefs/heads/|" + c1)
	f.Add("d|tool\nrefs/heads/x|ref: refs/heads/y\nrefs/heads/\xff|" + c1)
	f.Fuzz(func(t *testing.T, tags string) {
		s, err := grasp.ParseState(fuzzEvent(grasp.KindState, tags))
		answered(t, err)
		if err != nil {
			return
		}
		for n, o := range s.Refs {
			checkDeclared(t, n)
			if p, ok := grasp.ParseOID(string(o)); !ok || p != o || o.IsZero() {
				t.Errorf("%s is %q", n, o)
			}
		}
		for _, n := range s.Unsatisfiable {
			checkDeclared(t, n)
			if _, both := s.Refs[n]; both {
				t.Errorf("%s has a value and has none", n)
			}
		}
		if a, b, clash := grasp.Conflict(s.Refs); clash {
			t.Errorf("%s and %s", a, b)
		}
		if _, ok := grasp.ParseRefName(string(s.Head)); s.Head != "" && (!ok || !s.Head.IsHead()) {
			t.Errorf("HEAD is %q", s.Head)
		}
		// What parses prints back the same.
		again := nostr.Tags{{"d", s.Repo}}
		if s.Head != "" {
			again = append(again, nostr.Tag{"HEAD", "ref: " + string(s.Head)})
		}
		for _, n := range s.Refs.Sorted() {
			again = append(again, nostr.Tag{string(n), string(s.Refs[n])})
		}
		back, err := grasp.ParseState(event(grasp.KindState, "O", 1, eventID("fuzzed"), again...))
		if err != nil || back.Refs.Digest() != s.Refs.Digest() || back.Head != s.Head || back.Repo != s.Repo {
			t.Errorf("written again: %+v, %v", back, err)
		}
	})
}

func checkDeclared(t *testing.T, n grasp.RefName) {
	t.Helper()
	if _, ok := grasp.ParseRefName(string(n)); !ok || !n.IsHead() && !n.IsTag() {
		t.Errorf("the state declares %q", n)
	}
}

func FuzzPull(f *testing.F) {
	f.Add("c|" + string(oid("p1")) + "\na|" + addr("O").Coordinate() + "\nclone|https://a.example/x|")
	f.Add("c|" + sha256hex("x"))
	f.Add("c\nc|\na|30617:x:y")
	f.Fuzz(func(t *testing.T, tags string) {
		p, err := grasp.ParsePull(fuzzEvent(grasp.KindPull, tags))
		answered(t, err)
		if err != nil {
			return
		}
		if o, ok := grasp.ParseOID(string(p.Tip)); p.Tip != "" && (!ok || o != p.Tip || o.IsZero()) {
			t.Errorf("tip %q", p.Tip)
		}
		for _, a := range p.Repos {
			if !a.Valid() {
				t.Errorf("repository %q", a)
			}
		}
	})
}

func FuzzCoordinate(f *testing.F) {
	f.Add(addr("O").Coordinate())
	f.Add("30617:" + string(key("O")) + ":a:b:c")
	f.Add("30617::")
	f.Fuzz(func(t *testing.T, s string) {
		if a, ok := grasp.ParseCoordinate(s); ok && (a.Coordinate() != s || !a.Valid()) {
			t.Errorf("%q is %q of %s", s, a.ID, a.Owner)
		}
	})
}

// npubOf returns what another library says of an npub, if it is the one spelling of a key.
func npubOf(s string) string {
	hrp, five, err := bech32.Decode(s)
	if err != nil || hrp != "npub" {
		return ""
	}
	raw, err := bech32.ConvertBits(five, 5, 8, false)
	if err != nil || len(raw) != 32 {
		return ""
	}
	if again, err := bech32.Encode("npub", five); err != nil || again != s {
		return ""
	}
	return hex.EncodeToString(raw)
}

// What is written and read here is what another library says, for any key, and one letter more or less
// or another one is no key.
func TestNpubs(t *testing.T) { // H-102
	r := rand.NewChaCha8([32]byte{1})
	raws := [][]byte{make([]byte, 32), bytes.Repeat([]byte{0xff}, 32)}
	for range 200 {
		raw := make([]byte, 32)
		r.Read(raw)
		raws = append(raws, raw)
	}
	for _, raw := range raws {
		five, err := bech32.ConvertBits(raw, 8, 5, true)
		if err != nil {
			t.Fatal(err)
		}
		want, err := bech32.Encode("npub", five)
		if err != nil {
			t.Fatal(err)
		}
		k := grasp.PubKey(hex.EncodeToString(raw))
		if got := k.Npub(); got != want {
			t.Errorf("%s is %s, want %s", k, got, want)
		}
		if got, err := grasp.ParseNpub(want); err != nil || got != k {
			t.Errorf("%s is %s, %v; want %s", want, got, err, k)
		}
		at := 5 + int(raw[0])%(len(want)-5)
		for _, c := range []byte("qpzryb1io\x00\xff") {
			if other := want[:at] + string(rune(c)) + want[at+1:]; other != want {
				if got, err := grasp.ParseNpub(other); err == nil {
					t.Errorf("%q is taken as %s", other, got)
				}
			}
		}
	}
}

func FuzzNpub(f *testing.F) {
	f.Add(key("O").Npub())
	f.Add(strings.ToUpper(key("O").Npub()))
	f.Add("npub1" + strings.Repeat("q", 58))
	f.Fuzz(func(t *testing.T, s string) {
		k, err := grasp.ParseNpub(s)
		if err == nil && (k.Npub() != s || !grasp.IsHex(string(k), 64)) {
			t.Errorf("%q is %q, which is %q", s, k, k.Npub())
		}
		if want := npubOf(s); string(k) != want {
			t.Errorf("%q is %q; another library says %q", s, k, want)
		}
		if k := grasp.PubKey(s); k.Npub() != "" && !grasp.IsHex(strings.ToLower(s), 64) {
			t.Errorf("%q has the npub %q", s, k.Npub())
		}
	})
}

func FuzzRefName(f *testing.F) {
	for _, n := range refNames {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := grasp.ParseRefName(s)
		if !ok {
			return
		}
		if string(n) != s || len(s) > grasp.MaxRefName || !utf8.ValidString(s) {
			t.Errorf("%q is taken as %q", s, n)
		}
		for _, bad := range []string{"..", "//", "@{", "\\", " ", "~", "^", ":", "?", "*", "[", "/.", "\x00", "\n", "\x7f", ".lock/"} {
			if strings.Contains(s, bad) {
				t.Errorf("%q is taken, with %q in it", s, bad)
			}
		}
		if !strings.HasPrefix(s, "refs/") || strings.HasSuffix(s, "/") || strings.HasSuffix(s, ".") || strings.HasSuffix(s, ".lock") {
			t.Errorf("%q is taken", s)
		}
	})
}

func FuzzSite(f *testing.F) {
	for _, u := range []string{
		ourClone, ourRelay, "https://git.example.com.evil.net", "https://user@git.example.com/", "https://[::1]:8080/x",
		"https://git.example.com/prs/x", "wss://git.example.com//", "http://bücher.example/x.git", "https://evil.net#@git.example.com",
	} {
		f.Add(u)
	}
	f.Fuzz(func(t *testing.T, u string) {
		s := site(t)
		clone, relay := s.ListsClone(u), s.ListsRelay(u)
		if clone && relay {
			t.Errorf("%q is both", u)
		}
		if grasp.Site.ListsClone(grasp.Site{}, u) || grasp.Site.ListsRelay(grasp.Site{}, u) {
			t.Errorf("%q names a site without a name", u)
		}
		// A site that can be made of a URL is named by that URL's authority.
		if own, err := grasp.NewSite(u); err == nil && (clone || relay) {
			if !own.ListsRelay("wss://git.example.com") && !own.ListsRelay("ws://alias.example.org:8080") {
				t.Errorf("%q lists us, but is another site", u)
			}
		} else if clone || relay {
			t.Errorf("%q lists us, but is no site: %v", u, err)
		}
	})
}

func FuzzAnchors(f *testing.F) {
	f.Add("e|" + string(eventID("e1")) + "\na|" + addr("O").Coordinate() + "\nq|x\nA|0:" + string(key("O")) + ":")
	f.Add("e\na\nq\n|\nE|" + strings.ToUpper(string(eventID("e1"))))
	f.Fuzz(func(t *testing.T, tags string) {
		ev := fuzzEvent(1, tags)
		ids, coords := grasp.Anchors(ev)
		if len(ids)+len(coords) > len(ev.Tags) {
			t.Errorf("%d tags point at %d things", len(ev.Tags), len(ids)+len(coords))
		}
		for _, id := range ids {
			if _, ok := grasp.ParseEventID(string(id)); !ok {
				t.Errorf("id %q", id)
			}
		}
		for _, c := range coords {
			parts := strings.SplitN(c, ":", 3)
			if len(parts) != 3 || !grasp.IsHex(parts[1], 64) {
				t.Errorf("coordinate %q", c)
			}
		}
		grasp.CoordinateOf(ev)
	})
}

// FuzzPush: whatever is pushed, at most heads, tags and PR refs are granted, and never by nobody.
func FuzzPush(f *testing.F) {
	f.Add("refs/heads/main", string(oid("c1")), "refs/nostr/"+string(eventID("e1")), string(oid("p1")))
	f.Add("refs/heads/main", string(grasp.ZeroOID), "HEAD", "")
	f.Add("refs/heads/a/b", string(oid("c1")), "refs/heads/a", string(oid("c1")))
	v := view(f, hosts("O", "M1"), says("O", 1, "main=c0"), pends("M1", 2, "main=c1 dev=c2"))
	now := refs("main=c0 old=c9")
	f.Fuzz(func(t *testing.T, ref1, oid1, ref2, oid2 string) {
		push := []grasp.RefChange{
			{Ref: grasp.RefName(ref1), Old: grasp.ZeroOID, New: grasp.OID(oid1)},
			{Ref: grasp.RefName(ref2), Old: grasp.ZeroOID, New: grasp.OID(oid2)},
		}
		for i, u := range push {
			if is, ok := now[u.Ref]; ok {
				push[i].Old = is
			}
		}
		g, err := v.CheckPush(addr("O"), now, push)
		answered(t, err)
		for _, u := range g.Updates {
			_, pull := u.Ref.Pull()
			if !u.Ref.IsHead() && !u.Ref.IsTag() && !pull {
				t.Errorf("granted: %q", u.Ref)
			}
			if !pull && !u.New.IsZero() && v.States[key("M1")][0].Refs[u.Ref] != u.New {
				t.Errorf("granted: %q to %q", u.Ref, u.New)
			}
		}
	})
}
