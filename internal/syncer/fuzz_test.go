package syncer_test

import (
	"testing"

	"github.com/gitroost/gitroost/internal/syncer"
)

// FuzzPeer: whatever a relay says, and however announcements name one, nothing panics, and what is
// believed is within bounds.
func FuzzPeer(f *testing.F) {
	for _, s := range []string{
		`["EVENT","s",{"id":"x"}]`, `["EOSE","s"]`, `["CLOSED","s","why"]`, `["NOTICE","x"]`, `["NEG-MSG","s","61"]`, `[]`, `{}`, `["EVENT"]`,
		`{"supported_nips":[1,77,"x"],"limitation":{"max_subscriptions":1e300,"max_limit":-1,"max_filters":"a"}}`,
		"wss://relay.example:443/a//b/../", "wss://[::1%25x]:70000", "wss://xn--\xff",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if label, sub, _, ok := syncer.ParseMessage(data); ok && (label == "" || label == "EVENT" && sub == "") {
			t.Errorf("%q is understood as %q %q", data, label, sub)
		}
		subs, filters, limit := syncer.ParseDocument(data)
		if subs < 0 || subs > 200 || filters < 0 || filters > 100 || limit < 0 || limit > 500 {
			t.Errorf("%q is believed: %d, %d, %d", data, subs, filters, limit)
		}
		if u, ok := syncer.PeerURL(string(data), true); ok {
			if again, ok := syncer.PeerURL(u, true); !ok || again != u {
				t.Errorf("%q becomes %q, then %q %v", data, u, again, ok)
			}
		}
	})
}
