package acceptance_test

import (
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/housetest"
)

// What was made for one is not made again for another: the third equal clone starts no program, in
// any protocol, whole or shallow; and a push, a tag that moves alone, a deletion and a restart are
// seen at once by whoever clones next.
func TestDoorSharedClones(t *testing.T) {
	t.Parallel()
	for _, version := range everyProtocol {
		t.Run("v"+version, func(t *testing.T) {
			t.Parallel()
			h, calls := watched(t)
			c, alice := h.Dial(), housetest.NewKey(t)
			repo := h.Repo(alice, "demo")
			w := housetest.NewCopy(t)
			w.CommitFile("noise", noise(1, 300_000))
			tip := w.Commit()
			at := longAgo()
			c.Must(h.Announcement(alice, "demo", at), alice.State("demo", at, "main="+tip))
			w.Git("push", "-q", repo, "main")
			calls()

			clone := func(what, tip string, most int, opts ...string) {
				t.Helper()
				copied := housetest.Clone(t, repo, append([]string{"-c", "protocol.version=" + version}, opts...)...)
				if got := copied.Git("rev-parse", "HEAD"); got != tip {
					t.Errorf("%s: HEAD is %s, want %s", what, got, tip)
				}
				if len(opts) == 0 {
					copied.Git("fsck", "--full")
				}
				if got := calls(); len(got) > most {
					t.Errorf("%s: git was started %d times: %q", what, len(got), got)
				}
			}
			for _, opts := range [][]string{nil, {"--depth", "1"}, {"--filter=blob:none", "--no-checkout"}} {
				clone("first", tip, 2, opts...)
				clone("second", tip, 2, opts...)
				clone("third", tip, 0, opts...)
			}

			tip = w.Commit()
			at++
			c.Must(alice.State("demo", at, "main="+tip))
			w.Git("push", "-q", repo, "main")
			calls()
			clone("after a push", tip, 1)

			// A tag of objects that are here already: only the refs change, and a clone brings it along.
			at++
			c.Must(alice.State("demo", at, "main="+tip, "refs/tags/v1="+tip))
			calls()
			copied := housetest.Clone(t, repo, "-c", "protocol.version="+version)
			if got := copied.Git("rev-parse", "v1"); got != tip {
				t.Errorf("the tag is %s", got)
			}
			calls()

			clone("again", tip, 1)
			clone("again", tip, 1)
			h.Restart(nil)
			calls()
			clone("after a restart", tip, 2)

			at++
			h.Dial().Must(alice.Deletion(at, nostr.Tag{"a", "30617:" + string(alice.Pub) + ":demo"}))
			h.Gone(repo)
		})
	}
}
