package gitdir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/durable"
	"github.com/gitroost/gitroost/internal/fault"
)

// Each push leaves one pack, and every look for an object goes through all of them. So when a
// repository has many, or much that no bitmap covers, its packs are combined behind the scenes: one
// repository at a time, at idle priority, never inside a request (hardening G15).
//
// Combining changes no object and no ref. The new pack is placed beside the old ones, which go when
// nobody is reading them. Now and then everything is packed anew: what no ref reaches moves to a
// cruft pack, which remembers since when, and is let go after a grace period.

const (
	// manyObjects without a bitmap are worth one.
	manyObjects = 2000

	// fullEvery is the least time between two full repacks, and cruftGrace how long unreachable
	// objects are kept.
	fullEvery  = 5 * 24 * time.Hour
	cruftGrace = 14 * 24 * time.Hour

	// quietWait is how long old packs wait for their readers. A reader that is left behind finds
	// what it looks for in the new pack; only the objects that are let go need nobody there.
	quietWait = 2 * time.Minute

	maxUpkeepQueue = 10_000
)

// upkeepFile, in the folder of a repository, says what the last upkeep did. It is advice: without
// it the next one does more than it must.
const upkeepFile = "gitroost-upkeep"

// A record is what upkeepFile says.
type record struct {
	full    int64               // when everything was packed anew; seconds
	covered map[string]struct{} // packs whose objects the bitmap knows
}

// upkeeping is the queue of repositories that need upkeep.
type upkeeping struct {
	mu     sync.Mutex
	queue  []grasp.Addr
	queued map[grasp.Addr]struct{}
	wake   chan struct{}
	stats  UpkeepStats
}

// UpkeepStats counts what upkeep did.
type UpkeepStats struct {
	Runs, Failures int64
	PacksRemoved   int64
	Waiting        int // repositories in the queue
}

// UpkeepStats returns the counters.
func (v *Vault) UpkeepStats() UpkeepStats {
	u := &v.upkeep
	u.mu.Lock()
	defer u.mu.Unlock()
	st := u.stats
	st.Waiting = len(u.queue)
	return st
}

// Consider looks whether repo could do with upkeep and sees to it that it comes about. It is done by
// itself after pushes and fetches; it is for repositories that nobody touches.
func (v *Vault) Consider(repo grasp.Addr) error {
	path, err := Path(v.root, repo)
	if err != nil {
		return err
	}
	// It is not one that is remembered: those in use shall not be forgotten for those that are not.
	v.consider(newRepo(v, repo, path))
	return nil
}

// consider queues r if it needs upkeep. It is cheap.
func (v *Vault) consider(r *repo) {
	if v.cfg.UpkeepPacks <= 0 {
		return
	}
	p, err := r.listed()
	if err != nil || len(p.list) == 0 {
		return
	}
	if rec := r.upkeepRecord(); !v.due(p, rec).any() {
		return
	}
	u := &v.upkeep
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := u.queued[r.addr]; ok || len(u.queue) >= maxUpkeepQueue {
		return
	}
	u.queued[r.addr] = struct{}{}
	u.queue = append(u.queue, r.addr)
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// upkeepLoop does upkeep for one repository after another, until Close.
func (v *Vault) upkeepLoop() {
	u := &v.upkeep
	for {
		u.mu.Lock()
		var next grasp.Addr
		found := len(u.queue) > 0
		if found {
			next, u.queue = u.queue[0], u.queue[1:]
			delete(u.queued, next)
		}
		u.mu.Unlock()
		if !found {
			select {
			case <-v.ctx.Done():
				return
			case <-u.wake:
			}
			continue
		}
		if v.ctx.Err() != nil {
			return
		}
		err := v.Upkeep(v.ctx, next)
		if err != nil && v.ctx.Err() == nil {
			v.log.Warn("upkeep failed; the repository is as it was", "repo", next.String(), "err", err)
		}
	}
}

// Upkeep does what is due for repo, at once. It is what the background does.
func (v *Vault) Upkeep(ctx context.Context, repo grasp.Addr) error {
	// One at a time, also against the background. Who waits for a turn does not use the repository.
	select {
	case v.upkeepTurn <- struct{}{}:
		defer func() { <-v.upkeepTurn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	r, err := v.acquire(repo)
	if err != nil {
		return err
	}
	defer v.release(r)
	p, err := r.listed()
	if err != nil {
		return err
	}
	what := v.due(p, r.upkeepRecord())
	if !what.any() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, v.cfg.UpkeepTimeout)
	defer cancel()
	began := v.cfg.Now()
	removed, err := r.keepUp(ctx, what)
	u := &v.upkeep
	u.mu.Lock()
	u.stats.Runs++
	u.stats.PacksRemoved += int64(removed)
	if err != nil {
		u.stats.Failures++
	}
	u.mu.Unlock()
	if err == nil {
		v.log.Debug("upkeep", "repo", repo.String(), "full", what.full, "combined", len(what.roll), "removed", removed, "took", v.cfg.Now().Sub(began))
	}
	return err
}

// A due says what upkeep has to do.
type due struct {
	full  bool    // pack everything that is reachable anew
	roll  []*pack // combine these
	cover bool    // write the bitmap
}

func (d due) any() bool { return d.full || len(d.roll) > 0 || d.cover }

// due decides what upkeep has to do. Packs are combined so that each is at least as large as all
// smaller ones together: then an object is packed anew only as often as the repository doubles.
func (v *Vault) due(p *packs, rec record) due {
	var d due
	list := make([]*pack, 0, len(p.list))
	var open, fresh int64
	for _, k := range p.list {
		if k.cruft {
			continue
		}
		list = append(list, k)
		if _, ok := rec.covered[filepath.Base(k.path)]; !ok {
			open += int64(k.n)
			fresh++
		}
	}
	since := v.cfg.Now().Unix() - rec.full
	d.full = fresh > 0 && rec.full > 0 && since >= int64(fullEvery/time.Second) ||
		p.cruft() && since >= int64(cruftGrace/time.Second)
	d.cover = open >= manyObjects
	if len(list) < v.cfg.UpkeepPacks || d.full {
		return d
	}
	slices.SortStableFunc(list, func(a, b *pack) int { return int(int64(a.n) - int64(b.n)) })
	var sum int64
	split := 0
	for i, k := range list {
		if i > 0 && int64(k.n) < sum {
			split = i + 1
		}
		sum += int64(k.n)
	}
	if split < 2 {
		split = 2 // there are too many, however they are distributed
	}
	d.roll, d.cover = list[:split], true
	return d
}

func (p *packs) cruft() bool {
	return slices.ContainsFunc(p.list, func(k *pack) bool { return k.cruft })
}

// upkeepRecord returns what is known of the last upkeep.
func (r *repo) upkeepRecord() record {
	r.mu.Lock()
	rec := r.upkept
	r.mu.Unlock()
	if rec != nil {
		return *rec
	}
	b, err := os.ReadFile(filepath.Join(r.path, upkeepFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return record{}
	}
	got := parseRecord(string(b))
	if got.full == 0 {
		// The first full one is due some days after the repository was made.
		if fi, err := os.Stat(filepath.Join(r.path, "config")); err == nil {
			got.full = fi.ModTime().Unix()
		}
	}
	r.mu.Lock()
	r.upkept = &got
	r.mu.Unlock()
	return got
}

// parseRecord reads upkeepFile: the time of the last full repack, and the covered packs.
func parseRecord(s string) record {
	rec := record{covered: map[string]struct{}{}}
	for i, line := range strings.Split(s, "\n") {
		switch {
		case i == 0:
			rec.full, _ = strconv.ParseInt(line, 10, 64)
		case line != "":
			rec.covered[line] = struct{}{}
		}
	}
	return rec
}

// remember writes rec.
func (r *repo) remember(rec record) error {
	lines := make([]string, 0, 1+len(rec.covered))
	for name := range rec.covered {
		lines = append(lines, name)
	}
	slices.Sort(lines)
	text := strconv.FormatInt(rec.full, 10) + "\n" + strings.Join(lines, "\n") + "\n"
	r.mu.Lock()
	r.upkept = &rec
	r.mu.Unlock()
	if err := durable.WriteFile(filepath.Join(r.path, upkeepFile), []byte(text), 0o640); err != nil {
		return fault.Wrap("gitdir: upkeep", err)
	}
	return nil
}
