package server_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/gitdir"
	"github.com/gitroost/gitroost/internal/housetest"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store"
)

// A push of one commit, the POST alone, into a repository of 50,000 accepted proposals.
func BenchmarkPushAmongProposals(b *testing.B) {
	h := housetest.Start(b)
	c := h.Dial()
	alice := housetest.NewKey(b)
	at := time.Now().Unix() - 1_000_000
	w := h.Served(c, alice, "bench", at)
	tip := strings.TrimSpace(w.Git("rev-parse", "HEAD"))
	repo := grasp.Addr{Owner: grasp.PubKey(alice.Pub), ID: "bench"}
	c.Close()
	h.Restart(func(data string) { propose(b, data, repo, tip, 50_000) })
	c = h.Dial()
	n := 0
	for b.Loop() {
		b.StopTimer()
		n++
		oid := w.CommitFile("f"+strconv.Itoa(n), []byte(strconv.Itoa(n)))
		pack := w.Pack(oid, "^"+tip)
		c.Must(alice.State("bench", at+int64(n), "main="+oid))
		b.StartTimer()
		h.PushRaw(h.Repo(alice, "bench"), pack, tip+" "+oid+" refs/heads/main")
		tip = oid
	}
}

// propose writes proposals and their refs into a data folder that nobody uses: fifty thousand people
// would take too long.
func propose(tb testing.TB, data string, repo grasp.Addr, tip string, count int) {
	tb.Helper()
	ctx := context.Background()
	s, err := store.Open(ctx, filepath.Join(data, "gitroost.db"), store.Config{Now: time.Now, Batch: 2000, Queue: 4000})
	if err != nil {
		tb.Fatal(err)
	}
	defer s.Close()
	moved := steward.Moved{Repo: repo}
	var lines []string
	var wg sync.WaitGroup
	busy := make(chan struct{}, 256)
	for i := range count {
		id := fmt.Sprintf("%064x", i+1)
		ev := &nostr.Event{
			ID: id, PubKey: string(repo.Owner), Kind: grasp.KindPull, CreatedAt: 1_700_000_000, Sig: strings.Repeat("0", 128),
			Tags: nostr.Tags{{"c", tip}, {"a", fmt.Sprintf("%d:%s:%s", grasp.KindAnnouncement, repo.Owner, repo.ID)}},
		}
		ref := grasp.PullRef(grasp.EventID(id))
		moved.Changes = append(moved.Changes, grasp.RefChange{Ref: ref, Old: grasp.OID(strings.Repeat("0", 40)), New: grasp.OID(tip)})
		lines = append(lines, tip+" "+string(ref)+"\n")
		busy <- struct{}{}
		wg.Go(func() {
			defer func() { <-busy }()
			if _, err := s.Commit(ctx, steward.Change{Put: &steward.Entry{
				Event: ev, Raw: []byte(ev.String()), Shelf: grasp.Served, Received: time.Unix(1_700_000_000, 0),
			}}); err != nil {
				tb.Error(err)
			}
		})
	}
	wg.Wait()
	if _, err := s.Commit(ctx, steward.Change{Moves: []steward.Moved{moved}}); err != nil {
		tb.Fatal(err)
	}
	dir, err := gitdir.Path(data, repo)
	if err != nil {
		tb.Fatal(err)
	}
	file := filepath.Join(dir, "packed-refs")
	old, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	head := ""
	for line := range strings.Lines(string(old)) {
		if line[0] == '#' {
			head = line
		} else {
			lines = append(lines, line)
		}
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[41:], b[41:]) })
	if err := os.WriteFile(file, []byte(head+strings.Join(lines, "")), 0o644); err != nil {
		tb.Fatal(err)
	}
}
