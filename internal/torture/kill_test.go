package torture_test

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// teamsAtWork is how many identifiers are worked on at a time.
const teamsAtWork = 4

// A scene is a run with its people.
type scene struct {
	*run
	crowd  *crowd
	teams  []*team // at work
	retire []*team // at rest
	made   int
	logged int64 // how much of the server's log was read
	pushed chan struct{}
}

func (r *run) newScene() *scene {
	s := &scene{run: r, crowd: r.newCrowd(), pushed: make(chan struct{}, 1)}
	for range teamsAtWork {
		s.hire()
	}
	return s
}

func (s *scene) hire() {
	s.teams = append(s.teams, s.newTeam(s.made))
	s.made++
}

// renew replaces the teams whose time is over. A team with one owner deletes its repository first,
// and stays until that is confirmed.
func (s *scene) renew() {
	for i, t := range s.teams {
		t.rounds--
		switch {
		case t.rounds > 0 || t.leaving && t.deleted != yes:
			continue
		case !t.leaving && len(t.owners) == 1 && t.alts[0].state != "":
			t.leaving = true
			t.mu.Lock()
			t.open = false // nobody else comes here any more
			t.mu.Unlock()
			continue
		}
		s.retire = append(s.retire, t)
		s.teams[i] = s.newTeam(s.made)
		s.made++
	}
}

// load lets everybody work until the server is gone. It returns when each team has brought a new
// state and its push to an end, or cannot any more; wait returns when all have stopped.
func (s *scene) load(round int) (wait func()) {
	var all, first sync.WaitGroup
	teams := append([]*team{}, s.teams...)
	for _, t := range teams {
		first.Add(1)
		all.Go(func() {
			v := s.visitor(fmt.Sprint("team ", t.id, round))
			v.pushing = func() {
				select {
				case s.pushed <- struct{}{}:
				default:
				}
			}
			defer v.close()
			if t.leaving {
				first.Done()
				t.remove(v)
				return
			}
			ok := t.act(v, true)
			first.Done()
			for ok && !s.srv.dying.Load() {
				ok = t.act(v, false)
			}
		})
	}
	work := func(name string, acts ...func(*visitor, *team) bool) {
		all.Go(func() {
			v := s.visitor(fmt.Sprint(name, round))
			defer v.close()
			for !s.srv.dying.Load() {
				t := somewhere(v, teams)
				if t == nil {
					pause(5 * time.Millisecond) // until somebody has pushed
					continue
				}
				if !acts[v.rnd.IntN(len(acts))](v, t) {
					return
				}
			}
		})
	}
	work("pulls", s.crowd.requestPull)
	work("talk", s.crowd.talk)
	work("others", s.crowd.intrude, s.crowd.clone, s.crowd.intrude)
	done := make(chan struct{})
	go func() {
		first.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(2 * patience):
		s.fault("stuck: not every repository accepts a new state and its push")
	}
	return all.Wait
}

// violence waits for the moment of a kill: any, or one at which a push is under way.
func (s *scene) violence(v *visitor) {
	switch v.rnd.IntN(10) {
	case 0, 1, 2, 3:
		pause(time.Duration(v.rnd.Int64N(int64(400 * time.Millisecond))))
	case 4:
		pause(time.Duration(v.rnd.Int64N(int64(1200 * time.Millisecond))))
	default:
		select {
		case <-s.pushed:
		default:
		}
		select {
		case <-s.pushed:
		case <-time.After(time.Second):
		}
		pause(20*time.Millisecond + time.Duration(v.rnd.Int64N(int64(130*time.Millisecond))))
	}
}

// strike kills the server: with all its children, alone, or so that its children sleep and wake up
// in the middle of the next server's work.
func (s *scene) strike(v *visitor) (wake func()) {
	switch v.rnd.IntN(4) {
	case 0:
		s.srv.kill(true)
	case 1:
		s.srv.kill(false)
	default:
		wake, n := s.srv.orphan()
		s.count(func(st *stats) { st.orphans += n })
		return wake
	}
	return func() {}
}

// audit reads what the server wrote into its log since the last time.
func (s *scene) audit() {
	lines, end := s.srv.errorsSince(s.logged)
	s.logged = end
	for _, l := range lines {
		s.fault("the server's log: %s", l)
	}
}

func (s *scene) everybody() []*team { return append(append([]*team{}, s.teams...), s.retire...) }

func (s *scene) report(what string, n int) {
	st := &s.stats
	s.t.Logf("%d %s: %d events and %d pushes confirmed, %d operations cut off (%d of them had happened), %d repositories, %d pushes refused, %d clones, %d looks into the ledger, %d processes that outlived it, recovery at most %v",
		n, what, st.events, st.pushes, st.cutOff, st.cutDone, st.repositories, st.refused, st.clones, st.stored, st.orphans, st.slowestRecovery.Round(time.Millisecond))
}

// The server is killed at random moments, alone or with its children, and now and then while it
// starts; children that are left behind go on when its successor already works. Nothing that it had confirmed is lost, nothing half done is seen, every repository goes
// on (G1, G2, G4, G5; I1 to I5, I7, I8).
func TestKills(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	s := newRun(t).newScene()
	chance := s.visitor("violence")
	s.srv.start()
	for round := range *kills {
		wait := s.load(round)
		s.violence(chance)
		wake := s.strike(chance)
		wait()
		s.audit()
		s.settleFaults(fmt.Sprintf("round %d, under load", round))
		s.ledger(s.teams, false)
		s.settleFaults(fmt.Sprintf("round %d, in the ledger", round))
		for chance.rnd.IntN(8) == 0 {
			s.srv.begin()
			pause(time.Duration(chance.rnd.Int64N(int64(150 * time.Millisecond))))
			s.srv.kill(false)
		}
		s.srv.start()
		wake()
		s.check(s.teams, s.teams[chance.rnd.IntN(len(s.teams))])
		s.audit()
		s.settleFaults(fmt.Sprintf("round %d, after the restart", round))
		s.renew()
		if round%50 == 49 {
			s.report("kills", round+1)
		}
	}
	s.srv.kill(false)
	s.ledger(s.everybody(), true)
	s.srv.start()
	s.check(s.everybody(), nil)
	for _, t := range s.everybody() {
		if t.deleted == never {
			s.checkClone(t)
		}
	}
	s.settleFaults("at the end")
	if took, err := s.srv.stop(longestStop); err != nil {
		t.Errorf("stop: %v after %v", err, took)
	}
	s.report("kills", *kills)
	if *kills >= 10 && s.stats.cutOff == 0 {
		t.Error("no kill hit anything")
	}
}
