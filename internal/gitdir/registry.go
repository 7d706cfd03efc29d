package gitdir

import (
	"container/list"
	"sync"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// A registry holds what is remembered of repositories: one repo per address while anybody uses it,
// and after that for as long as there is room.
type registry struct {
	maxRepos, maxRefs int

	mu     sync.Mutex
	byAddr map[grasp.Addr]*repo
	recent list.List // of *repo, the one used last in front
	refs   int       // in all of them
	closed bool
}

func (g *registry) init(maxRepos, maxRefs int) {
	g.maxRepos, g.maxRefs = maxRepos, maxRefs
	g.byAddr = map[grasp.Addr]*repo{}
}

// acquire returns the repo of addr. It is the caller's until release.
func (v *Vault) acquire(addr grasp.Addr) (*repo, error) {
	g := &v.repos
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, fault.E(fault.Closing, "gitdir: open repository", "the server is shutting down")
	}
	if r, ok := g.byAddr[addr]; ok {
		r.users++
		r.used = true
		g.recent.MoveToFront(r.place)
		return r, nil
	}
	path, err := Path(v.root, addr)
	if err != nil {
		return nil, err
	}
	r := newRepo(v, addr, path)
	r.users, r.used = 1, true
	r.place = g.recent.PushFront(r)
	g.byAddr[addr] = r
	return r, nil
}

// release gives r back, and forgets what there is no room for.
func (v *Vault) release(r *repo) {
	g := &v.repos
	g.mu.Lock()
	defer g.mu.Unlock()
	r.users--
	if r.users == 1 && r.alone != nil {
		r.alone()
		r.alone = nil
	}
	n := r.size()
	g.refs += n - r.counted
	r.counted = n
	for e := g.recent.Back(); e != nil && (g.recent.Len() > g.maxRepos || g.refs > g.maxRefs); {
		old := e.Value.(*repo)
		e = e.Prev()
		if old.users > 0 {
			continue
		}
		g.refs -= old.counted
		g.recent.Remove(old.place)
		delete(g.byAddr, old.addr)
	}
}

// Rest lets go of the refs of large repositories that nobody has used since the call before. They are read again
// when they are asked for, and unless somebody else changed them they are the same Gen as before.
func (v *Vault) Rest() {
	g := &v.repos
	g.mu.Lock()
	defer g.mu.Unlock()
	for e := g.recent.Front(); e != nil; e = e.Next() {
		r := e.Value.(*repo)
		if r.users > 0 {
			continue
		}
		if !r.used {
			r.sleep()
			n := r.size()
			g.refs += n - r.counted
			r.counted = n
		}
		r.used = false
	}
}

// whenAlone calls f once nobody but the caller uses r, and lets nobody in meanwhile. f must be quick.
func (g *registry) whenAlone(r *repo, f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.users == 1 {
		f()
		return
	}
	r.alone = f
}

// giveUp takes whenAlone back, or reports that it has happened.
func (g *registry) giveUp(r *repo) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	waits := r.alone != nil
	r.alone = nil
	return waits
}

func (g *registry) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}
