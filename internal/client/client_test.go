package client_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/client"
	"github.com/gitroost/gitroost/internal/fault"
)

func TestParseServer(t *testing.T) {
	for in, want := range map[string]string{
		"git.example.com": "https://git.example.com", "https://Git.Example.com/": "https://git.example.com", "wss://x.example": "https://x.example",
		"ws://127.0.0.1:7334": "http://127.0.0.1:7334", "127.0.0.1:7334": "http://127.0.0.1:7334", "localhost:7334": "http://localhost:7334",
		"[::1]:7334": "http://[::1]:7334", "http://git.lan": "http://git.lan",
	} {
		s, err := client.ParseServer(in)
		if err != nil || s.String() != want {
			t.Errorf("ParseServer(%q) = %s, %v; want %s", in, s, err, want)
		}
	}
	for _, bad := range []string{"", " ", "https://", "ftp://x.example", "https://u:p@x.example", "https://x.example/git", "https://x.example?q", "a b"} {
		if s, err := client.ParseServer(bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("ParseServer(%q) = %s, %v", bad, s, err)
		}
	}
	s, _ := client.ParseServer("git.example.com")
	a := grasp.Addr{Owner: grasp.PubKey(strings.Repeat("ab", 32)), ID: "my 🚀 repo"}
	if got, want := s.Clone(a), "https://git.example.com/"+a.Owner.Npub()+"/my%20%F0%9F%9A%80%20repo.git"; got != want {
		t.Errorf("Clone = %s, want %s", got, want)
	}
	if s.Relay() != "wss://git.example.com" || s.Loopback() {
		t.Errorf("%s, loopback %v", s.Relay(), s.Loopback())
	}
}

func TestKeysAndTheirFiles(t *testing.T) {
	k, err := client.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "alice.key")
	if err := k.Save(path); err != nil {
		t.Fatal(err)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	if err := k.Save(path); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("a key was overwritten: %v", err)
	}
	got, err := client.LoadKey(path)
	if err != nil || got != k {
		t.Errorf("read back %v, %v", got, err)
	}
	if fmt.Sprintf("%v %s %#v", k, k, k) != strings.Repeat(k.Public().Npub()+" ", 2)+k.Public().Npub() {
		t.Errorf("printed as %#v", k)
	}
	os.Chmod(path, 0o640)
	if _, err := client.LoadKey(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others can read: %v", err)
	}
	if _, err := client.LoadKey(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "gitroost key new") {
		t.Errorf("a key that is not there: %v", err)
	}
}

func TestParseKey(t *testing.T) {
	const hex = "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa"
	const nsec = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5"
	const npub = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg" // the NIP-19 vectors
	a, err := client.ParseKey(hex)
	if err != nil {
		t.Fatal(err)
	}
	b, err := client.ParseKey(" " + nsec + "\n")
	if err != nil || a != b || a.Nsec() != nsec {
		t.Errorf("nsec: %v, %v", b, err)
	}
	if a.String() != npub {
		t.Errorf("public key %s", a)
	}
	for _, bad := range []string{"", "nsec1", nsec[:62] + "q", npub, hex[:63], strings.Repeat("0", 64), strings.Repeat("f", 64), "zz" + hex[2:]} {
		if k, err := client.ParseKey(bad); err == nil {
			t.Errorf("ParseKey(%q) = %v", bad, k)
		}
	}
}

func TestADemoKeyStaysAtHome(t *testing.T) {
	k, _ := client.NewKey()
	k.Demo = true
	path := filepath.Join(t.TempDir(), "demo.key")
	if err := k.Save(path); err != nil {
		t.Fatal(err)
	}
	k, err := client.LoadKey(path)
	if err != nil || !k.Demo {
		t.Fatalf("%v, %v", k, err)
	}
	s, _ := client.ParseServer("https://git.example.com")
	c := &client.Client{Now: time.Now}
	if _, _, err := c.Announce(t.Context(), k, []client.Server{s}, client.Announcement{ID: "x"}); !fault.Is(err, fault.Refused) {
		t.Errorf("Announce: %v", err)
	}
	if _, err := c.Push(t.Context(), client.Push{Key: k, Home: client.Home{Server: s}}); !fault.Is(err, fault.Refused) {
		t.Errorf("Push: %v", err)
	}
}

func TestAnnouncementEvent(t *testing.T) { // grasp.md, appendix B
	bob := grasp.PubKey(strings.Repeat("b0", 32))
	ev := client.Announcement{
		ID: "tool", Name: "Tool", Clone: []string{"https://a/x.git", "https://b/x.git"}, Relays: []string{"wss://a"},
		Maintainers: []grasp.PubKey{bob}, Root: grasp.OID(strings.Repeat("1", 40)),
	}.Event(time.Unix(7, 0))
	want := nostr.Tags{
		{"d", "tool"}, {"name", "Tool"}, {"clone", "https://a/x.git", "https://b/x.git"}, {"relays", "wss://a"},
		{"maintainers", string(bob)}, {"r", strings.Repeat("1", 40), "euc"},
	}
	if ev.Kind != 30617 || ev.CreatedAt != 7 || fmt.Sprint(ev.Tags) != fmt.Sprint(want) {
		t.Errorf("%v", ev)
	}
}

func TestStateOfALocalRepository(t *testing.T) { // G01-302, G01-303, G01-304
	w := newWorld(t)
	one := w.commit("two")
	w.git(w.dir, "branch", "feature/x")
	w.git(w.dir, "tag", "light")
	w.git(w.dir, "tag", "-a", "v1", "-m", "v1")
	tag := grasp.OID(w.git(w.dir, "rev-parse", "v1"))
	l, err := w.c.Local(t.Context(), w.dir)
	if err != nil {
		t.Fatal(err)
	}
	ev := client.State{ID: "x", Refs: l.Refs, Peeled: l.Peeled, Head: l.Head}.Event(w.clock)
	want := nostr.Tags{
		{"d", "x"}, {"refs/heads/feature/x", string(one)}, {"refs/heads/main", string(one)}, {"refs/tags/light", string(one)},
		{"refs/tags/v1", string(tag)}, {"refs/tags/v1^{}", string(one)}, {"HEAD", "ref: refs/heads/main"},
	}
	if ev.Kind != 30618 || fmt.Sprint(ev.Tags) != fmt.Sprint(want) {
		t.Errorf("%v", ev.Tags)
	}
	s, err := grasp.ParseState(ev)
	if err != nil || s.Refs["refs/tags/v1"] != tag || len(s.Refs) != 4 || s.Head != "refs/heads/main" {
		t.Errorf("a server reads %+v, %v", s, err)
	}
	if l.Root != grasp.OID(w.git(w.dir, "rev-list", "--max-parents=0", "HEAD")) {
		t.Errorf("root = %s", l.Root)
	}
	w.git(w.dir, "checkout", "-q", "--detach")
	if l, err = w.c.Local(t.Context(), w.dir); err != nil || l.Head != "" {
		t.Errorf("detached: %q, %v", l.Head, err)
	}
	if _, err := w.c.Local(t.Context(), t.TempDir()); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "git init") {
		t.Errorf("no repository: %v", err)
	}
}

func TestAnnounce(t *testing.T) {
	w := newWorld(t)
	a := client.Announcement{ID: "hello", Clone: []string{w.server.Clone(w.home.Addr)}, Relays: []string{w.server.Relay()}}
	first, ans, err := w.c.Announce(t.Context(), w.key, []client.Server{w.server}, a)
	if err != nil || !ans[0].OK {
		t.Fatal(ans, err)
	}
	site, err := grasp.NewSite(w.relay.URL)
	if err != nil {
		t.Fatal(err)
	}
	if parsed, err := site.Announcement(first); err != nil || !parsed.ListsUs || parsed.Addr != w.home.Addr {
		t.Errorf("a server reads %+v, %v", parsed, err)
	}
	// The clock stands still; the second announcement is newer all the same (N-009).
	second, _, err := w.c.Announce(t.Context(), w.key, []client.Server{w.server}, a)
	if err != nil || second.CreatedAt <= first.CreatedAt {
		t.Errorf("%v after %v, %v", second.CreatedAt, first.CreatedAt, err)
	}
	w.relay.accept = func(*nostr.Event) (bool, string) { return false, "blocked: no" }
	if _, ans, err = w.c.Announce(t.Context(), w.key, []client.Server{w.server}, a); err != nil || ans[0].OK || ans[0].String() != "refused: blocked: no" {
		t.Errorf("%v, %v", ans, err)
	}
	if _, _, err = w.c.Announce(t.Context(), w.key, []client.Server{w.server}, client.Announcement{ID: "a/b"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a name with a slash: %v", err)
	}
	if _, _, err = w.c.Announce(t.Context(), client.Key{}, []client.Server{w.server}, a); !fault.Is(err, fault.Invalid) {
		t.Errorf("no key: %v", err)
	}
}

func TestPushSignsThenPushes(t *testing.T) {
	w := newWorld(t)
	main := grasp.OID(w.git(w.dir, "rev-parse", "main"))
	w.relay.accept = func(ev *nostr.Event) (bool, string) {
		if out := w.git(w.bare, "for-each-ref"); out != "" {
			t.Errorf("git was pushed before the state was accepted: %s", out)
		}
		return true, grasp.PurgatoryText
	}
	done, err := w.push(client.Push{})
	if err != nil {
		t.Fatal(err)
	}
	if done.Answer.Message != grasp.PurgatoryText || !slices.Equal(done.Refs, []grasp.RefName{"refs/heads/main"}) {
		t.Errorf("%+v", done)
	}
	if s := w.state(); s.Refs["refs/heads/main"] != main || s.Head != "refs/heads/main" || s.Author != w.key.Public() {
		t.Errorf("state %+v", s)
	}
	if got := grasp.OID(w.git(w.bare, "rev-parse", "refs/heads/main")); got != main {
		t.Errorf("main is %s there, %s here", got, main)
	}
	// Again: the state says it all already, so none is signed.
	w.relay.accept = func(*nostr.Event) (bool, string) { t.Error("a second state was signed"); return true, "" }
	if done, err = w.push(client.Push{}); err != nil || done.State != nil {
		t.Errorf("%+v, %v", done, err)
	}
}

func TestPushKeepsWhatOthersSigned(t *testing.T) {
	w := newWorld(t)
	if _, err := w.push(client.Push{}); err != nil {
		t.Fatal(err)
	}
	w.git(w.dir, "checkout", "-q", "-b", "topic")
	topic := w.commit("topic")
	w.git(w.dir, "tag", "-a", "v1", "-m", "v1")
	first := w.state()
	if _, err := w.push(client.Push{}); err != nil { // the clock stands still
		t.Fatal(err)
	}
	s := w.state()
	if len(s.Refs) != 2 || s.Refs["refs/heads/topic"] != topic || s.Head != "refs/heads/main" {
		t.Errorf("state %+v", s)
	}
	if s.At <= first.At {
		t.Errorf("the second state is of %d, the first of %d: a lottery (N-009)", s.At, first.At)
	}
	if _, err := w.push(client.Push{Tags: true}); err != nil {
		t.Fatal(err)
	}
	if s = w.state(); len(s.Refs) != 3 || s.Refs["refs/tags/v1"] == topic {
		t.Errorf("state %+v", s)
	}
	// A push of main later keeps the companion of the tag.
	w.git(w.dir, "checkout", "-q", "main")
	w.git(w.dir, "tag", "-d", "v1")
	w.commit("more")
	if _, err := w.push(client.Push{}); err != nil {
		t.Fatal(err)
	}
	if tags := w.state().Event.Tags; !strings.Contains(fmt.Sprint(tags), "refs/tags/v1^{}") {
		t.Errorf("the companion is lost: %v", tags)
	}
}

func TestPushAsAMaintainerBuildsOnTheOwner(t *testing.T) { // G01-201, G01-308
	w := newWorld(t)
	bob, err := client.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.c.Announce(t.Context(), w.key, []client.Server{w.server}, client.Announcement{ID: "hello", Maintainers: []grasp.PubKey{bob.Public()}}); err != nil {
		t.Fatal(err)
	}
	w.git(w.dir, "branch", "stable")
	if _, err := w.push(client.Push{All: true}); err != nil {
		t.Fatal(err)
	}
	w.commit("by bob")
	if _, err := w.c.Push(t.Context(), client.Push{Dir: w.dir, Home: w.home, Key: bob}); err != nil {
		t.Fatal(err)
	}
	if s := w.state(); s.Author != bob.Public() || len(s.Refs) != 2 {
		t.Errorf("bob's state forgets what alice signed: %+v", s)
	}
	// Mallory is no maintainer: her state is no ground to build on.
	mallory, _ := client.NewKey()
	w.git(w.dir, "branch", "evil")
	if _, err := w.c.Push(t.Context(), client.Push{Dir: w.dir, Home: w.home, Key: mallory, Branches: []string{"evil"}}); err != nil {
		t.Fatal(err)
	}
	w.commit("by alice")
	if _, err := w.push(client.Push{}); err != nil {
		t.Fatal(err)
	}
	if s := w.state(); s.Refs["refs/heads/evil"] != "" {
		t.Errorf("mallory's branch came along: %+v", s.Refs)
	}
}

func TestPushLosesNothingUnasked(t *testing.T) {
	w := newWorld(t)
	w.commit("two")
	w.git(w.dir, "tag", "v1")
	w.git(w.dir, "branch", "gone")
	if _, err := w.push(client.Push{All: true}); err != nil {
		t.Fatal(err)
	}
	w.git(w.dir, "reset", "-q", "--hard", "HEAD~1")
	w.commit("other")
	w.git(w.dir, "tag", "-f", "v1")
	for name, p := range map[string]client.Push{
		"rewritten branch": {}, "moved tag": {Branches: []string{"refs/tags/v1"}},
	} {
		if _, err := w.push(p); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "--force") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.push(client.Push{Force: true}); err != nil {
		t.Error(err)
	}
	w.git(w.dir, "tag", "-f", "v1", "main~1^{commit}")
	w.git(w.dir, "branch", "-D", "gone")
	if _, err := w.push(client.Push{All: true}); !fault.Is(err, fault.Invalid) {
		t.Errorf("deleting by --all: %v", err)
	}
	if _, err := w.push(client.Push{All: true, Force: true}); err != nil {
		t.Error(err)
	}
	if s := w.state(); len(s.Refs) != 2 {
		t.Errorf("state %+v", s.Refs)
	}
	if _, err := w.push(client.Push{Branches: []string{"nope"}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a branch that is not there: %v", err)
	}
}

func TestARefusedStateIsNotPushed(t *testing.T) {
	w := newWorld(t)
	w.relay.accept = func(*nostr.Event) (bool, string) {
		return false, "invalid: no announcement exists for this repository"
	}
	_, err := w.push(client.Push{})
	if text, _ := fault.Message(err); !fault.Is(err, fault.Refused) || !strings.Contains(text, "no announcement exists") {
		t.Errorf("%v", err)
	}
	if out := w.git(w.bare, "for-each-ref"); out != "" {
		t.Errorf("git was pushed: %s", out)
	}
}

func TestARefusedPushShowsWhatGitSaid(t *testing.T) {
	w := newWorld(t)
	hook := filepath.Join(w.bare, "hooks", "pre-receive")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\necho 'signed state 4de9125 says otherwise' >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	done, err := w.push(client.Push{})
	if !fault.Is(err, fault.Refused) || !strings.Contains(done.Output, "signed state 4de9125 says otherwise") {
		t.Errorf("%q, %v", done.Output, err)
	}
}

func TestHome(t *testing.T) {
	w := newWorld(t)
	if _, err := w.c.Home(t.Context(), w.dir); !fault.Is(err, fault.NotFound) {
		t.Errorf("before: %v", err)
	}
	w.git(w.dir, "remote", "add", "origin", w.server.Clone(w.home.Addr))
	if h, err := w.c.Home(t.Context(), w.dir); err != nil || h != w.home {
		t.Errorf("cloned: %+v, %v", h, err)
	}
	w.home.Addr.ID = "my 🚀 repo"
	if err := w.c.SetHome(t.Context(), w.dir, w.home); err != nil {
		t.Fatal(err)
	}
	if h, err := w.c.Home(t.Context(), w.dir); err != nil || h != w.home {
		t.Errorf("%+v, %v", h, err)
	}
	w.git(w.dir, "config", "gitroost.owner", "npub1bad")
	if _, err := w.c.Home(t.Context(), w.dir); !fault.Is(err, fault.Invalid) {
		t.Errorf("damaged: %v", err)
	}
}

func TestParseHome(t *testing.T) {
	a := grasp.Addr{Owner: grasp.PubKey(strings.Repeat("ab", 32)), ID: "my 🚀+50%:x.git"}
	s, _ := client.ParseServer("http://127.0.0.1:7334")
	if h, err := client.ParseHome(s.Clone(a)); err != nil || h.Addr != a || h.Server != s {
		t.Errorf("%+v, %v", h, err)
	}
	npub := a.Owner.Npub()
	for _, bad := range []string{
		"", "https://x.example/" + npub + "/hello", "https://x.example/hello.git", "https://x.example/npub1/hello.git",
		"https://x.example/" + npub + "/.git", "https://x.example/" + npub + "/a/b.git", "ssh://x.example/" + npub + "/a.git",
		"https://u@x.example/" + npub + "/a.git", "git@x.example:" + npub + "/a.git", "nostr://" + npub + "/x.example/a",
	} {
		if h, err := client.ParseHome(bad); err == nil {
			t.Errorf("ParseHome(%q) = %+v", bad, h)
		}
	}
}

func TestAnnounceOnSeveralServers(t *testing.T) {
	w, other := newWorld(t), newRelay(t)
	ev, answers, err := w.c.Announce(t.Context(), w.key, []client.Server{w.server, other.server(t)}, client.Announcement{ID: "hello"})
	if err != nil || len(answers) != 2 || len(other.events) != 1 || other.events[0].ID != ev.ID {
		t.Errorf("%v, %v", answers, err)
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5")
	f.Add("67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := client.ParseKey(s)
		if err != nil {
			return
		}
		if again, err := client.ParseKey(k.Nsec()); err != nil || again != k {
			t.Fatalf("%q: %v", s, err)
		}
	})
}

func FuzzRefs(f *testing.F) {
	o := strings.Repeat("1", 40)
	f.Add(o + "  refs/heads/main\n" + o + " " + o + " refs/tags/v1\n")
	f.Fuzz(func(t *testing.T, out string) {
		c := client.Client{Git: func(_ context.Context, _ string, args ...string) (string, string, error) {
			return out, "", nil
		}}
		l, err := c.Local(context.Background(), "/")
		if err != nil {
			return
		}
		for n, o := range l.Refs {
			if _, ok := grasp.ParseRefName(string(n)); !ok || !grasp.IsHex(string(o), 40) {
				t.Fatalf("%q: %s %s", out, n, o)
			}
		}
	})
}
