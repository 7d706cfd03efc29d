package acceptance_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/housetest"
)

// document fetches the NIP-11 document as it is.
func document(t *testing.T, h *housetest.House, header ...string) map[string]any {
	t.Helper()
	resp, body := h.Get("/", header...)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%v: status %d", header, resp.StatusCode)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/nostr+json" {
		t.Fatalf("%v: content type %q", header, got)
	}
	if !slices.Contains(resp.Header.Values("Vary"), "Accept") {
		t.Errorf("%v: Vary is %q, want Accept in it", header, resp.Header.Values("Vary"))
	}
	housetest.CORS(t, "NIP-11", resp.Header)
	var doc map[string]any
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatalf("%v: %v in %s", header, err, body)
	}
	return doc
}

// checks 109-114, N-021 … N-026: the document that says what this server is.
func TestRelayDocument(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	// check 109, N-021
	for _, accept := range []string{
		"application/nostr+json", "text/html, application/nostr+json;q=0.9", "APPLICATION/Nostr+JSON", "*/*,application/nostr+json; charset=utf-8",
	} {
		document(t, h, "Accept", accept)
	}
	resp, body := h.Do(http.MethodHead, "/", nil, "Accept", "application/nostr+json")
	if resp.StatusCode != http.StatusOK || body != "" || resp.Header.Get("Content-Type") != "application/nostr+json" {
		t.Errorf("HEAD: %d %q %q", resp.StatusCode, resp.Header.Get("Content-Type"), body)
	}
	if resp, _ := h.Get("/", "Accept", "text/html"); !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		t.Errorf("a browser gets %q", resp.Header.Get("Content-Type"))
	}

	doc := document(t, h, "Accept", "application/nostr+json")
	// checks 110, 113, N-022, N-025
	for _, field := range []string{"name", "description", "software", "version", "repo_acceptance_criteria"} {
		if s, ok := doc[field].(string); !ok || strings.TrimSpace(s) == "" {
			t.Errorf("%s is %v, want a text", field, doc[field])
		}
	}
	if s, _ := doc["software"].(string); !strings.HasPrefix(s, "https://") {
		t.Errorf("software is %q, want a URL", s)
	}
	if s, _ := doc["pubkey"].(string); !grasp.IsHex(s, 64) {
		t.Errorf("pubkey is %v, want 64 hex digits", doc["pubkey"])
	}
	// check 111, N-023
	last := -1.0
	nips := map[float64]bool{}
	list, _ := doc["supported_nips"].([]any)
	for _, v := range list {
		n, ok := v.(float64)
		if !ok || n != float64(int(n)) || n <= last {
			t.Errorf("supported_nips %v is not a list of ascending integers", list)
		}
		last, nips[n] = n, true
	}
	for _, n := range []float64{1, 11, 34} {
		if !nips[n] {
			t.Errorf("supported_nips %v lacks %v", list, n)
		}
	}
	// check 112, N-024
	var grasps []string
	list, _ = doc["supported_grasps"].([]any)
	for _, v := range list {
		s, ok := v.(string)
		if !ok || !regexp.MustCompile(`^GRASP-[0-9]{2}$`).MatchString(s) {
			t.Errorf("supported_grasps holds %v", v)
		}
		grasps = append(grasps, s)
	}
	if !slices.Contains(grasps, "GRASP-01") || !slices.IsSorted(grasps) {
		t.Errorf("supported_grasps is %v", grasps)
	}
	npub := housetest.NewKey(t).Npub
	resp, _ = h.Get("/prs/" + npub + "/tool.git/info/refs?service=git-upload-pack")
	if answers := resp.StatusCode == http.StatusOK; answers != slices.Contains(grasps, "GRASP-06") {
		t.Errorf("/prs/ answers %d, supported_grasps is %v", resp.StatusCode, grasps)
	}
	// check 114, N-026: an open server curates nothing, and does not say that it does.
	if v, there := doc["curation"]; there {
		t.Errorf("curation is %v, want no such key", v)
	}
}

// check 270, N-044: nobody manages this server over the relay's path without being let in.
func TestRelayManagementNeedsLeave(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	resp, _ := h.Do(http.MethodPost, "/", strings.NewReader(`{"method":"supportedmethods","params":[]}`), "Content-Type", "application/nostr+json+rpc")
	if !slices.Contains([]int{401, 404, 415}, resp.StatusCode) {
		t.Errorf("status %d, want 401, 404 or 415", resp.StatusCode)
	}
	housetest.CORS(t, "NIP-86", resp.Header)
}
