package web_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/web"
)

// TestStatus: the page and its twin for programs say how each relay does.
func TestStatus(t *testing.T) {
	peers := []web.Peer{
		{URL: "wss://a.example", Mood: "connected", Repositories: 3, Since: noon.Add(-time.Hour), Seen: noon.Add(-time.Second), Compared: noon.Add(-2 * time.Hour)},
		{URL: "wss://b.example", Mood: "waiting", Repositories: 1, Next: noon.Add(time.Minute)},
		{URL: "wss://<script>.example", Mood: "bad", Repositories: 1, Next: noon.Add(time.Hour)},
	}
	for _, c := range []struct {
		name string
		s    source
		want []string
	}{
		{"off", source{}, []string{"fetches nothing from others"}},
		{"alone", source{sync: true}, []string{"names another relay"}},
		{"peers", source{sync: true, peers: peers}, []string{
			"wss://a.example connected since 1 hour ago 3", "compared in full 2 hours ago", "wss://b.example unreachable, tried next 2026-11-21T12:01:00Z 1 not yet",
			"no relay that can be used",
		}},
	} {
		w, _ := newWeb(c.s, base)
		rec := get(w.Status, http.MethodGet, "/status")
		page := text(t, rec.Body.String())
		for _, want := range c.want {
			if rec.Code != http.StatusOK || !strings.Contains(page, want) {
				t.Errorf("%s: %d, want %q in\n%s", c.name, rec.Code, want, page)
			}
		}
		if strings.Contains(rec.Body.String(), "<script>") {
			t.Errorf("%s: an address is not escaped", c.name)
		}
		rec = get(w.Status, http.MethodGet, "/status.json")
		var twin struct {
			Sync  bool
			Peers []struct {
				URL  string
				Next int64 `json:"tried_next"`
			}
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &twin); err != nil || twin.Sync != c.s.sync || len(twin.Peers) != len(c.s.peers) {
			t.Errorf("%s: %v, %s", c.name, err, rec.Body)
		}
		if len(twin.Peers) > 1 && twin.Peers[1].Next != noon.Add(time.Minute).Unix() {
			t.Errorf("%s: %s", c.name, rec.Body)
		}
	}
	w, _ := newWeb(source{err: errors.New("broken")}, base)
	if rec := get(w.Status, http.MethodGet, "/status"); rec.Code != http.StatusInternalServerError {
		t.Errorf("a fault is answered %d", rec.Code)
	}
}
