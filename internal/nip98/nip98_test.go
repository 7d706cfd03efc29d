package nip98_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/nip98"
)

var now = time.Unix(1_800_000_000, 0)

func header(t *testing.T, secret string, change func(*nostr.Event), body string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	ev := nostr.Event{Kind: 27235, CreatedAt: nostr.Timestamp(now.Unix()), Tags: nostr.Tags{
		{"u", "https://git.example.com/jobs/x%2Fy?a=1"}, {"method", "POST"}, {"payload", hex.EncodeToString(sum[:])},
	}}
	if change != nil {
		change(&ev)
	}
	if err := ev.Sign(secret); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	return "Nostr " + base64.StdEncoding.EncodeToString(b)
}

// S4-42: an event is good for one request to this server, once, for a minute.
func TestCheck(t *testing.T) {
	secret := nostr.GeneratePrivateKey()
	pub, _ := nostr.GetPublicKey(secret)
	req := nip98.Request{Method: "POST", Path: "/jobs/x%2Fy", Query: "a=1", Body: []byte("{}")}
	v := nip98.New(func() time.Time { return now }, []string{"git.example.com", "127.0.0.1:7777"})
	good := header(t, secret, nil, "{}")
	if key, err := v.Check(t.Context(), good, req); err != nil || string(key) != pub {
		t.Fatalf("%s, %v", key, err)
	}
	if _, err := v.Check(t.Context(), good, req); err == nil || !strings.Contains(err.Error(), "used already") {
		t.Errorf("the same again: %v", err)
	}
	set := func(i int, value string) func(*nostr.Event) { return func(ev *nostr.Event) { ev.Tags[i][1] = value } }
	for says, change := range map[string]func(*nostr.Event){
		"":                  set(0, "http://GIT.example.com:443/jobs/x%2Fy/?a=1"),
		"not name":          set(0, "https://git.example.com/jobs/x/y?a=1"),
		"and /jobs/x%2Fy?a": set(0, "https://git.example.com/jobs/x%2Fy"),
		"this server":       set(0, "https://evil.example.com/jobs/x%2Fy?a=1"),
		"the u tag":         set(0, "ftp://git.example.com/jobs/x%2Fy?a=1"),
		"method tag":        set(1, "GET"),
		"payload":           set(2, strings.Repeat("0", 64)),
		"SHA-256":           func(ev *nostr.Event) { ev.Tags = ev.Tags[:2] },
		"27235":             func(ev *nostr.Event) { ev.Kind = 1 },
		"created_at":        func(ev *nostr.Event) { ev.CreatedAt -= 61 },
		"60 seconds":        func(ev *nostr.Event) { ev.CreatedAt += 61 },
	} {
		_, err := v.Check(t.Context(), header(t, secret, change, "{}"), req)
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%q: %v", says, err)
		}
	}
	ev, err := nip98.ParseAuthorization(header(t, secret, func(ev *nostr.Event) { ev.CreatedAt++ }, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	ev.Content = "changed"
	b, _ := json.Marshal(ev)
	if _, err := v.Check(t.Context(), "Nostr "+base64.StdEncoding.EncodeToString(b), req); err == nil || !strings.Contains(err.Error(), "wrong") {
		t.Errorf("a forged event: %v", err)
	}
	// Where there is no body its hash need not be named.
	get := nip98.Request{Method: "POST", Path: "/jobs/x%2Fy", Query: "a=1"}
	if _, err := v.Check(t.Context(), header(t, secret, func(ev *nostr.Event) { ev.Tags = ev.Tags[:2]; ev.CreatedAt-- }, ""), get); err != nil {
		t.Errorf("without a body: %v", err)
	}
}
