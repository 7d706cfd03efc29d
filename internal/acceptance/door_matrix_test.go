package acceptance_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/internal/housetest"
)

// Stock git in every protocol: what people do with a repository, on an identifier of many kinds of
// characters (checks 10, 38, 39, 47, 49, 59, 75; H-104, H-221, H-225, H-226, H-243, H-252).
func TestDoorMatrix(t *testing.T) {
	t.Parallel()
	for _, v := range everyProtocol {
		t.Run("version "+v, func(t *testing.T) {
			t.Parallel()
			h := housetest.Start(t)
			c, alice := h.Dial(), housetest.NewKey(t)
			const id = "my 🚀 repo+x:y%"
			repo, at := h.Repo(alice, id), longAgo()
			c.Must(h.Announcement(alice, id, at))
			version := "protocol.version=" + v
			clone := func(args ...string) *housetest.Copy {
				t.Helper()
				return housetest.Clone(t, repo, append([]string{"-c", version}, args...)...)
			}
			w := clone() // empty
			w.Git("checkout", "-q", "-b", "main")
			push := func(args ...string) {
				t.Helper()
				w.Git(append([]string{"push", "-q", "origin"}, args...)...)
			}
			state := func(refs ...string) {
				t.Helper()
				at++
				c.Must(alice.State(id, at, refs...))
			}
			same := func(what string) {
				t.Helper()
				got := clone("--mirror")
				if a, b := got.Git("show-ref"), w.Git("show-ref"); strip(a) != strip(b) {
					t.Errorf("%s: the mirror has\n%s\nthe pusher\n%s", what, strip(a), strip(b))
				}
				got.Git("fsck", "--full", "--strict")
			}

			w.Commit()
			w.Commit()
			oid := w.Commit()
			state("main=" + oid)
			push("main")
			same("first push")

			w.Git("tag", "-a", "-m", "the first", "v1")
			w.Git("tag", "light")
			w.Git("tag", "-a", "-m", "a tag of a tag", "v1.1", "v1")
			w.Git("branch", "feature/x")
			state("main="+oid, "refs/heads/feature/x="+oid, "refs/tags/v1="+w.Git("rev-parse", "v1"), "refs/tags/light="+oid, "refs/tags/v1.1="+w.Git("rev-parse", "v1.1"))
			push("--tags", "feature/x")
			same("tags")
			if got := clone().Git("cat-file", "-t", "v1"); got != "tag" {
				t.Errorf("v1 is a %s", got)
			}

			w.CommitFile("large.bin", noise(uint64(v[0]), 3<<20)) // larger than git's buffer: chunked
			oid = w.Git("rev-parse", "HEAD")
			state("main="+oid, "refs/heads/feature/x="+w.Git("rev-parse", "feature/x"), "refs/tags/v1="+w.Git("rev-parse", "v1"))
			w.Git("tag", "-d", "light", "v1.1")
			push("main")
			same("a large push")

			w.Git("reset", "-q", "--hard", "HEAD~2")
			oid = w.Commit()
			state("main="+oid, "refs/heads/feature/x="+w.Git("rev-parse", "feature/x"), "refs/tags/v1="+w.Git("rev-parse", "v1"))
			push("-f", "main")
			same("force")

			w.Git("branch", "-q", "-D", "feature/x")
			w.Git("tag", "-d", "v1")
			oid = w.Commit() // the state waits for it, so that the refs go with the push
			state("main=" + oid)
			push("main", ":feature/x", ":v1")
			same("deletion")

			for _, args := range [][]string{{"--depth", "1"}, {"--filter=blob:none"}, {"--filter=tree:0"}, {"--filter=blob:limit=1k"}, {"--depth", "1", "--filter=tree:0"}, {"--single-branch"}, {"--bare"}, {"--no-tags"}} {
				if got := clone(args...).Git("rev-parse", "HEAD"); got != oid {
					t.Errorf("clone %v has %s, want %s", args, got, oid)
				}
			}
			// A partial and a shallow clone can go on and push.
			for _, args := range [][]string{{"--depth", "1"}, {"--filter=blob:none"}, {"--filter=tree:0"}} {
				part := clone(args...)
				next := part.Commit()
				state("main=" + next)
				part.Git("-c", version, "push", "-q", "origin", "HEAD:main")
				if got := housetest.Remote(t, repo)["refs/heads/main"]; got != next {
					t.Errorf("push from a clone %v: main is %s, want %s", args, got, next)
				}
			}
			w.Git("-c", version, "pull", "-q", "origin", "main")
			same("pull")
		})
	}
}

// strip leaves of show-ref what a mirror and a pusher have in common.
func strip(refs string) string {
	var out []string
	for line := range strings.SplitSeq(refs, "\n") {
		if !strings.Contains(line, "refs/remotes/") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// H-254: 10,000 refs in one state and in one push, with everything that follows. Stock git needs a
// minute to put such a push together, so it pushes 2,000, and 10,000 are pushed by hand.
func TestDoorTenThousandRefs(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, alice := h.Dial(), housetest.NewKey(t)
	for _, q := range []struct {
		id   string
		n    int
		hand bool
	}{{"stock", 2_000, false}, {"hand", 10_000, true}} {
		repo := h.Repo(alice, q.id)
		w := housetest.NewCopy(t)
		oid := w.Commit()
		var packed, commands strings.Builder
		refs := []string{"main=" + oid}
		commands.WriteString(command(zero, oid, "refs/heads/main", stockCaps))
		for i := range q.n - 1 {
			name := fmt.Sprintf("refs/heads/topic/%05d", i)
			fmt.Fprintf(&packed, "%s %s\n", oid, name)
			commands.WriteString(command(zero, oid, name, ""))
			refs = append(refs, name+"="+oid)
		}
		c.Must(h.Announcement(alice, q.id, longAgo()), alice.State(q.id, longAgo(), refs...))
		if q.hand {
			resp, body := h.ReceivePack(repo, commands.String()+housetest.FlushPkt+w.Pack(oid))
			if a := understand(t, resp, body, true); a.unpack != "ok" || len(a.refs) != q.n {
				t.Errorf("%s: unpack %q with %d lines", q.id, a.unpack, len(a.refs))
			}
		} else {
			if err := os.WriteFile(filepath.Join(w.Dir, ".git", "packed-refs"), []byte("# pack-refs with: peeled fully-peeled sorted \n"+packed.String()), 0o644); err != nil {
				t.Fatal(err)
			}
			w.Git("push", "-q", repo, "refs/heads/*:refs/heads/*")
		}
		for _, v := range everyProtocol {
			out, err := housetest.Git(t, ".", "-c", "protocol.version="+v, "ls-remote", "--heads", repo)
			if got := strings.Count(out, "\n"); err != nil || got != q.n {
				t.Errorf("%s, version %s: %d refs, want %d: %v", q.id, v, got, q.n, err)
			}
			// git wants each ref, also those that are alike, and HEAD.
			clone := housetest.Clone(t, repo, "-c", "protocol.version="+v, "--bare")
			if got := strings.Count(clone.Git("for-each-ref"), "\n") + 1; got != q.n {
				t.Errorf("%s, version %s: a clone has %d refs, want %d", q.id, v, got, q.n)
			}
		}
		next := w.Commit()
		refs[0] = "main=" + next
		c.Must(alice.State(q.id, longAgo()+1, refs...))
		w.Git("push", "-q", repo, "main")
		if got := housetest.Remote(t, repo); got["refs/heads/main"] != next || len(got) != q.n+1 {
			t.Errorf("%s: after the second push there are %d refs, main is %s", q.id, len(got), got["refs/heads/main"])
		}
		// All but one go.
		c.Must(alice.State(q.id, longAgo()+2, refs[0]))
		if got := housetest.Remote(t, repo); len(got) != 2 {
			t.Errorf("%s: %d refs are left, want main and HEAD", q.id, len(got))
		}
	}
}
