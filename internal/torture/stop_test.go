package torture_test

import (
	"fmt"
	"testing"
	"time"
)

// longestStop is how long a stop may take (G6).
const longestStop = 35 * time.Second

// The server is asked to stop while it is loaded. Each push is reported, or cleanly absent: what
// git called a failure did not happen (G6).
func TestStops(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	s := newRun(t).newScene()
	chance := s.visitor("violence")
	s.srv.start()
	for round := range *stops {
		wait := s.load(round)
		s.violence(chance)
		took, err := s.srv.stop(longestStop)
		wait()
		if err != nil {
			s.fault("stop: %v after %v", err, took)
		}
		s.count(func(st *stats) { st.slowestStop = max(st.slowestStop, took) })
		if left := s.srv.strays(); len(left) > 0 {
			s.fault("I8: the server has ended and these have not: %v", left)
		}
		if left := s.unfinished(); len(left) > 0 {
			s.fault("I5: left behind by an orderly end: %v", left)
		}
		s.settleFaults(fmt.Sprintf("round %d, stop", round))
		s.ledger(s.teams, false)
		s.srv.start()
		s.strict()
		s.check(s.teams, s.teams[chance.rnd.IntN(len(s.teams))])
		s.audit()
		s.settleFaults(fmt.Sprintf("round %d, after the restart", round))
		s.renew()
	}
	s.srv.kill(false)
	s.report("stops", *stops)
	t.Logf("slowest stop %v", s.stats.slowestStop.Round(time.Millisecond))
}

// strict takes back the doubt about pushes that were cut off: their failure was said by a server
// that knew what it did. Only an event whose answer was lost may have been stored.
func (s *scene) strict() {
	for _, t := range s.teams {
		if len(t.alts) > 1 && t.pushCut {
			t.alts = t.alts[:1]
		}
		t.pushCut = false
	}
}
