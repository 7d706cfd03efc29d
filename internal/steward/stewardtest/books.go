package stewardtest

import (
	"context"
	"slices"
	"strings"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

var _ steward.Books = (*Memory)(nil)

// Rules is part of steward.Books.
func (m *Memory) Rules(ctx context.Context) ([]grasp.Rule, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap("memory: rules", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.rules), nil
}

// Decide is part of steward.Books.
func (m *Memory) Decide(ctx context.Context, r grasp.Rule) (grasp.Rule, error) {
	if err := ctx.Err(); err != nil {
		return r, fault.Wrap("memory: decide", err)
	}
	if err := r.Check(); err != nil {
		return r, fault.Errorf(fault.Invalid, "memory: decide", "%v", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rules = slices.DeleteFunc(m.rules, func(o grasp.Rule) bool { return o.Subject == r.Subject })
	m.ruled++
	r.Source, r.Number = grasp.FromTable, m.ruled
	m.rules = append(m.rules, r)
	return r, nil
}

// Withdraw is part of steward.Books.
func (m *Memory) Withdraw(ctx context.Context, s grasp.Subject, a grasp.Action) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, fault.Wrap("memory: withdraw", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := len(m.rules)
	m.rules = slices.DeleteFunc(m.rules, func(o grasp.Rule) bool { return o.Subject == s && o.Action == a })
	return len(m.rules) < before, nil
}

// Concerned is part of steward.Books.
func (m *Memory) Concerned(ctx context.Context, s grasp.Subject, from steward.Mark, limit int) ([]steward.Entry, steward.Mark, bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, from, false, fault.Wrap("memory: concerned", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p := s.Pattern()
	list := entries(m.sorted(func(h *held) bool {
		owned := h.Event.Kind == grasp.KindAnnouncement || h.Event.Kind == grasp.KindState
		at := grasp.Addr{Owner: grasp.PubKey(h.Event.PubKey), ID: grasp.FirstValue(h.Event, "d")}
		switch s.Topic {
		case grasp.OfAuthor:
			return h.Event.PubKey == s.Name
		case grasp.OfEvent:
			return h.Event.ID == s.Name
		case grasp.OfKind:
			return grasp.AboutKind(h.Event.Kind) == s
		case grasp.OfRepo:
			if owned && p.Matches(at) {
				return true
			}
			for _, t := range h.Event.Tags {
				if p.Owner != "" && p.ID != "" && h.Shelf == grasp.Served && len(t) > 1 && (t[0] == "a" || t[0] == "A") && t[1] == (grasp.Addr{Owner: p.Owner, ID: p.ID}).Coordinate() {
					return true
				}
			}
		}
		return false
	}))
	behind := func(e steward.Entry) bool {
		at := int64(e.Event.CreatedAt)
		return from.ID == "" || at < from.At || at == from.At && e.Event.ID > string(from.ID)
	}
	list = slices.DeleteFunc(list, func(e steward.Entry) bool { return !behind(e) })
	slices.SortFunc(list, func(a, b steward.Entry) int {
		if a.Event.CreatedAt != b.Event.CreatedAt {
			return int(b.Event.CreatedAt - a.Event.CreatedAt)
		}
		return strings.Compare(a.Event.ID, b.Event.ID)
	})
	if len(list) <= limit {
		return list, from, false, nil
	}
	last := list[limit-1].Event
	return list[:limit], steward.Mark{At: int64(last.CreatedAt), ID: grasp.EventID(last.ID)}, true, nil
}

// Homes is part of steward.Books.
func (m *Memory) Homes(ctx context.Context, p grasp.Pattern, after grasp.Addr, limit int) ([]steward.Repo, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap("memory: homes", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	compare := func(a, b grasp.Addr) int {
		if c := strings.Compare(a.ID, b.ID); c != 0 {
			return c
		}
		return strings.Compare(string(a.Owner), string(b.Owner))
	}
	var out []steward.Repo
	for a, r := range m.repos {
		if p.Matches(a) && compare(a, after) > 0 {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b steward.Repo) int { return compare(a.Addr, b.Addr) })
	return first(out, limit), nil
}
