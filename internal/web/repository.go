package web

import (
	"cmp"
	"slices"
	"strings"

	"github.com/gitroost/gitroost/grasp"
)

// repository is a Page, prepared for its template.
type repository struct {
	Page
	Path    string // of this page
	HTTP    string // clone URL
	Nostr   string
	Viewer  string // this repository at a web client
	Plain   bool   // no TLS: web clients cannot reach this server
	Agrees  bool   // every signed ref is on disk as signed, and nothing else is
	Groups  []group
	Omitted int // refs that are not shown
}

// A group is the refs of one namespace.
type group struct {
	Title string
	Rows  []row
}

type row struct {
	Ref
	Head   bool
	Mark   string // a sign before the words, so that colour is not needed
	Status string // words
	Class  string // agrees, differs, waits, unsigned
}

func newRepository(cfg Config, p Page) repository {
	r := repository{
		Page:   p,
		Path:   path(p.Addr),
		HTTP:   CloneURL(cfg.PublicURL, p.Addr),
		Nostr:  NostrURL(cfg.PublicURL, p.Addr),
		Viewer: "https://gitworkshop.dev/" + p.Addr.Owner.Npub() + "/" + hint(cfg.PublicURL) + "/" + segment(p.Addr.ID),
		Plain:  strings.HasPrefix(cfg.PublicURL, "http://"),
		Agrees: p.State != nil,
	}
	refs := slices.Clone(p.Refs)
	slices.SortFunc(refs, func(a, b Ref) int {
		if c := cmp.Compare(space(a.Name), space(b.Name)); c != 0 {
			return c
		}
		if a.Name == p.Head || b.Name == p.Head {
			if a.Name == b.Name {
				return 0
			}
			if a.Name == p.Head {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Name, b.Name)
	})
	for _, ref := range refs {
		if ref.Name.IsNostr() {
			continue
		}
		if ref.Signed != ref.Disk {
			r.Agrees = false
		}
	}
	total := max(p.RefCount, len(refs))
	refs = refs[:min(len(refs), MaxRefs)]
	r.Omitted = total - len(refs)
	titles := [...]string{"Branches", "Tags", "Pull requests", "Others"}
	for _, ref := range refs {
		title := titles[space(ref.Name)]
		if n := len(r.Groups); n == 0 || r.Groups[n-1].Title != title {
			r.Groups = append(r.Groups, group{Title: title})
		}
		g := &r.Groups[len(r.Groups)-1]
		g.Rows = append(g.Rows, newRow(ref, p.Head))
	}
	return r
}

func newRow(ref Ref, head grasp.RefName) row {
	out := row{Ref: ref, Head: ref.Name == head}
	switch {
	case ref.Name.IsNostr():
		// A PR ref belongs to its own event, which names the commit; no state does.
		out.Mark, out.Status, out.Class = "✓", "by its event", "agrees"
	case ref.Signed == ref.Disk:
		out.Mark, out.Status, out.Class = "✓", "as signed", "agrees"
	case ref.Disk == "":
		out.Mark, out.Status, out.Class = "…", "waits for a push", "waits"
	case ref.Signed == "":
		out.Mark, out.Status, out.Class = "!", "not signed", "unsigned"
	default:
		out.Mark, out.Status, out.Class = "!", "differs", "differs"
	}
	return out
}

func space(n grasp.RefName) int {
	switch {
	case n.IsHead():
		return 0
	case n.IsTag():
		return 1
	case n.IsNostr():
		return 2
	}
	return 3
}

// A box is a contributor's box, prepared for its template.
type box struct {
	Addr    grasp.Addr
	HTTP    string // its URL, to fetch from and to push to
	Refs    []Ref
	Omitted int // refs that are not shown
}

func newBox(cfg Config, addr grasp.Addr, p Page) box {
	refs := p.Refs[:min(len(p.Refs), MaxRefs)]
	return box{Addr: addr, HTTP: CloneURL(cfg.PublicURL, addr), Refs: refs, Omitted: max(p.RefCount, len(p.Refs)) - len(refs)}
}
