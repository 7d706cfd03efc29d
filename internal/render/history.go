package render

import (
	"cmp"
	"container/heap"
	"context"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

const maxCommit = 1 << 20 // bytes of a commit or tag object that is read

// A queue gives the newest commit first.
type queue []*commit

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q queue) Less(i, j int) bool {
	if c := q[i].committer.when.Compare(q[j].committer.when); c != 0 {
		return c > 0
	}
	return cmp.Compare(q[i].oid, q[j].oid) < 0
}
func (q *queue) Push(x any) { *q = append(*q, x.(*commit)) }
func (q *queue) Pop() any {
	old := *q
	c := old[len(old)-1]
	*q = old[:len(old)-1]
	return c
}

// A history is the commits that have a page.
type history struct {
	byID  map[grasp.OID]*commit
	order []*commit // newest first within what one call of load found
	full  bool      // there were more
}

// load reads the history behind tips, up to most commits in all.
func (h *history) load(ctx context.Context, src Source, most int, tips ...grasp.OID) error {
	var q queue
	add := func(o grasp.OID) error {
		if h.byID[o] != nil {
			return nil
		}
		if len(h.byID) >= most {
			h.full = true
			return nil
		}
		kind, _, data, err := src.Object(ctx, o, maxCommit)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
		if err != nil || kind != "commit" || data == nil {
			return nil // the page of its child says so
		}
		if c, ok := parseCommit(o, data); ok {
			h.byID[o] = c
			heap.Push(&q, c)
		}
		return nil
	}
	for _, t := range tips {
		if err := add(t); err != nil {
			return err
		}
	}
	for q.Len() > 0 {
		c := heap.Pop(&q).(*commit)
		h.order = append(h.order, c)
		for _, p := range c.parents {
			if err := add(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// from returns the commits behind tip, newest first.
func (h *history) from(tip grasp.OID) (out []*commit) {
	var q queue
	seen := map[grasp.OID]bool{}
	add := func(o grasp.OID) {
		if c := h.byID[o]; c != nil && !seen[o] {
			seen[o] = true
			heap.Push(&q, c)
		}
	}
	add(tip)
	for q.Len() > 0 {
		c := heap.Pop(&q).(*commit)
		out = append(out, c)
		for _, p := range c.parents {
			add(p)
		}
	}
	return out
}
