package hunt

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// A Status is how the hunt for one identifier stands.
type Status struct {
	ID      string    // the identifier of the repositories
	Lacking int       // objects that were missing at the last look; 0 before the first
	Tries   int       // in a row that found nothing
	Since   time.Time // the first of these
	Next    time.Time // when it is tried next
	Trouble string    // what went wrong last, or ""

	Remote string    // the URL that is being fetched from, or ""
	Began  time.Time // and since when
	Bytes  int64     // and how much came
	Line   string    // and what git says of it
}

// Status returns how at most limit hunts stand: those under way first, then by when they are next.
func (h *Hunter) Status(limit int) []Status {
	h.mu.Lock()
	out := make([]Status, 0, len(h.all))
	for _, q := range h.all {
		s := Status{ID: q.ID, Lacking: q.lacking, Tries: q.Tries, Since: q.Since, Next: q.Next, Trouble: q.trouble}
		if q.remote != "" && q.read != nil {
			s.Remote, s.Began, s.Bytes, s.Line = q.remote, q.began, q.read(), q.line
		}
		out = append(out, s)
	}
	h.mu.Unlock()
	slices.SortFunc(out, func(a, b Status) int {
		if (a.Remote == "") != (b.Remote == "") {
			return strings.Compare(b.Remote, a.Remote)
		}
		return cmp.Or(a.Next.Compare(b.Next), strings.Compare(a.ID, b.ID))
	})
	return out[:min(len(out), max(limit, 0))]
}

// Stats are what a Hunter has done so far.
type Stats struct {
	Waiting int   // identifiers that are hunted for
	Running int   // of these, now
	Found   int64 // fetches that brought something
	Failed  int64 // fetches that did not
	Bytes   int64 // that came from others
}

// Stats returns what was done so far.
func (h *Hunter) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Stats{Waiting: len(h.all), Running: h.running, Found: h.found, Failed: h.failed, Bytes: h.bytes}
}
