package steward

import (
	"context"
	"io"
	"sync"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// What a repository holds is recorded when it is settled, in the transaction that records its moves:
// the size on disk, compared with what was recorded last. So the disk is the witness here too, and
// whoever dies between a pack and its record leaves a settlement to be done. What grows while PR refs
// alone move was brought by anybody and does not count for the owner, as far as quota.pr_bytes goes.
//
// A quota is asked about three times (G01-109): before a pack is read, while it is read, and under the
// lock before it becomes part of the repository. From there until it is recorded it is reserved, so
// that pushes to several repositories of one owner cannot share the same room. Copies that bring
// repositories of one identifier into agreement (G01-602) are counted and never refused: what was
// granted to a maintainer is not taken back.

// QuotaRefusals counts the refusals by a quota.
type QuotaRefusals struct {
	Pushes, Repos, Events int64
}

// payer is whose quota something counts for.
type payer struct {
	key grasp.PubKey
	box bool
}

// A tab adds up what was granted and is not recorded yet.
type tab struct {
	mu    sync.Mutex
	owes  map[payer]grasp.Usage
	count QuotaRefusals
}

// reserve adds more to the tab of who, until release is called. It returns what was on it before.
func (t *tab) reserve(who payer, more grasp.Usage) (others grasp.Usage, release func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.owes == nil {
		t.owes = make(map[payer]grasp.Usage)
	}
	others = t.owes[who]
	t.owes[who] = plus(others, more, 1)
	return others, sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.owes[who] = plus(t.owes[who], more, -1); t.owes[who] == (grasp.Usage{}) {
			delete(t.owes, who)
		}
	})
}

// plus adds what is counted for a key: what is counted for one repository is kept by its lock.
func plus(a, b grasp.Usage, sign int) grasp.Usage {
	return grasp.Usage{
		Bytes: a.Bytes + int64(sign)*b.Bytes,
		Repos: a.Repos + sign*b.Repos,
		Refs:  a.Refs + sign*b.Refs,
	}
}

// QuotaRefusals returns how often a quota said no since the start.
func (s *Steward) QuotaRefusals() QuotaRefusals {
	s.tab.mu.Lock()
	defer s.tab.mu.Unlock()
	return s.tab.count
}

// counted counts err if it is a refusal, and returns it.
func (s *Steward) counted(err error, count func(*QuotaRefusals)) error {
	if err != nil {
		s.tab.mu.Lock()
		defer s.tab.mu.Unlock()
		count(&s.tab.count)
	}
	return err
}

func aPush(r *QuotaRefusals) { r.Pushes++ }
func aRepo(r *QuotaRefusals) { r.Repos++ }

// quota returns what bounds the growth of repo.
func (s *Steward) quota(repo grasp.Addr) grasp.Quota {
	if repo.Box {
		return s.knobs.Load().Quotas.OfSubmitter()
	}
	return s.knobs.Load().Quotas.Of(repo.Owner)
}

// growth says what a push that brings n bytes adds, and to what.
func (s *Steward) growth(ctx context.Context, repo grasp.Addr, g grasp.Grant, n int64) (grasp.Usage, error) {
	switch {
	case repo.Box:
		more := grasp.Usage{Bytes: n}
		for _, u := range g.Updates {
			if u.Old.IsZero() && !u.New.IsZero() {
				more.Refs++
			}
		}
		snap, err := s.vault.Refs(ctx, repo)
		if err != nil {
			return more, fault.Wrap("steward: quota", err)
		}
		if snap.Refs.Len() == 0 {
			more.Repos = 1
		}
		return more, nil
	case g.State.ID == "":
		return grasp.Usage{PullBytes: n}, nil
	}
	return grasp.Usage{Bytes: n, RepoBytes: n}, nil
}

// bounds returns more without what q does not bound.
func bounds(q grasp.Quota, more grasp.Usage) grasp.Usage {
	if q.Bytes <= 0 {
		more.Bytes = 0
	}
	if q.Repos <= 0 {
		more.Repos = 0
	}
	if q.RepoBytes <= 0 {
		more.RepoBytes = 0
	}
	if q.PullBytes <= 0 {
		more.PullBytes = 0
	}
	if q.Refs <= 0 {
		more.Refs = 0
	}
	return more
}

// used returns what is kept already, where more adds to it.
func (s *Steward) used(ctx context.Context, repo grasp.Addr, more grasp.Usage) (grasp.Usage, error) {
	var u grasp.Usage
	if more.RepoBytes > 0 || more.PullBytes > 0 {
		w, err := s.weight(ctx, repo)
		if err != nil {
			return u, err
		}
		u.RepoBytes, u.PullBytes = w.Own, w.Pulls
	}
	if more.Bytes > 0 || more.Repos > 0 || more.Refs > 0 {
		kept, err := s.ledger.Kept(ctx, repo.Owner, repo.Box)
		if err != nil {
			return u, fault.Wrap("steward: quota", err)
		}
		u.Bytes, u.Repos, u.Refs = kept.Weight.Own, kept.Repos, kept.Refs
	}
	return u, nil
}

// weight returns what is recorded of repo.
func (s *Steward) weight(ctx context.Context, repo grasp.Addr) (Weight, error) {
	if w, ok := s.scales.get(repo); ok {
		return w, nil
	}
	w, err := s.ledger.Weight(ctx, repo)
	return w, fault.Wrap("steward: weight of "+repo.String(), err)
}

// afford refuses what would be over the quota of repo's owner, or of its submitter. What it permits
// is reserved until release is called, which must not be before it is recorded.
func (s *Steward) afford(ctx context.Context, repo grasp.Addr, more grasp.Usage, count func(*QuotaRefusals)) (release func(), err error) {
	q := s.quota(repo)
	if more = bounds(q, more); more == (grasp.Usage{}) {
		return func() {}, nil
	}
	// First reserve, then look: what is released meanwhile was recorded before.
	others, release := s.tab.reserve(payer{repo.Owner, repo.Box}, more)
	u, err := s.used(ctx, repo, more)
	if err == nil {
		u.Bytes, u.Repos, u.Refs = u.Bytes+others.Bytes, u.Repos+others.Repos, u.Refs+others.Refs
		err = s.counted(q.Check(u, more), count)
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// enterable refuses a push for which there is no room at all, before its pack is read. It reports
// whether the pack needs no room: the objects are all here, or nothing bounds it.
func (s *Steward) enterable(ctx context.Context, repo grasp.Addr, g grasp.Grant) (free bool, err error) {
	var tips []grasp.OID
	for _, u := range g.Updates {
		if !u.New.IsZero() {
			tips = append(tips, u.New)
		}
	}
	more, err := s.growth(ctx, repo, g, grasp.Unknown)
	if err != nil {
		return false, err
	}
	q := s.quota(repo)
	if more = bounds(q, more); len(tips) == 0 || more == (grasp.Usage{}) {
		return true, nil
	}
	have, err := s.vault.Have(ctx, repo, tips)
	if err != nil {
		return false, fault.Wrap("steward: enter", err)
	}
	free = true
	for _, o := range tips {
		free = free && have.Has(o)
	}
	if free {
		more.Bytes, more.RepoBytes, more.PullBytes = 0, 0, 0
	} else if err := s.makeWay(ctx, repo, more); err != nil {
		return false, err
	}
	u, err := s.used(ctx, repo, more)
	if err != nil {
		return false, err
	}
	return free, s.counted(q.Check(u, more), aPush)
}

// makeWay ends the grace of deleted repositories of the owner of repo, the oldest first and never that
// of repo, where they and more are together over the quota: they are kept for their owner's sake, and
// their owner needs the room. No lock may be held.
func (s *Steward) makeWay(ctx context.Context, repo grasp.Addr, more grasp.Usage) error {
	if repo.Box {
		return nil
	}
	q := s.quota(repo)
	if more = bounds(q, more); more.Bytes == 0 && more.Repos == 0 {
		return nil
	}
	more.RepoBytes, more.PullBytes = 0, 0
	for range MaxOldest {
		kept, err := s.ledger.Kept(ctx, repo.Owner, false)
		if err != nil {
			return fault.Wrap("steward: quota", err)
		}
		alone := grasp.Usage{Bytes: kept.Weight.Own, Repos: kept.Repos}
		all := grasp.Usage{Bytes: alone.Bytes + kept.DeletedWeight.Own, Repos: alone.Repos + kept.Deleted}
		if q.Check(all, more) == nil || q.Check(alone, more) != nil {
			return nil
		}
		ended := false
		for _, r := range kept.Oldest {
			if r.Addr != repo {
				if err := s.endGrace(ctx, r); err != nil {
					return err
				}
				ended = true
				break
			}
		}
		if !ended {
			return nil
		}
	}
	return nil
}

// A metered pack ends with the quota's refusal when it is longer than what is left.
type metered struct {
	r    io.Reader
	left int64
	over func() error
	err  error
}

func (m *metered) Read(b []byte) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	n, err := m.r.Read(b[:min(int64(len(b)), m.left+1)])
	if m.left -= int64(n); m.left < 0 {
		m.err = m.over()
		return 0, m.err
	}
	return n, err
}

// meter bounds the pack of a push by what is left of the quota.
func (p *Push) meter(ctx context.Context, pack io.Reader) (*metered, error) {
	s := p.s
	more, err := s.growth(ctx, p.repo, p.grant, grasp.Unknown)
	if err != nil {
		return nil, err
	}
	q := s.quota(p.repo)
	more = bounds(q, more)
	u, err := s.used(ctx, p.repo, more)
	if err != nil {
		return nil, err
	}
	others, release := s.tab.reserve(payer{p.repo.Owner, p.repo.Box}, grasp.Usage{})
	release()
	u.Bytes += others.Bytes
	left, bounded := q.Left(u, more)
	if !bounded {
		return nil, nil
	}
	return &metered{r: pack, left: left, over: func() error {
		big := more
		for _, n := range []*int64{&big.Bytes, &big.RepoBytes, &big.PullBytes} {
			if *n > 0 {
				*n = left + 1
			}
		}
		return s.counted(q.Check(u, big), aPush)
	}}, nil
}
