package housetest

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
)

// WithBoxes opens contributors' boxes (GRASP-06).
func WithBoxes(c *config.Config) { c.PRs.Enabled = true }

// Box returns the address of k's box for repositories called id.
func (h *House) Box(k *Key, id string) string {
	return h.URL + "/prs/" + k.Npub + "/" + url.PathEscape(id) + ".git"
}

// Proposal is a pull request whose commit is to be had from clone, and nowhere else. owners are those of
// the repositories called id that it is for.
func (k *Key) Proposal(id, tip, clone string, owners ...*Key) *nostr.Event {
	tags := []nostr.Tag{{"subject", "a change"}, {"c", tip}, {"clone", clone}}
	for _, o := range owners {
		tags = append(tags, nostr.Tag{"a", Coordinate(o, id)}, nostr.Tag{"p", o.Pub})
	}
	return k.Sign(grasp.KindPull, 0, "please pull", tags...)
}

// BoxesOnDisk returns the folders of contributors' boxes, and those around them, sorted.
func (h *House) BoxesOnDisk() []string {
	h.t.Helper()
	var out []string
	for _, pattern := range []string{"prs/*", "prs/*/*"} {
		list, err := filepath.Glob(filepath.Join(h.Data(), pattern))
		if err != nil {
			h.t.Fatal(err)
		}
		for _, p := range list {
			if fi, err := os.Stat(p); err == nil && fi.IsDir() {
				rel, _ := filepath.Rel(h.Data(), p)
				out = append(out, rel)
			}
		}
	}
	slices.Sort(out)
	return out
}
