package githttp_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/githttp"
)

// What a person with stock git reads when a push is refused: checks 64, 74, 77; H-246, T-3. The
// texts are part of the contract with people and scripts.
func TestStockPushRefused(t *testing.T) {
	refused := func(lines ...string) string { return strings.Join(lines, "\n") + "\n" }
	for _, c := range []struct {
		name string
		desk *fakeDesk
		cfg  githttp.Config
		push []string // what is pushed; default main
		want string
	}{
		{
			name: "no state",
			desk: refuse(&grasp.Refusal{Rule: "G01-503", Prefix: grasp.Blocked, Text: "no repository state event authorises this push", Hint: "publish kind 30618 first"}),
			want: refused(
				"remote: push refused: no repository state event authorises this push",
				"remote: hint: publish kind 30618 first",
				"remote: push 7f3a",
				"error: remote unpack failed: refused by policy",
				"To URL",
				" ! [remote rejected] main -> main (unauthorised: no repository state event authorises this push)",
				"error: failed to push some refs to 'URL'"),
		},
		{
			name: "two refs, a hint of two lines",
			desk: refuse(&grasp.Refusal{Rule: "G01-503", Ref: "refs/heads/main", Text: "refs/heads/main: signed state 4de9125 says d50b7b3, you pushed dcb0a7f", Hint: "publish a new state event:\nnak event -k 30618 …"}),
			push: []string{"main", "main:refs/heads/dev"},
			want: refused(
				"remote: push refused: refs/heads/main: signed state 4de9125 says d50b7b3, you pushed dcb0a7f",
				"remote: hint: publish a new state event:",
				"remote: hint: nak event -k 30618 …",
				"remote: push 7f3a",
				"error: remote unpack failed: refused by policy",
				"To URL",
				" ! [remote rejected] main -> main (unauthorised: refs/heads/main: signed state 4de9125 says d50b7b3, you pushed dcb0a7f)",
				" ! [remote rejected] main -> dev (unauthorised: refs/heads/main: signed state 4de9125 says d50b7b3, you pushed dcb0a7f)",
				"error: failed to push some refs to 'URL'"),
		},
		{
			name: "not a matter of authority",
			desk: refuse(&grasp.Refusal{Rule: "H-253", Prefix: grasp.Invalid, Text: "refs/heads/main conflicts with refs/heads/main/x"}),
			want: refused(
				"remote: push refused: refs/heads/main conflicts with refs/heads/main/x",
				"remote: push 7f3a",
				"error: remote unpack failed: refused by policy",
				"To URL",
				" ! [remote rejected] main -> main (refused: refs/heads/main conflicts with refs/heads/main/x)",
				"error: failed to push some refs to 'URL'"),
		},
		{
			name: "denied by the operator",
			desk: refuse(&grasp.Refusal{Rule: "X", Prefix: grasp.Restricted, Text: "spam; write to op@example.com"}),
			want: refused(
				"remote: push refused: spam; write to op@example.com",
				"remote: push 7f3a",
				"error: remote unpack failed: refused by policy",
				"To URL",
				" ! [remote rejected] main -> main (unauthorised: spam; write to op@example.com)",
				"error: failed to push some refs to 'URL'"),
		},
		{
			name: "quota",
			desk: refuse(&grasp.Refusal{Rule: "H-254", Text: "quota: 512 MiB of 512 MiB used"}),
			want: refused(
				"remote: push refused: quota: 512 MiB of 512 MiB used",
				"remote: push 7f3a",
				"error: remote unpack failed: quota: 512 MiB of 512 MiB used",
				"To URL",
				" ! [remote rejected] main -> main (quota: 512 MiB of 512 MiB used)",
				"error: failed to push some refs to 'URL'"),
		},
		{
			name: "someone was faster",
			desk: refuse(fault.E(fault.Stale, "desk: enter", "refs/heads/main moved meanwhile")),
			want: refused(
				"remote: push refused: refs/heads/main moved meanwhile",
				"remote: push 7f3a",
				"error: remote unpack failed: fetch first: refs/heads/main moved meanwhile",
				"To URL",
				" ! [remote rejected] main -> main (fetch first: refs/heads/main moved meanwhile)",
				"error: failed to push some refs to 'URL'"),
		},
		{
			name: "commands",
			desk: &fakeDesk{},
			cfg:  githttp.Config{MaxCommands: 1},
			push: []string{"main", "main:refs/heads/dev"},
			want: refused(
				"remote: push refused: limit: at most 1 refs in one push",
				"remote: push 7f3a",
				"error: remote unpack failed: limit: at most 1 refs in one push",
				"To URL",
				" ! [remote rejected] main -> main (limit: at most 1 refs in one push)",
				" ! [remote rejected] main -> dev (limit: at most 1 refs in one push)",
				"error: failed to push some refs to 'URL'"),
		},
		{
			name: "a hostile reason does nothing to the terminal",
			desk: refuse(&grasp.Refusal{Rule: "G01-503", Text: "state \x1b[2J\u202e says\nso: not found"}),
			want: refused(
				`remote: push refused: state \u001b[2J\u202e says\nso: not found`,
				"remote: push 7f3a",
				"error: remote unpack failed: refused by policy",
				"To URL",
				` ! [remote rejected] main -> main (unauthorised: state \u001b[2J\u202e says\nso: missing)`,
				"error: failed to push some refs to 'URL'"),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			git := &fakeGit{}
			h := open(t, c.cfg, c.desk, git)
			alice := newPerson(t)
			alice.git("init", "-q")
			alice.commit("a", "a")
			if c.push == nil {
				c.push = []string{"main"}
			}
			_, stderr, ok := alice.try(append([]string{"push", h.url(demo)}, c.push...)...)
			if ok {
				t.Error("git is content")
			}
			if got := tidy(stderr, h.url(demo)); got != c.want {
				t.Errorf("git says\n%s\nwant\n%s", got, c.want)
			}
			if git.started.Load() != 0 {
				t.Error("a refusal started git")
			}
			if got := h.Stats().PushesRefused.Load() + h.Stats().PushesFailed.Load(); got != 1 {
				t.Errorf("%d refusals counted", got)
			}
			if n := strings.Count(h.log.String(), "msg=push"); n != 1 {
				t.Errorf("%d lines in the log:\n%s", n, h.log)
			}
		})
	}
}

// tidy replaces the address and what git pads its remote lines with.
func tidy(stderr, url string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.ReplaceAll(stderr, url, "URL")) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

// An internal error shows an id, and the log has the details under it.
func TestStockInternalError(t *testing.T) {
	h := open(t, githttp.Config{}, refuse(errors.New("disk on fire at /srv")), &fakeGit{})
	alice := newPerson(t)
	alice.git("init", "-q")
	alice.commit("a", "a")
	_, stderr, _ := alice.try("push", h.url(demo), "main")
	_, rest, found := strings.Cut(stderr, "main -> main (error: internal error ")
	if !found || strings.Contains(stderr, "fire") {
		t.Fatalf("git says %s", stderr)
	}
	id, _, _ := strings.Cut(rest, ")")
	id = strings.ReplaceAll(id, "4·04", "404")
	if l := h.log.String(); !strings.Contains(l, "id="+id) || !strings.Contains(l, "disk on fire") || !strings.Contains(l, "level=ERROR") {
		t.Errorf("id %s is not in the log:\n%s", id, l)
	}
}

// H-107, people §1b: an unknown repository explains itself, for every command.
func TestStockUnknownRepository(t *testing.T) {
	h := open(t, githttp.Config{}, &fakeDesk{}, &fakeGit{})
	alice := newPerson(t)
	alice.git("init", "-q")
	alice.commit("a", "a")
	url := h.url(grasp.Addr{Owner: owner, ID: "hello"})
	for _, args := range [][]string{{"ls-remote", url}, {"clone", url, "x"}, {"push", url, "main"}} {
		_, stderr, ok := alice.try(args...)
		want := "remote: No repository hello is hosted here for " + owner.Npub() + "\nremote: Announce it first: ngit init, or nak git init && nak git push\n"
		if ok || !strings.Contains(tidy(stderr, url), want) {
			t.Errorf("git %s says\n%s", args[0], stderr)
		}
	}
}

// H-221, H-248, checks 29, 39, 43, 47, 49, 55, 57: stock git from the first push to a deletion,
// in every protocol version.
func TestStockRoundTrip(t *testing.T) {
	for _, version := range []string{"0", "1", "2"} {
		t.Run("protocol "+version, func(t *testing.T) {
			b := newBare(t)
			h := open(t, githttp.Config{}, b, b)
			url := h.url(demo)
			alice := newPerson(t)
			alice.git("init", "-q")
			proto := []string{"-c", "protocol.version=" + version}
			run := func(p person, args ...string) (string, string, bool) { return p.try(append(proto, args...)...) }
			must := func(p person, args ...string) string {
				t.Helper()
				out, stderr, ok := run(p, args...)
				if !ok {
					t.Fatalf("git %v: %s", args, stderr)
				}
				return out + stderr
			}

			if out := must(newPerson(t), "clone", url, "empty"); !strings.Contains(out, "empty repository") {
				t.Errorf("clone of nothing: %s", out)
			}
			first := alice.commit("a", "a")
			out := must(alice, "push", url, "main")
			if got := tidy(out, url); !strings.Contains(got, "remote: checked\nremote: push 7f3a · state a639aac3 applied\n") || strings.Contains(got, "remote: push 7f3a\n") {
				t.Errorf("push says\n%s", got)
			}
			tip := alice.commit("b", "b")
			alice.git("tag", "-a", "-m", "one", "v1")
			must(alice, "push", url, "main", "v1", "main:refs/heads/dev", "main:refs/nostr/"+strings.Repeat("e", 64))

			bob := newPerson(t)
			must(bob, "clone", "-q", url, "full")
			full := person{t, filepath.Join(bob.dir, "full")}
			if got := full.git("rev-parse", "HEAD"); got != tip {
				t.Errorf("bob has %s, want %s", got, tip)
			}
			if got := must(bob, "ls-remote", "--symref", url); !strings.Contains(got, "ref: refs/heads/main\tHEAD") || !strings.Contains(got, "refs/tags/v1^{}") || !strings.Contains(got, "refs/nostr/"+strings.Repeat("e", 64)) {
				t.Errorf("ls-remote: %s", got)
			}
			must(bob, "clone", "-q", "--depth=1", url, "shallow")
			shallow := person{t, filepath.Join(bob.dir, "shallow")}
			if got := shallow.git("rev-list", "--count", "HEAD"); got != "1" {
				t.Errorf("shallow clone has %s commits", got)
			}
			must(shallow, "fetch", "-q", "--unshallow")
			if got := shallow.git("rev-list", "--count", "HEAD"); got != "2" {
				t.Errorf("unshallowed clone has %s commits", got)
			}
			must(bob, "clone", "-q", "--filter=blob:none", url, "partial")
			if b, err := os.ReadFile(filepath.Join(bob.dir, "partial", "b")); err != nil || string(b) != "b" {
				t.Errorf("partial clone: %q, %v", b, err)
			}
			must(full, "fetch", "-q", url, first)
			if _, stderr, ok := run(full, "fetch", url, one); ok || !strings.Contains(stderr, "remote error: upload-pack: not our ref "+one) {
				t.Errorf("unknown object: %s", stderr)
			}
			next := alice.commit("c", "c")
			must(alice, "push", "-q", url, "main", ":refs/heads/dev")
			must(full, "fetch", "-q", "--prune")
			if got := full.git("rev-parse", "origin/main"); got != next {
				t.Errorf("fetched %s, want %s", got, next)
			}
			if _, _, ok := full.try("rev-parse", "--verify", "-q", "origin/dev"); ok {
				t.Error("dev is still there")
			}
		})
	}
}

// H-242, H-243, check 59: more than http.postBuffer makes git send a probe and then chunks.
func TestStockLargePush(t *testing.T) {
	b := newBare(t)
	h := open(t, githttp.Config{}, b, b)
	alice := newPerson(t)
	alice.git("init", "-q")
	noise := make([]byte, 5<<20)
	rand.Read(noise)
	alice.commit("noise", string(noise))
	alice.git("push", "-q", h.url(demo), "main")
	if h.Stats().Probes.Load() == 0 {
		t.Error("git sent no probe")
	}
	alice.commit("more", string(noise[:2<<20])+"x")
	alice.git("-c", "http.postBuffer=50m", "push", "-q", h.url(demo), "main")
	if got := h.Stats().PushesOK.Load(); got != 2 {
		t.Errorf("%d pushes", got)
	}
}

// H-256, check 280: a large push that is refused is read to its end; beyond the limit it is told so.
func TestStockLargeRefusal(t *testing.T) {
	noise := make([]byte, 5<<20)
	rand.Read(noise)
	alice := newPerson(t)
	alice.git("init", "-q")
	alice.commit("noise", string(noise))
	h := open(t, githttp.Config{}, &fakeDesk{}, &fakeGit{})
	_, stderr, _ := alice.try("push", h.url(demo), "main")
	if !strings.Contains(stderr, "(unauthorised: no repository state event authorises this push)") {
		t.Errorf("git says %s", stderr)
	}
	if n := strings.Count(h.log.String(), "msg=push"); n != 1 {
		t.Errorf("%d attempts", n)
	}
	_, stderr, _ = alice.try("push", h.url(grasp.Addr{Owner: owner, ID: "hello"}), "main")
	if !strings.Contains(stderr, "No repository hello") {
		t.Errorf("git says %s", stderr)
	}
}

// H-222, check 40: negotiation over many commits is compressed by the client.
func TestStockNegotiation(t *testing.T) {
	b := newBare(t)
	h := open(t, githttp.Config{}, b, b)
	alice := newPerson(t)
	alice.git("init", "-q")
	alice.commit("a", "a")
	alice.git("push", "-q", h.url(demo), "main")
	bob := newPerson(t)
	bob.git("init", "-q")
	var stream bytes.Buffer
	for range 500 {
		stream.WriteString("commit refs/heads/own\ncommitter bob <b> 1700000000 +0000\ndata 1\nx\n")
	}
	file := filepath.Join(bob.dir, "stream")
	if err := os.WriteFile(file, stream.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	importStream(t, bob, file)
	for _, version := range []string{"0", "2"} {
		bob.git("-c", "protocol.version="+version, "fetch", "-q", h.url(demo), "main:refs/heads/got"+version)
	}
}
