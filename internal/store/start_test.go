package store_test

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/store"
	"github.com/gitroost/gitroost/internal/store/storetest"
)

// waitingIndex matches how an index of the waiting events alone is read, which are bounded.
var waitingIndex = regexp.MustCompile(`^(SCAN|SEARCH) (events|e) USING (COVERING )?INDEX events_(waiting|source|deadline)\b`)

// A start does not grow with what is stored: of events it looks at those that wait, by an index of these.
func TestStartLooksAtWhatWaits(t *testing.T) {
	s := open(t)
	var batch []*nostr.Event
	for i := range 300 {
		batch = append(batch, storetest.State(i, fmt.Sprint("repo", i), 1))
	}
	fill(t, s, batch)
	events := regexp.MustCompile(`^(SCAN|SEARCH) (events|e)\b`)
	for name, text := range store.AtStart {
		some := false
		for _, line := range s.Plan(t, text) {
			if events.MatchString(line) {
				if some = true; !waitingIndex.MatchString(line) {
					t.Errorf("%s: %s", name, line)
				}
			} else if regexp.MustCompile(`^SCAN s\b`).MatchString(line) {
				t.Errorf("%s: %s", name, line)
			}
		}
		if !some {
			t.Errorf("%s: no events are looked at: %q", name, s.Plan(t, text))
		}
	}
}
