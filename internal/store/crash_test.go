package store_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store"
	"github.com/gitroost/gitroost/internal/store/storetest"
)

// victimEnv names the database that the victim writes to.
const victimEnv = "GITROOST_STORE_TEST_VICTIM"

func TestMain(m *testing.M) {
	if path := os.Getenv(victimEnv); path != "" {
		beVictim(path)
	}
	os.Exit(m.Run())
}

// beVictim commits from several goroutines until it is killed, and says what was acknowledged.
func beVictim(path string) {
	s, err := store.Open(context.Background(), path, store.Config{Now: time.Now})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	said := make(chan string)
	base := time.Now().UnixNano()
	for g := range 4 {
		go func() {
			for i := int64(g); ; i += 4 {
				shelf := grasp.Served
				if i%3 == 0 {
					shelf = grasp.Waiting
				}
				ev := storetest.Event(g, 1621, base+i, "an event that must not be lost")
				_, err := s.Commit(context.Background(), steward.Change{
					Put:       storetest.Entry(ev, shelf),
					Unsettled: ev.ID,
				})
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				said <- ev.ID
			}
		}()
	}
	for id := range said {
		fmt.Println(id) // unbuffered
	}
}

// TestKill holds the store to its first promise: what was acknowledged survives kill -9, and a
// change is there whole or not at all (hardening G1, G5).
func TestKill(t *testing.T) {
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	path := filepath.Join(t.TempDir(), "ledger.db")
	var acknowledged []string
	for round := range rounds {
		acknowledged = append(acknowledged, killed(t, path, 40+60*round)...)
		s, err := store.Open(context.Background(), path, store.Config{Now: time.Now})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		list, err := s.Unsettled(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		marked := map[string]bool{}
		for _, id := range list {
			marked[id] = true
			if _, err := s.Event(context.Background(), grasp.EventID(id)); err != nil {
				t.Errorf("round %d: half a change: %v", round, err)
			}
		}
		for _, id := range acknowledged {
			if !marked[id] {
				t.Errorf("round %d: event %s was acknowledged and is lost", round, id)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d acknowledged events survived %d kills", len(acknowledged), rounds)
}

// killed starts a victim, lets it acknowledge n events, kills it, and returns what it
// acknowledged.
func killed(t *testing.T, path string, n int) []string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := os.StartProcess(os.Args[0], []string{os.Args[0]}, &os.ProcAttr{
		Env:   append(os.Environ(), victimEnv+"="+path),
		Files: []*os.File{nil, w, os.Stderr},
	})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if id := lines.Text(); len(id) == 64 { // the last one may be cut off
			out = append(out, id)
		}
		if len(out) == n {
			if err := p.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	state, err := p.Wait()
	if err != nil || len(out) < n {
		t.Fatalf("the victim ended by itself after %d events: %v, %v", len(out), state, err)
	}
	return out
}
