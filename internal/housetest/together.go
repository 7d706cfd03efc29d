package housetest

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/server"
)

// Syncing makes a house fetch from others, on this computer and without TLS, and without waiting after
// its start.
func Syncing(c *config.Config) {
	c.Sync.Enabled = true
	c.Sync.Delay = 0
	c.Outward.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	c.Outward.HTTP = true
	c.Outward.HostPerMinute = 100_000 // all houses of a test have one address
	c.Outward.HostConcurrent = 1_000
}

// Together starts n houses that fetch from each other where announcements say so. change may alter
// their configuration.
func Together(t testing.TB, n int, change ...func(*config.Config)) []*House {
	t.Helper()
	out := make([]*House, n)
	for i := range out {
		out[i] = Start(t, append([]func(*config.Config){Syncing}, change...)...)
	}
	return out
}

// AnnouncementAt is an event of kind 30617 that lists all of houses in clone and relays; more are
// further tags.
func AnnouncementAt(k *Key, id string, at int64, houses []*House, more ...nostr.Tag) *nostr.Event {
	clone, relays := nostr.Tag{"clone"}, nostr.Tag{"relays"}
	for _, h := range houses {
		clone, relays = append(clone, h.Repo(k, id)), append(relays, h.RelayURL())
	}
	tags := []nostr.Tag{{"d", id}, {"name", id}, clone, relays}
	return k.Sign(grasp.KindAnnouncement, at, "", append(tags, more...)...)
}

// Arrives waits until the house serves events.
func (h *House) Arrives(events ...*nostr.Event) {
	h.t.Helper()
	c := h.Dial()
	defer c.Close()
	for _, ev := range events {
		sub := c.Subscribe(nostr.Filter{IDs: []string{ev.ID}})
		c.Next("event that another house has", func(l string, m []json.RawMessage) bool {
			return l == "EVENT" && text(m, 1) == sub
		})
		c.Send("CLOSE", sub)
	}
}

// Has reports whether the house serves an event now.
func (h *House) Has(ev *nostr.Event) bool {
	h.t.Helper()
	c := h.Dial()
	defer c.Close()
	return len(c.Query(nostr.Filter{IDs: []string{ev.ID}})) > 0
}

// Peer is how the house does with another one: see server.Peer.
func (h *House) Peer(other *House) server.Peer {
	h.t.Helper()
	return h.srv.Peer(other.RelayURL())
}

// Resume starts a house again that was stopped.
func (h *House) Resume() {
	h.t.Helper()
	if h.stop == nil {
		h.start()
	}
}

// Running reports whether the house was not stopped.
func (h *House) Running() bool { return h.stop != nil }
