package manage

import (
	"context"
	"fmt"

	"github.com/gitroost/gitroost/grasp"
)

// MethodQuota tells what is kept here: by the key in a Question, or without one by those who keep most.
const MethodQuota = "gitroost.quota"

// MaxHolders is how many keys one answer names.
const MaxHolders = 1000

// A Holding is what one key keeps here. Sizes are in bytes; limits of 0 are none.
type Holding struct {
	Key        grasp.PubKey `json:"-"`
	Npub       string       `json:"npub"`
	Bytes      int64        `json:"bytes"`
	BytesLimit int64        `json:"bytes_limit"`
	PRBytes    int64        `json:"pr_bytes"` // brought by PR refs, which count for nobody
	Repos      int          `json:"repositories"`
	ReposLimit int          `json:"repositories_limit"`

	Deleted      int   `json:"deleted_repositories"` // in their grace
	DeletedBytes int64 `json:"deleted_bytes"`

	BoxBytes      int64 `json:"submitted_bytes"` // under /prs/
	BoxBytesLimit int64 `json:"submitted_bytes_limit"`
	Boxes         int   `json:"submitted_repositories"`
	BoxesLimit    int   `json:"submitted_repositories_limit"`
	BoxRefs       int   `json:"submitted_refs"`
	BoxRefsLimit  int   `json:"submitted_refs_limit"`
}

// Holders are those who keep most here, the largest first.
type Holders struct {
	Bytes   int64    `json:"bytes"` // of all keys
	PRBytes int64    `json:"pr_bytes"`
	List    []Holder `json:"holders"` // at most MaxHolders
}

// A Holder is one of them.
type Holder struct {
	Npub  string `json:"npub"`
	Repos int    `json:"repositories"` // that hold anything, deleted ones included
	Boxes int    `json:"submitted_repositories"`
	Bytes int64  `json:"bytes"` // boxes included
	Pulls int64  `json:"pr_bytes"`
}

func (h *Handler) quota(ctx context.Context, c call) (any, error) {
	var q Question
	if err := one(c, &q); err != nil {
		return nil, err
	}
	if q.About == "" {
		all, err := h.house.Holders(ctx, MaxHolders)
		if err != nil {
			return nil, err
		}
		return Report{Lines: all.lines()}, nil
	}
	key, err := grasp.ParseNpub(q.About)
	if err != nil {
		var ok bool
		if key, ok = grasp.ParsePubKey(q.About); !ok {
			return nil, mistake("%.80q is no public key of the form npub1…", q.About)
		}
	}
	holding, err := h.house.Holding(ctx, key)
	if err != nil {
		return nil, err
	}
	return Report{Lines: holding.lines()}, nil
}

// lines says it in words.
func (h Holding) lines() []string {
	out := []string{
		h.Npub,
		"  " + counted(h.Repos, h.ReposLimit, "repository", "repositories") + ", " + sized(h.Bytes, h.BytesLimit),
	}
	if h.PRBytes > 0 {
		out = append(out, "  pull requests to them: "+grasp.Bytes(h.PRBytes))
	}
	if h.Deleted > 0 {
		out = append(out, "  deleted and kept for now: "+counted(h.Deleted, 0, "repository", "repositories")+", "+grasp.Bytes(h.DeletedBytes))
	}
	if h.Boxes > 0 {
		out = append(out, "  pull requests of its own under /prs/: "+counted(h.Boxes, h.BoxesLimit, "repository", "repositories")+", "+
			counted(h.BoxRefs, h.BoxRefsLimit, "ref", "refs")+", "+sized(h.BoxBytes, h.BoxBytesLimit))
	}
	return out
}

func (h Holders) lines() []string {
	out := []string{grasp.Bytes(h.Bytes+h.PRBytes) + " in all"}
	if h.PRBytes > 0 {
		out[0] += ", of which pull requests brought " + grasp.Bytes(h.PRBytes)
	}
	for _, one := range h.List {
		line := one.Npub + "  " + grasp.Bytes(one.Bytes)
		if one.Pulls > 0 {
			line += " and " + grasp.Bytes(one.Pulls) + " of pull requests"
		}
		line += "  " + counted(one.Repos, 0, "repository", "repositories")
		if one.Boxes > 0 {
			line += ", " + counted(one.Boxes, 0, "box", "boxes")
		}
		out = append(out, line)
	}
	return out
}

func counted(n, limit int, one, many string) string {
	switch {
	case limit > 0:
		return fmt.Sprintf("%d of %d %s", n, limit, many)
	case n == 1:
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func sized(n, limit int64) string {
	if limit > 0 {
		return grasp.Bytes(n) + " of " + grasp.Bytes(limit)
	}
	return grasp.Bytes(n)
}
