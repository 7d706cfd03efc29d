package acceptance_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/housetest"
	"github.com/gitroost/gitroost/internal/negentropy"
	"github.com/gitroost/gitroost/internal/relay"
)

// A foreignRelay keeps events in memory and knows nothing of repositories. It tells at most page
// events at a time.
type foreignRelay struct {
	*khatru.Relay
	url  string
	page int

	mu     sync.Mutex
	events []*nostr.Event
}

func newForeign(t testing.TB, page int) *foreignRelay {
	f := &foreignRelay{Relay: khatru.NewRelay(), page: page}
	f.Log = log.New(io.Discard, "", 0)
	f.StoreEvent = append(f.StoreEvent, func(_ context.Context, ev *nostr.Event) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.events = append(f.events, ev)
		return nil
	})
	f.QueryEvents = append(f.QueryEvents, func(_ context.Context, filter nostr.Filter) (chan *nostr.Event, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		var found []*nostr.Event
		for _, ev := range f.events {
			if filter.Matches(ev) {
				found = append(found, ev)
			}
		}
		slices.SortFunc(found, func(a, b *nostr.Event) int {
			if a.CreatedAt != b.CreatedAt {
				return int(b.CreatedAt - a.CreatedAt)
			}
			return strings.Compare(a.ID, b.ID)
		})
		most := f.page
		if filter.Limit > 0 {
			most = min(most, filter.Limit)
		}
		out := make(chan *nostr.Event, most)
		for _, ev := range found[:min(most, len(found))] {
			out <- ev
		}
		close(out)
		return out, nil
	})
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	f.url = "ws" + strings.TrimPrefix(srv.URL, "http")
	return f
}

// has stores events that nobody listens for.
func (f *foreignRelay) has(events ...*nostr.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, events...)
}

// TestSyncFromAForeignRelay: a relay that speaks no NIP-77, tells a hundred events at a time and is no
// server of ours is a peer like any other; of 600 events of one second as many come as it can tell, of
// events of different seconds all (checks 237, 272).
func TestSyncFromAForeignRelay(t *testing.T) {
	t.Parallel()
	f := newForeign(t, 100)
	h := housetest.Start(t, housetest.Syncing)
	owner, guest := housetest.NewKey(t), housetest.NewKey(t)
	var same, apart []*nostr.Event
	for i := range 600 {
		same = append(same, issueAt(guest, owner, "demo", fmt.Sprint("same ", i), 1_700_000_500))
	}
	for i := range 250 {
		apart = append(apart, issueAt(guest, owner, "demo", fmt.Sprint("apart ", i), 1_700_001_000+int64(i)))
		apart = append(apart, issueAt(guest, owner, "demo", fmt.Sprint("before ", i), 1_700_000_000+int64(i)))
	}
	answer := answerTo(guest, apart[7], "yes")
	f.has(append(append(same, apart...), answer)...)

	c := h.Dial()
	w := housetest.NewCopy(t)
	tip := w.Commit()
	c.Must(housetest.AnnouncementAt(owner, "demo", 0, []*housetest.House{h}, nostr.Tag{"relays", h.RelayURL(), f.url}), owner.State("demo", 0, "main="+tip))
	w.Git("push", "-q", h.Repo(owner, "demo"), "main")
	h.Arrives(answer)
	h.Arrives(apart...)
	n := c.Count(nostr.Filter{Kinds: []int{grasp.KindIssue}})
	if n < int64(len(apart))+100 {
		t.Errorf("%d issues came, want %d and at least the 100 of one second that can be told", n, len(apart))
	}
	// What happens there later comes too.
	pool := nostr.NewSimplePool(context.Background())
	defer pool.Close("")
	late := issueAt(guest, owner, "demo", "late", 0)
	for res := range pool.PublishMany(context.Background(), []string{f.url}, *late) {
		if res.Error != nil {
			t.Fatal(res.Error)
		}
	}
	h.Arrives(late)
}

// BenchmarkSyncCopy has an empty server learn one announcement, of a repository of 10,000 events at a peer,
// without git data to speak of and with 300 MB; and beside it does what a plain client does to have the same:
// clone, compare, and fetch and verify what is missing. x is how much longer the first takes.
func BenchmarkSyncCopy(b *testing.B) {
	b.Run("events", func(b *testing.B) { syncCopy(b, 0) })
	b.Run("300MB", func(b *testing.B) { syncCopy(b, 30) })
}

// syncCopy does it with so many files of 10 MB that cannot be made smaller.
func syncCopy(b *testing.B, files int) {
	const many = 10_000
	for b.Loop() {
		both := housetest.Together(b, 2)
		a, h := both[0], both[1]
		owner, guest := housetest.NewKey(b), housetest.NewKey(b)
		ca := a.Dial()
		w := housetest.NewCopy(b)
		tip := w.Commit()
		noise := rand.NewChaCha8([32]byte{})
		for i := range files {
			content := make([]byte, 10_000_000)
			noise.Read(content)
			tip = w.CommitFile(fmt.Sprint("big", i), content)
		}
		announcement, state := housetest.AnnouncementAt(owner, "demo", 0, both), owner.State("demo", 0, "main="+tip)
		ca.Must(announcement, state)
		w.Git("push", "-q", a.Repo(owner, "demo"), "main")
		coord := housetest.Coordinate(owner, "demo")
		for i := range many {
			ca.Send("EVENT", guest.Sign(grasp.KindIssue, 1_700_000_000+int64(i), fmt.Sprint("issue ", i), nostr.Tag{"a", coord}))
			if i%100 == 99 {
				for range 100 {
					ca.Message("OK")
				}
			}
		}
		plain := time.Now()
		w.Git("clone", "-q", "--bare", a.Repo(owner, "demo"), filepath.Join(b.TempDir(), "clone.git"))
		n := plainCopy(b, a, coord)
		took := time.Since(plain)
		if n != many {
			b.Fatalf("a plain client has %d events", n)
		}
		start := time.Now()
		c := h.Dial()
		c.Must(announcement)
		for c.Count(nostr.Filter{Kinds: []int{grasp.KindIssue}}) < many || c.Count(nostr.Filter{Kinds: []int{grasp.KindState}}) == 0 {
			if time.Since(start) > 5*time.Minute {
				b.Fatalf("%d events came, %d states", c.Count(nostr.Filter{Kinds: []int{grasp.KindIssue}}), c.Count(nostr.Filter{Kinds: []int{grasp.KindState}}))
			}
			time.Sleep(20 * time.Millisecond)
		}
		copied := time.Since(start)
		if got := housetest.Remote(b, h.Repo(owner, "demo"))["refs/heads/main"]; got != tip {
			b.Fatalf("main is %s, want %s", got, tip)
		}
		b.ReportMetric(copied.Seconds(), "s/copy")
		b.ReportMetric(took.Seconds(), "s/plain")
		b.ReportMetric(copied.Seconds()/took.Seconds(), "x")
	}
}

// plainCopy is what a client does that has none of the events about coord: it compares, fetches by id
// and verifies. It keeps nothing.
func plainCopy(b *testing.B, h *housetest.House, coord string) (n int) {
	b.Helper()
	c := h.Dial()
	defer c.Close()
	filter := nostr.Filter{Tags: nostr.TagMap{"a": {coord}}}
	cl := negentropy.NewClient(negentropy.NewSet(nil), negentropy.Limits{})
	var need []string
	c.Send("NEG-OPEN", "n", filter, hex.EncodeToString(cl.Start()))
	for {
		msg, err := hex.DecodeString(c.Message("NEG-MSG")[2])
		if err != nil {
			b.Fatal(err)
		}
		step, err := cl.Next(msg)
		if err != nil {
			b.Fatal(err)
		}
		for _, id := range step.Need {
			need = append(need, hex.EncodeToString(id[:]))
		}
		if step.Next == nil {
			break
		}
		c.Send("NEG-MSG", "n", hex.EncodeToString(step.Next))
	}
	for ids := range slices.Chunk(need, 100) {
		for _, ev := range c.Query(nostr.Filter{IDs: ids}) {
			if relay.Verify(ev) != nil {
				b.Fatal("a wrong signature")
			}
			n++
		}
	}
	return n
}
