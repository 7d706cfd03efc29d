package acceptance_test

import (
	"encoding/json"
	"testing"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// G01-109, N-026, checks 114, 255: a whitelist refuses strangers, a blacklist beats it, and the
// document says so.
func TestCuration(t *testing.T) {
	t.Parallel()
	alice, bob, mallory := housetest.NewKey(t), housetest.NewKey(t), housetest.NewKey(t)
	h := housetest.Start(t, func(c *config.Config) {
		c.Repos.Allow = []string{alice.Npub, bob.Npub, "open"}
		c.Repos.Deny = []string{bob.Npub + "/secret"}
	})
	c := h.Dial()
	c.Must(h.Announcement(alice, "demo", 0), h.Announcement(bob, "demo", 0), h.Announcement(mallory, "open", 0))
	c.Refused(h.Announcement(mallory, "demo", 0), "restricted:")
	c.Refused(h.Announcement(bob, "secret", 0), "restricted:")
	if resp, _ := h.Get(h.Repo(bob, "secret") + "/info/refs?service=git-upload-pack"); resp.StatusCode != 404 {
		t.Errorf("a refused repository answers %d", resp.StatusCode)
	}

	var doc struct {
		Criteria string  `json:"repo_acceptance_criteria"`
		Curation *string `json:"curation"`
	}
	_, body := h.Get("/", "Accept", "application/nostr+json")
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Criteria == "" || doc.Criteria == "None" || doc.Curation == nil || *doc.Curation == "" {
		t.Errorf("the document does not tell of the list: %s", body)
	}
}
