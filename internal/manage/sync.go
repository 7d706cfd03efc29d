package manage

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
)

// MethodSync tells how it stands with other servers: in all, or about the repository of a Question,
// npub1…/identifier (G02-01, G02-02).
const MethodSync = "gitroost.sync"

// Others knows how it stands with other servers.
type Others interface {
	// Sync tells it; of one repository if repo is not zero.
	Sync(ctx context.Context, repo grasp.Addr) (Sync, error)
}

// MaxSyncRows bounds each list of a Sync.
const MaxSyncRows = 500

// A Sync is how it stands with other servers. Times are seconds since 1970, and 0 is never.
type Sync struct {
	Now     int64      `json:"now"`
	Enabled bool       `json:"enabled"`
	Running bool       `json:"running"` // false: what was written last is told, by a command without a server
	Peers   []SyncPeer `json:"peers"`   // at most MaxSyncRows
	All     int        `json:"peers_in_all"`
	Hunts   []SyncHunt `json:"missing"` // at most MaxSyncRows
	Hunted  int        `json:"missing_in_all"`
	Repo    *SyncRepo  `json:"repository,omitempty"`
}

// A SyncPeer is another relay.
type SyncPeer struct {
	URL           string `json:"url"`
	Mood          string `json:"mood"` // new, connected, waiting, dead or bad
	Doing         string `json:"doing,omitempty"`
	Repositories  int    `json:"repositories"`
	People        int    `json:"people,omitempty"`              // who take part here, and write there
	About         int    `json:"people_repositories,omitempty"` // what they take part in
	Subscriptions int    `json:"subscriptions"`
	Negentropy    bool   `json:"negentropy"`
	Connected     int64  `json:"connected_since,omitempty"`
	Seen          int64  `json:"in_step_until,omitempty"` // when nothing that it had was missed yet
	Compared      int64  `json:"compared,omitempty"`
	Again         int64  `json:"compared_next,omitempty"`
	Next          int64  `json:"tried_next,omitempty"`
	Fails         int    `json:"failures"`
	Trouble       string `json:"trouble,omitempty"`
	Last          int64  `json:"last_new_event,omitempty"`
	Events        int64  `json:"events"` // since the start
	New           int64  `json:"events_new"`
	Refused       int64  `json:"events_refused"`
	Faults        int64  `json:"faults"`
}

// A SyncHunt is git data that is looked for elsewhere, for all repositories of an identifier.
type SyncHunt struct {
	Identifier string `json:"identifier"`
	Lacking    int    `json:"objects"` // 0: it was not looked yet
	Tries      int    `json:"tries"`
	Since      int64  `json:"since,omitempty"`
	Next       int64  `json:"tried_next,omitempty"`
	Trouble    string `json:"trouble,omitempty"`
	Remote     string `json:"remote,omitempty"` // that is being fetched from
	Bytes      int64  `json:"bytes,omitempty"`
}

// A SyncRepo is one repository, and what it waits for.
type SyncRepo struct {
	Npub       string     `json:"npub"`
	Identifier string     `json:"identifier"`
	Announced  string     `json:"announced"` // served, waiting, or no
	Waiting    []SyncWait `json:"waiting"`   // at most MaxSyncRows
	Lacking    []string   `json:"objects"`   // at most MaxSyncRows
	Places     []string   `json:"places"`    // where they may be

	Archived bool       `json:"archived,omitempty"`
	Kept     int        `json:"kept_tips,omitempty"` // older tips that are kept (G05-06)
	History  []SyncKept `json:"history,omitempty"`   // the newest of these, at most MaxSyncRows
}

// A SyncKept is an older tip of an archived repository.
type SyncKept struct {
	At  int64  `json:"at"` // when it went
	Ref string `json:"ref"`
	OID string `json:"object"`
}

// A SyncWait is an event that waits for its git data.
type SyncWait struct {
	Event string `json:"event"`
	Kind  int    `json:"kind"`
	Since int64  `json:"since"`
	Until int64  `json:"until"`
	From  string `json:"from,omitempty"` // the peer that brought it; "" if its author did
}

func (h *Handler) sync(ctx context.Context, c call) (any, error) {
	var q Question
	if err := one(c, &q); err != nil {
		return nil, err
	}
	if h.cfg.Others == nil {
		return nil, mistake("this server does not know of others")
	}
	var repo grasp.Addr
	if q.About != "" {
		p, err := grasp.ParsePattern(q.About)
		if err != nil || p.Owner == "" || p.ID == "" {
			return nil, mistake("%.80q is no repository; name one as npub1…/identifier", q.About)
		}
		repo = grasp.Addr{Owner: p.Owner, ID: p.ID}
	}
	s, err := h.cfg.Others.Sync(ctx, repo)
	if err != nil {
		return nil, err
	}
	return syncReport{Report{Lines: s.lines()}, s}, nil
}

// A syncReport is both for people and for programs.
type syncReport struct {
	Report
	Sync Sync `json:"sync"`
}

// lines says it in words.
func (s Sync) lines() []string {
	var out []string
	switch {
	case !s.Enabled:
		out = append(out, "this server fetches nothing from others: sync.enabled is false")
	case !s.Running:
		out = append(out, "no server runs on this folder; this is what was written last")
	}
	if s.Repo != nil {
		out = append(out, s.Repo.lines(s.Now)...)
	}
	switch {
	case s.All == 0 && s.Repo != nil:
		out = append(out, "no other relay is named by its announcement")
	case s.All == 0:
		out = append(out, "no announcement names another relay")
	case s.Repo == nil:
		out = append(out, fmt.Sprintf("%d %s", s.All, plural(s.All, "peer")))
	}
	for _, p := range s.Peers {
		out = append(out, p.line(s.Now))
	}
	if n := s.All - len(s.Peers); n > 0 {
		out = append(out, fmt.Sprintf("and %d more", n))
	}
	if s.Repo == nil && s.Hunted == 0 && s.Running && s.Enabled {
		out = append(out, "no git data is missing")
	}
	for _, h := range s.Hunts {
		if h.Lacking == 0 && s.Repo != nil && len(s.Repo.Lacking)+len(s.Repo.Waiting) == 0 {
			continue // it came meanwhile, and nobody has looked yet
		}
		out = append(out, h.line(s.Now))
	}
	if n := s.Hunted - len(s.Hunts); n > 0 && s.Repo == nil {
		out = append(out, fmt.Sprintf("git data of %d more identifiers is missing", n))
	}
	return out
}

func (p SyncPeer) line(now int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s", p.URL, p.Mood)
	if p.Connected > 0 {
		fmt.Fprintf(&b, " for %s", span(now-p.Connected))
	}
	if p.Doing != "" {
		fmt.Fprintf(&b, ", %s", p.Doing)
	}
	if p.Next > 0 && p.Connected == 0 {
		if p.Next > now {
			fmt.Fprintf(&b, ", tried next in %s", span(p.Next-now))
		} else {
			b.WriteString(", tried next at once")
		}
	}
	if p.People == 0 || p.Repositories > 0 {
		fmt.Fprintf(&b, "; %d %s", p.Repositories, plural(p.Repositories, "repository"))
	}
	if p.People > 0 {
		fmt.Fprintf(&b, "; %d %s of %d %s write there", p.People, plural(p.People, "person"), p.About, plural(p.About, "repository"))
	}
	if p.Connected > 0 {
		fmt.Fprintf(&b, ", %d %s", p.Subscriptions, plural(p.Subscriptions, "subscription"))
	}
	if p.Compared > 0 {
		fmt.Fprintf(&b, "; compared %s ago", span(now-p.Compared))
	} else {
		b.WriteString("; not compared yet")
	}
	if p.Events > 0 {
		fmt.Fprintf(&b, "; %d of %d events new, %d refused", p.New, p.Events, p.Refused)
	}
	if p.Fails > 0 && p.Connected == 0 {
		fmt.Fprintf(&b, "; failed %d %s in a row", p.Fails, plural(p.Fails, "time"))
	}
	if p.Trouble != "" {
		fmt.Fprintf(&b, ": %s", p.Trouble)
	}
	return b.String()
}

func (h SyncHunt) line(now int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "git data of %s  ", h.Identifier)
	if h.Lacking > 0 {
		fmt.Fprintf(&b, "%d %s missing", h.Lacking, plural(h.Lacking, "object"))
	} else {
		b.WriteString("may be missing")
	}
	switch {
	case h.Remote != "":
		fmt.Fprintf(&b, "; fetching from %s, %s so far", h.Remote, bytes(h.Bytes))
	case h.Next > now:
		fmt.Fprintf(&b, "; tried next in %s", span(h.Next-now))
	default:
		b.WriteString("; tried next at once")
	}
	if h.Tries > 0 {
		fmt.Fprintf(&b, "; %d %s in vain", h.Tries, plural(h.Tries, "try"))
	}
	if h.Trouble != "" {
		fmt.Fprintf(&b, ": %s", h.Trouble)
	}
	return b.String()
}

func (r SyncRepo) lines(now int64) []string {
	out := []string{r.Npub + "/" + r.Identifier}
	switch r.Announced {
	case "served":
		out = append(out, "it is served")
	case "waiting":
		out = append(out, "its announcement waits: it is served once git data for a state is here")
	default:
		out = append(out, "nobody has announced it here")
	}
	for _, w := range r.Waiting {
		from := "its author"
		if w.From != "" {
			from = w.From
		}
		what := map[int]string{
			grasp.KindAnnouncement: "announcement", grasp.KindState: "state", grasp.KindPull: "pull request", grasp.KindPullUpdate: "update of a pull request",
		}[w.Kind]
		out = append(out, fmt.Sprintf("%s %.7s waits for git data since %s, and for %s more; it came from %s", what, w.Event, span(now-w.Since), span(w.Until-now), from))
	}
	if n := len(r.Lacking); n > 0 {
		out = append(out, fmt.Sprintf("missing: %s", strings.Join(r.Lacking[:min(n, 5)], ", ")))
		if n > 5 {
			out[len(out)-1] += fmt.Sprintf(" and %d more", n-5)
		}
		if len(r.Places) == 0 {
			out = append(out, "no other server is named where that may be; its maintainer can push it")
		} else {
			out = append(out, "it is looked for at "+strings.Join(r.Places, ", "))
		}
	}
	if r.Archived && r.Kept == 0 {
		out = append(out, "it is an archive; no older tips are kept")
	}
	if r.Kept > 0 {
		out = append(out, fmt.Sprintf("%d older %s kept; git fetch <its URL> <id> brings one:", r.Kept, map[bool]string{true: "tip is", false: "tips are"}[r.Kept == 1]))
		for _, k := range r.History[:min(len(r.History), 20)] {
			out = append(out, fmt.Sprintf("  %s  %s, until %s ago", k.OID, k.Ref, span(now-k.At)))
		}
		if n := r.Kept - min(len(r.History), 20); n > 0 {
			out = append(out, fmt.Sprintf("  and %d more", n))
		}
	}
	return out
}

// span says seconds for people.
func span(seconds int64) string {
	d := time.Duration(max(seconds, 0)) * time.Second
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", seconds)
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d/time.Minute))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d/time.Hour))
	}
	return fmt.Sprintf("%dd", int(d/(24*time.Hour)))
}
