package relay_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/relay"
)

// The operator's screen comes before the signature, which costs time (hardening §10), and after the
// size and the rate, which cost none.
func TestScreen(t *testing.T) {
	h := open(t, func(c *relay.Config) {
		c.Screen = func(ev *nostr.Event) error {
			if strings.Contains(ev.Content, "spam") {
				return &grasp.Refusal{Rule: "G01-109", Prefix: grasp.Blocked, Text: "no spam here"}
			}
			return nil
		}
	})
	c := h.dial()
	forged := note(t, 1, "spam")
	forged.Sig = strings.Repeat("0", 128)
	for range 20 { // more than the connection could get wrong
		c.event(forged)
		c.wantOK(forged.ID, false, "blocked: no spam here")
	}
	ham := note(t, 2, "ham")
	c.event(ham)
	c.wantOK(ham.ID, true, "")
	if n := h.relay.Stats().BadSignatures; n != 0 {
		t.Errorf("%d signatures were looked at in vain", n)
	}
}

// Expel closes the connections of one address and no others; SetInfo changes the document at once.
func TestExpelAndSetInfo(t *testing.T) {
	h := open(t, func(c *relay.Config) {
		c.Address = func(r *http.Request) string { return r.Header.Get("From-Address") }
	})
	dial := func(address string) *client {
		t.Helper()
		ws, _, err := websocket.DefaultDialer.Dial(h.url, http.Header{"From-Address": {address}})
		if err != nil {
			t.Fatal(err)
		}
		return h.listen(ws)
	}
	bad, good := dial("2001:db8::1"), dial("192.0.2.1")
	first := note(t, 1, "here already") // from the handshake alone the relay need not know of it yet
	bad.event(first)
	bad.wantOK(first.ID, true, "")
	h.relay.Expel(func(a string) bool { return a == "2001:db8::1" }, "not you")
	if code := bad.ended(); code != websocket.ClosePolicyViolation {
		t.Errorf("the expelled one is closed with %d", code)
	}
	ham := note(t, 2, "ham")
	good.event(ham)
	good.wantOK(ham.ID, true, "")

	h.relay.SetInfo(relay.Info{Name: "another", NIPs: []int{86}, Curation: "only birds"})
	req, err := http.NewRequest(http.MethodGet, h.srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/nostr+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Name, Curation string
		NIPs           []int `json:"supported_nips"`
	}
	if err := json.Unmarshal(b, &doc); err != nil || doc.Name != "another" || doc.Curation != "only birds" || doc.NIPs[len(doc.NIPs)-1] != 86 {
		t.Errorf("the document is %s, %v", b, err)
	}
}
