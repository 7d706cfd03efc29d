package render

import (
	"encoding/json"
	"io"
	"os"

	"github.com/gitroost/gitroost/internal/durable"
)

// A record is what the manifest of a generation says of one file of the site.
type record struct {
	Path  string   `json:"p"`
	Key   string   `json:"k,omitempty"` // "" if it must not be used again
	Base  string   `json:"b,omitempty"` // the key without what links mean
	Links []string `json:"l,omitempty"` // paths of the repository that its Markdown links to
	Size  int64    `json:"s"`
	Gzip  int64    `json:"g,omitempty"` // of the sibling; 0 if there is none
	Dup   bool     `json:"d,omitempty"` // a link to another file of the same site
}

// old is what the last generation has.
type old struct {
	dir   string // its site
	byKey map[string]record
	links map[string][]string // by base
	list  []record
}

const maxManifest = 256 << 20

func readManifest(path, site string) *old {
	o := &old{dir: site, byKey: map[string]record{}, links: map[string][]string{}}
	f, err := os.Open(path)
	if err != nil {
		return o
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxManifest))
	if err != nil || json.Unmarshal(data, &o.list) != nil {
		o.list = nil
		return o // everything is rendered again
	}
	for _, r := range o.list {
		if r.Key == "" {
			continue
		}
		if _, ok := o.byKey[r.Key]; !ok {
			o.byKey[r.Key] = r
		}
		if len(r.Links) > 0 {
			o.links[r.Base] = r.Links
		}
	}
	return o
}

func writeManifest(path string, list []record) error {
	data, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return durable.WriteFile(path, data, 0o640)
}
