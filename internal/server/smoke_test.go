package server_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/housetest"
)

// announce → state → push → clone → refused push, on the whole house (checks 125, 134, 181, 183).
func TestMainJob(t *testing.T) {
	h := housetest.Start(t)
	c := h.Dial()
	alice := housetest.NewKey(t)
	now := time.Now().Unix()
	sub := c.Subscribe(nostr.Filter{Kinds: []int{30617, 30618}})
	c.Stored(sub)

	w := h.Served(c, alice, "hello", now-10)
	first, second := c.Live(sub), c.Live(sub)
	if first.Kind != 30617 || second.Kind != 30618 {
		t.Fatalf("kinds %d, %d were told; want the announcement, then the state", first.Kind, second.Kind)
	}
	clone := housetest.Clone(t, h.Repo(alice, "hello"))
	if got, want := clone.Git("rev-parse", "HEAD"), w.Git("rev-parse", "HEAD"); got != want {
		t.Fatalf("clone has %s, want %s", got, want)
	}
	evil := w.Commit()
	w.Fails("[remote rejected]", "push", h.Repo(alice, "hello"), "main")
	c.Must(alice.State("hello", now-9, "main="+evil))
	w.Git("push", "-q", h.Repo(alice, "hello"), "main")
	if got := housetest.Remote(t, h.Repo(alice, "hello"))["refs/heads/main"]; got != evil {
		t.Fatalf("main is %s, want %s", got, evil)
	}
	h.Restart(nil)
	if got := housetest.Remote(t, h.Repo(alice, "hello"))["refs/heads/main"]; got != evil {
		t.Fatalf("after a restart main is %s, want %s", got, evil)
	}
}

// A push of one commit, with everything that follows from it, on disk.
func BenchmarkPush(b *testing.B) {
	h := housetest.Start(b)
	c := h.Dial()
	alice := housetest.NewKey(b)
	at := time.Now().Unix() - 1_000_000
	w := h.Served(c, alice, "bench", at)
	n := 0
	for b.Loop() {
		b.StopTimer()
		n++
		oid := w.CommitFile("f"+strconv.Itoa(n), []byte(strconv.Itoa(n)))
		b.StartTimer()
		c.Must(alice.State("bench", at+int64(n), "main="+oid))
		w.Git("push", "-q", h.Repo(alice, "bench"), "main")
	}
}
