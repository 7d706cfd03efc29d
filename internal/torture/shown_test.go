package torture_test

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gitroost/gitroost/grasp"
)

// shown looks at what jobs publish, from the first time to the end of the run and through every kill: what the
// links lead to are always all files of one commit that somebody made.
type shown struct {
	*run
	mu     sync.Mutex
	whole  map[string]bool // the files of every commit, as `git ls-tree` says them
	seen   map[string]bool // where links led to
	looks  int
	ending context.CancelFunc
	all    sync.WaitGroup
}

// watch begins to look at link for as long as end is not called.
func (r *run) watch(links ...string) *shown {
	ctx, cancel := context.WithCancel(context.Background())
	s := &shown{run: r, whole: map[string]bool{}, seen: map[string]bool{}, ending: cancel}
	for _, link := range links {
		s.all.Go(func() {
			tick := time.NewTicker(2 * time.Millisecond)
			defer tick.Stop()
			there, last := false, ""
			for ctx.Err() == nil {
				<-tick.C
				to, err := os.Readlink(link)
				switch {
				case err == nil:
					there = true
				case there || !errors.Is(err, fs.ErrNotExist):
					s.fault("what was published has gone: %v", err)
					return
				default:
					continue
				}
				// It stays for a while after the link was turned, so there is time to look at all of it.
				if files, err := listing(filepath.Join(filepath.Dir(link), to)); err != nil {
					s.fault("%s leads to %s: %v", link, to, err)
				} else if !s.knows(files) {
					s.fault("%s leads to %s, which is no commit:\n%s", link, to, files)
				}
				s.mu.Lock()
				s.looks++
				if to != last {
					s.seen[link+to], last = true, to
				}
				s.mu.Unlock()
			}
		})
	}
	return s
}

func (s *shown) knows(files string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.whole[files]
}

// learn lets s know a commit of p, before it is pushed.
func (s *shown) learn(p *pool, commit grasp.OID) {
	out, err := git(context.Background(), p.dir, nil, "ls-tree", "-r", string(commit))
	if err != nil {
		s.fault("git ls-tree: %v\n%s", err, out)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whole[out] = true
}

// end stops looking and returns how often it was looked, and at how many publications.
func (s *shown) end() (looks, publications int) {
	s.ending()
	s.all.Wait()
	return s.looks, len(s.seen)
}

// listing says the files of a folder as `git ls-tree -r` does.
func listing(dir string) (string, error) {
	var out strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		fmt.Fprintf(&out, "100644 blob %x\t%s\n", sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(content)), content...)), name)
		return err
	})
	return out.String(), err
}
