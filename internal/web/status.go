package web

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// A Peer is another relay, as far as anybody may know.
type Peer struct {
	URL          string
	Mood         string    // new, connected, waiting, dead or bad
	Repositories int       // served here, whose announcement names it, or whose people write there
	People       int       // who take part in these and write there (GRASP-03)
	Since        time.Time // of the connection; zero if there is none
	Compared     time.Time // when all that it has was last compared; zero: never
	Seen         time.Time // when nothing that it had was missed yet; zero: never
	Next         time.Time // when it is tried next; zero if it is connected
}

// MaxPeers is the number of peers on one page.
const MaxPeers = 500

type status struct {
	Enabled bool
	Peers   []Peer
	Full    bool
}

// Status serves GET and HEAD of /status, and of /status.json: how this server keeps up with others.
func (w *Web) Status(rw http.ResponseWriter, r *http.Request) {
	list, enabled, err := w.src.Peers(r.Context(), MaxPeers)
	if err != nil {
		w.fail(rw, r, fault.Wrap("web: status", err))
		return
	}
	if !strings.HasSuffix(r.URL.Path, ".json") {
		w.render(rw, r, http.StatusOK, "status", "status", status{Enabled: enabled, Peers: list, Full: len(list) == MaxPeers})
		return
	}
	type row struct {
		URL          string `json:"url"`
		Mood         string `json:"mood"`
		Repositories int    `json:"repositories"`
		People       int    `json:"people,omitempty"`
		Since        int64  `json:"connected_since,omitempty"`
		Compared     int64  `json:"compared,omitempty"`
		Seen         int64  `json:"in_step_until,omitempty"`
		Next         int64  `json:"tried_next,omitempty"`
	}
	at := func(t time.Time) int64 {
		if t.IsZero() {
			return 0
		}
		return t.Unix()
	}
	rows := make([]row, len(list))
	for i, p := range list {
		rows[i] = row{p.URL, p.Mood, p.Repositories, p.People, at(p.Since), at(p.Compared), at(p.Seen), at(p.Next)}
	}
	b, err := json.MarshalIndent(struct {
		Version string `json:"version"`
		Sync    bool   `json:"sync"`
		Peers   []row  `json:"peers"`
	}{w.cfg.Version, enabled, rows}, "", "  ")
	if err != nil {
		w.fail(rw, r, fault.Wrap("web: status", err))
		return
	}
	w.send(rw, r, http.StatusOK, "application/json", "no-cache", append(b, '\n'))
}
