package relay_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/relay"
)

func TestWantsNIP11_N021(t *testing.T) {
	for accept, want := range map[string]bool{
		"application/nostr+json":                  true,
		"text/html, application/nostr+json;q=0.9": true, // check 109
		"Application/Nostr+JSON":                  true,
		"application/json":                        false,
		"*/*":                                     false,
		"":                                        false,
		"text/html,application/nostr+json;charset=utf": true,
	} {
		req := httptest.NewRequest("GET", "/", nil)
		req.Header.Set("Accept", accept)
		if got := relay.WantsNIP11(req); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
	req := httptest.NewRequest("GET", "/", nil)
	req.Header["Accept"] = []string{"text/html", "application/nostr+json"}
	if !relay.WantsNIP11(req) {
		t.Error("a second Accept header is ignored")
	}
}

func document(t *testing.T, cfg relay.Config) (map[string]any, *http.Response) {
	t.Helper()
	var now clock
	cfg.Now = now.now
	r := relay.New(cfg, nil, nil, quietLog)
	w := httptest.NewRecorder()
	r.NIP11(w, httptest.NewRequest("GET", "/", nil))
	res := w.Result()
	body, _ := io.ReadAll(res.Body)
	var doc map[string]any
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return doc, res
}

func TestDocument_N022(t *testing.T) {
	doc, res := document(t, relay.Config{})
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/nostr+json" || res.Header.Get("Vary") != "Accept" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	for _, k := range []string{"name", "description", "software", "version", "repo_acceptance_criteria"} { // checks 110, 113
		if s, _ := doc[k].(string); s == "" {
			t.Errorf("%s is %v", k, doc[k])
		}
	}
	for _, k := range []string{"curation", "pubkey", "contact", "icon", "self"} { // N-026, check 114
		if v, there := doc[k]; there {
			t.Errorf("%s is %v, want it absent", k, v)
		}
	}
	nips := func(doc map[string]any) (out []int) {
		for _, n := range doc["supported_nips"].([]any) {
			out = append(out, int(n.(float64)))
		}
		return out
	}
	if got := nips(doc); !slices.Equal(got, []int{1, 9, 11, 34, 40, 42, 45, 70}) { // check 111
		t.Errorf("supported_nips %v", got)
	}
	limits := doc["limitation"].(map[string]any) // N-027, check 268
	for k, want := range map[string]any{
		"max_message_length": 4194304., "max_subscriptions": 200., "max_limit": 500., "default_limit": 500., "max_subid_length": 250.,
		"auth_required": false, "payment_required": false, "restricted_writes": true, "created_at_upper_limit": 900.,
	} {
		if limits[k] != want {
			t.Errorf("limitation.%s is %v, want %v", k, limits[k], want)
		}
	}

	key := strings.Repeat("ab", 32)
	doc, _ = document(t, relay.Config{
		Search: true, MaxSubscriptions: 7, MaxMessage: 1000, MaxLimit: 900, DefaultLimit: 100,
		Info: relay.Info{
			Name: "N<>", PubKey: "ab", Contact: "c", Icon: "https://i", NIPs: []int{77, 62, 9}, Curation: "only birds", Criteria: "birds",
			Grasps: []string{"GRASP-06", "GRASP-02", "GRASP-01", "grasp-3", "GRASP-006"}, Self: "x",
		},
	})
	if got := nips(doc); !slices.Equal(got, []int{1, 9, 11, 34, 40, 42, 45, 50, 62, 70, 77}) { // N-023
		t.Errorf("supported_nips %v", got)
	}
	var grasps []string
	for _, g := range doc["supported_grasps"].([]any) { // N-024, check 112
		if !regexp.MustCompile(`^GRASP-[0-9]{2}$`).MatchString(g.(string)) {
			t.Errorf("supported_grasps has %v", g)
		}
		grasps = append(grasps, g.(string))
	}
	if !slices.Equal(grasps, []string{"GRASP-01", "GRASP-02", "GRASP-06"}) {
		t.Errorf("supported_grasps %v", grasps)
	}
	if doc["curation"] != "only birds" || doc["repo_acceptance_criteria"] != "birds" || doc["pubkey"] != nil || doc["name"] != "N<>" || doc["contact"] != "c" {
		t.Errorf("%v", doc)
	}
	limits = doc["limitation"].(map[string]any)
	if limits["max_subscriptions"] != 7. || limits["max_message_length"] != 1000. || limits["max_limit"] != 900. || limits["default_limit"] != 100. {
		t.Errorf("%v", limits)
	}
	doc, _ = document(t, relay.Config{Info: relay.Info{PubKey: grasp.PubKey(key), Self: grasp.PubKey(key)}})
	if doc["pubkey"] != key || doc["self"] != key {
		t.Errorf("pubkey %v, self %v", doc["pubkey"], doc["self"])
	}
}

func TestDocumentMethods_N021(t *testing.T) {
	var now clock
	r := relay.New(relay.Config{Now: now.now}, nil, nil, quietLog)
	get, head, post := httptest.NewRecorder(), httptest.NewRecorder(), httptest.NewRecorder()
	r.NIP11(get, httptest.NewRequest("GET", "/", nil))
	r.NIP11(head, httptest.NewRequest("HEAD", "/", nil))
	r.NIP11(post, httptest.NewRequest("POST", "/", nil))
	if head.Code != 200 || head.Body.Len() != 0 || head.Header().Get("Content-Length") != get.Header().Get("Content-Length") || head.Header().Get("Content-Type") != "application/nostr+json" {
		t.Errorf("HEAD: %d, %d bytes, %v", head.Code, head.Body.Len(), head.Header())
	}
	if post.Code != http.StatusMethodNotAllowed || post.Header().Get("Allow") == "" {
		t.Errorf("POST: %d %v", post.Code, post.Header())
	}
}
