package syncer_test

import (
	"strings"
	"testing"

	"github.com/gitroost/gitroost/internal/syncer"
)

// TestPeerURL: one relay has one address, and what is no relay has none (G02-03).
func TestPeerURL(t *testing.T) {
	for raw, want := range map[string]string{
		"wss://relay.example":                   "wss://relay.example",
		"wss://relay.example/":                  "wss://relay.example",
		"WSS://Relay.Example.:443/":             "wss://relay.example",
		"wss://relay.example:8443":              "wss://relay.example:8443",
		"wss://relay.example:08443":             "wss://relay.example:8443",
		"wss://relay.example/nostr/":            "wss://relay.example/nostr",
		"wss://bücher.example":                  "wss://xn--bcher-kva.example",
		"ws://relay.example:80":                 "ws://relay.example",
		"ws://relay.example:443":                "ws://relay.example:443",
		"wss://[2001:DB8::1]:443":               "wss://[2001:db8::1]",
		"wss://[::ffff:192.0.2.1]":              "wss://192.0.2.1",
		"wss://192.0.2.1:7000":                  "wss://192.0.2.1:7000",
		"https://relay.example":                 "",
		"relay.example":                         "",
		"wss://":                                "",
		"wss://user@relay.example":              "",
		"wss://relay.example?x=1":               "",
		"wss://relay.example#x":                 "",
		"wss://relay.example:0":                 "",
		"wss://relay.example:99999":             "",
		"wss://re lay.example":                  "",
		"wss://relay.example\\@evil.example":    "",
		"wss://[fe80::1%25eth0]":                "",
		"file:///etc/passwd":                    "",
		"--upload-pack=x":                       "",
		"wss://" + strings.Repeat("a", 600):     "",
		"wss://relay.example/\n":                "",
		"wss:relay.example":                     "",
		"wss://" + strings.Repeat("a.", 130):    "",
		"wss://relay.example/" + "a/../b" + "/": "wss://relay.example/b",
	} {
		got, ok := syncer.PeerURL(raw, true)
		if got != want || ok != (want != "") {
			t.Errorf("%.60q: %q, %v; want %q", raw, got, ok, want)
		}
		if ok {
			if again, _ := syncer.PeerURL(got, true); again != got {
				t.Errorf("%q becomes %q the second time", got, again)
			}
		}
	}
	if _, ok := syncer.PeerURL("ws://relay.example", false); ok {
		t.Error("a relay without TLS is one, though the operator does not want them")
	}
}

// TestWhoIsAPeer: ourselves and our aliases are none, two spellings are one, and nobody is called who
// is not named (check 243).
func TestWhoIsAPeer(t *testing.T) {
	w := newWorld(t)
	alice := newKey()
	there := w.relay("wss://there.example")
	for _, us := range []string{"wss://here.example", "wss://alias.example:8443"} {
		w.relay(us)
	}
	w.serve(alice.announce("demo", "wss://HERE.example/", "wss://here.example:443", "wss://alias.example:8443/", "ws://here.example",
		"wss://there.example", "WSS://There.Example:443/", "ws://there.example", "not a relay"))
	w.run(func(c *syncer.Config) { c.Plain = true })
	w.compared("wss://there.example")
	for range 3 {
		w.beat()
	}
	if n := len(there.dialed()); n != 1 {
		t.Errorf("the peer was called %d times, want once", n)
	}
	for _, us := range []string{"wss://here.example", "wss://alias.example:8443", "ws://there.example"} {
		w.mu.Lock()
		if f := w.relays[us]; f != nil && len(f.dials) > 0 {
			t.Errorf("%s was called", us)
		}
		w.mu.Unlock()
	}
	if list := w.s.Statuses(); len(list) != 1 {
		t.Errorf("peers: %+v, want one", list)
	}
}

// TestManyPeers: if there are too many, those come first that most people name, and one person cannot
// fill the list.
func TestManyPeers(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.serve(newKey().announce("demo", "wss://common.example"))
	}
	mallory := newKey()
	for i := range 20 {
		w.serve(mallory.announce("r"+string(rune('a'+i)), "wss://m"+string(rune('a'+i))+".example", "wss://aa.example"))
	}
	w.relay("wss://common.example")
	w.run(func(c *syncer.Config) { c.MaxPeers = 1 })
	w.compared("wss://common.example")
	if list := w.s.Statuses(); len(list) != 1 {
		t.Errorf("peers: %+v, want one", list)
	}
}
