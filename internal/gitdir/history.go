package gitdir

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
)

// A Commit is what a commit says of itself. Its texts are somebody's: any bytes.
type Commit struct {
	ID, Tree           grasp.OID
	Author, AuthorMail string
	Committer, Mail    string
	Time               time.Time // of the committer
	Message            string    // at most its first 8 KiB
}

// A History is what a change of a ref brought.
type History struct {
	Commits []Commit // newest first, as many as were asked for
	Total   int      // how many there are, at most MaxHistory
	Forced  bool     // commits are not on the ref any more that were
}

// MaxHistory is how many commits are counted.
const MaxHistory = 10_000

// maxSaid is how much of a commit's message History keeps, in bytes.
const maxSaid = 8 << 10

// History returns the commits that c brought: those that lead to its new one and not to its old one; of
// a ref that is new, not to what the default branch, base, points to. At most limit are returned. It
// takes 10 s at most.
func (v *Vault) History(ctx context.Context, repo grasp.Addr, c grasp.RefChange, base grasp.RefName, limit int) (History, error) {
	const op = "gitdir: history"
	r, err := v.acquire(repo)
	if err != nil {
		return History{}, err
	}
	defer v.release(r)
	ctx, cancel := context.WithTimeout(ctx, changedTimeout)
	defer cancel()
	was := c.Old
	if was.IsZero() && c.Ref != base {
		st, err := r.refs(ctx)
		if err != nil {
			return History{}, err
		}
		was = st.snap.Refs.OID(base)
	}
	var h History
	count := func(most int64, from, to grasp.OID) (int, error) {
		out, err := r.rangeText(ctx, append(run.Words("rev-list", "--count"), run.Int("--max-count", most)), from, to)
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(out))
	}
	if h.Total, err = count(MaxHistory, was, c.New); err != nil {
		return History{}, fault.Wrap(op, err)
	}
	if !c.Old.IsZero() {
		lost, err := count(1, c.New, c.Old)
		if err != nil {
			return History{}, fault.Wrap(op, err)
		}
		h.Forced = lost > 0
	}
	const fields = 8
	args := append(run.Words("log", "-z", "--no-color", "--no-show-signature", "--encoding=UTF-8", "--format=tformat:%H%x00%T%x00%an%x00%ae%x00%cn%x00%ce%x00%ct%x00%B"),
		run.Int("--max-count", int64(limit)))
	out, err := r.rangeText(ctx, args, was, c.New)
	if err != nil {
		return History{}, fault.Wrap(op, err)
	}
	parts := strings.Split(out, "\x00")
	for ; len(parts) >= fields; parts = parts[fields:] {
		seconds, err := strconv.ParseInt(parts[6], 10, 64)
		if err != nil {
			return History{}, fault.E(fault.Internal, op, "git answered something else")
		}
		h.Commits = append(h.Commits, Commit{
			ID: grasp.OID(parts[0]), Tree: grasp.OID(parts[1]), Author: parts[2], AuthorMail: parts[3], Committer: parts[4], Mail: parts[5],
			Time: time.Unix(seconds, 0).UTC(), Message: strings.ToValidUTF8(parts[7][:min(len(parts[7]), maxSaid)], "\uFFFD"),
		})
	}
	return h, nil
}

// rangeText runs git on the commits that lead to one and not to the other, which may be zero.
func (r *repo) rangeText(ctx context.Context, args []run.Arg, from, to grasp.OID) (string, error) {
	if !grasp.IsHex(string(to), 40) || !from.IsZero() && !grasp.IsHex(string(from), 40) {
		return "", fault.E(fault.Invalid, "gitdir: history", "not the id of an object")
	}
	words := string(to)
	if !from.IsZero() {
		words = string(from) + ".." + string(to)
	}
	a, err := run.Operand(words)
	if err != nil {
		return "", err
	}
	return r.v.small(ctx, command{args: append(append(args, a), run.Words("--")...), env: r.objectEnv(nil, nil)})
}
