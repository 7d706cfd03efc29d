package server

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/web"
)

// source tells the pages what is served. Nothing of an event that waits comes out of it.
type source struct{ s *Server }

// Repos returns the served repositories, those that moved last first.
func (p source) Repos(ctx context.Context, limit int) ([]web.Card, error) {
	infos, err := p.s.store.Repos(ctx, limit)
	if err != nil {
		return nil, err
	}
	cards := make([]web.Card, 0, len(infos))
	for _, in := range infos {
		c := web.Card{Addr: in.Addr}
		view, err := p.s.steward.View(ctx, in.Addr.ID)
		if err != nil {
			return nil, err
		}
		if st, ok := view.State(in.Addr.Owner); ok {
			c.Moved = time.Unix(st.At, 0)
		}
		var ev nostr.Event
		if json.Unmarshal(in.Announcement, &ev) == nil {
			c.Name = grasp.FirstValue(&ev, "name")
			c.Description = grasp.FirstValue(&ev, "description")
		}
		cards = append(cards, c)
	}
	slices.SortStableFunc(cards, func(a, b web.Card) int { return b.Moved.Compare(a.Moved) })
	return cards, nil
}

// Repo returns what is known of one repository.
func (p source) Repo(ctx context.Context, repo grasp.Addr) (web.Page, error) {
	page := web.Page{Addr: repo}
	hosting, err := p.s.steward.Find(ctx, repo)
	if err != nil {
		return page, err
	}
	if hosting != grasp.Live && hosting != grasp.Withdrawn {
		return page, fault.E(fault.NotFound, "server: page", "this repository is not hosted here")
	}
	snap, err := p.s.vault.Refs(ctx, repo)
	if err != nil {
		return page, err
	}
	if repo.Box {
		page.Refs, page.RefCount = compare(nil, snap.Refs)
		return page, nil
	}
	view, err := p.s.steward.View(ctx, repo.ID)
	if err != nil {
		return page, err
	}
	page.Head = snap.Head
	a := view.Announcements[repo.Owner]
	page.Withdrawn = hosting == grasp.Withdrawn
	if a.Shelf != grasp.Served {
		page.Waiting = true
		return page, nil
	}
	page.Name = grasp.FirstValue(a.Event, "name")
	page.Description = grasp.FirstValue(a.Event, "description")
	page.Web = values(a.Event, "web")
	page.Clone, page.Relays = a.Clone, a.Relays
	for k := range view.Maintainers(repo.Owner) {
		page.Maintainers = append(page.Maintainers, web.Maintainer{Key: k, Owner: k == repo.Owner})
	}
	slices.SortFunc(page.Maintainers, func(a, b web.Maintainer) int {
		if a.Owner != b.Owner {
			if a.Owner {
				return -1
			}
			return 1
		}
		return strings.Compare(string(a.Key), string(b.Key))
	})
	signed := grasp.Refs{}
	if st, ok := view.State(repo.Owner); ok {
		page.State = &web.State{ID: st.ID, Author: st.Author, At: time.Unix(st.At, 0)}
		signed = st.Refs
	}
	page.Refs, page.RefCount = compare(signed, snap.Refs)
	return page, nil
}

// compare lays what is signed beside what is there, in the order of the names: the first web.MaxRefs of them, and how
// many there are.
func compare(signed grasp.Refs, disk grasp.RefList) ([]web.Ref, int) {
	var absent []grasp.RefName // signed, and not there
	for n := range signed {
		if _, ok := disk.Get(n); !ok {
			absent = append(absent, n)
		}
	}
	slices.Sort(absent)
	count := disk.Len() + len(absent)
	out := make([]web.Ref, 0, min(count, web.MaxRefs))
	missing := func(before func(grasp.RefName) bool) {
		for len(absent) > 0 && before(absent[0]) && len(out) < cap(out) {
			out = append(out, web.Ref{Name: absent[0], Signed: signed[absent[0]]})
			absent = absent[1:]
		}
	}
	for r := range disk.All() {
		missing(func(n grasp.RefName) bool { return n < r.Name })
		if len(out) == cap(out) {
			break
		}
		out = append(out, web.Ref{Name: r.Name, Signed: signed[r.Name], Disk: r.OID})
	}
	missing(func(grasp.RefName) bool { return true })
	return out, count
}

func values(ev *nostr.Event, name string) []string {
	var out []string
	for _, t := range ev.Tags {
		if len(t) > 1 && t[0] == name {
			out = append(out, t[1:]...)
		}
	}
	return out
}
