package syncer_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/syncer"
)

var errDown = errors.New("connection refused")

// TestPauses: a peer that cannot be reached is tried after 5, 10, 20 seconds and so on up to an hour, a
// tenth later at most, and once a day when it has been gone for one (check 244).
func TestPauses(t *testing.T) {
	for _, spread := range []float64{0, 0.5, 0.999} {
		var m syncer.Mood
		now := time.Unix(1_800_000_000, 0)
		start := now
		for i, want := range []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600} {
			m = m.After(time.Time{}, now, errDown, spread)
			pause := m.Next.Sub(now)
			if want *= time.Second; pause < want || pause > want+want/10 {
				t.Errorf("spread %v, failure %d: pause %s, want %s and a tenth at most", spread, i+1, pause, want)
			}
			if got := m.Word(false, now); got != "waiting" {
				t.Errorf("failure %d: the mood is %q", i+1, got)
			}
			now = m.Next
		}
		for now.Sub(start) < 24*time.Hour {
			m = m.After(time.Time{}, now, errDown, spread)
			now = m.Next
		}
		m = m.After(time.Time{}, now, errDown, spread)
		if pause := m.Next.Sub(now); pause < 24*time.Hour || m.Word(false, now) != "dead" {
			t.Errorf("after a day: pause %s, mood %s, want a day and dead", pause, m.Word(false, now))
		}
	}
}

// TestMoods pins what follows from how a connection ended (G02-08, G02-09).
func TestMoods(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	worn := syncer.Mood{Fails: 7, Since: now.Add(-time.Hour)}
	for _, c := range []struct {
		name  string
		began time.Time
		err   error
		pause time.Duration
		fails int
		bad   bool
	}{
		{"a stable connection that broke", now.Add(-6 * time.Minute), errDown, 5 * time.Second, 1, false},
		{"one that was not stable yet", now.Add(-4 * time.Minute), errDown, 640 * time.Second, 8, false},
		{"no relay there", time.Time{}, fault.E(fault.NotFound, "x", "answers 404"), 12 * time.Hour, 8, true},
		{"an address that is not contacted", time.Time{}, fault.E(fault.Refused, "x", "private"), 12 * time.Hour, 8, true},
		{"somebody who misbehaves", now.Add(-time.Hour), fault.E(fault.Refused, "x", "forged"), 12 * time.Hour, 1, true},
		{"asked for less", now.Add(-time.Hour), fault.E(fault.Busy, "x", "rate-limited"), 65 * time.Second, 1, false},
	} {
		m := worn.After(c.began, now, c.err, 0)
		if got := m.Next.Sub(now); got != c.pause || m.Fails != c.fails || m.Bad != c.bad {
			t.Errorf("%s: pause %s, %d failures, bad %v; want %s, %d, %v", c.name, got, m.Fails, m.Bad, c.pause, c.fails, c.bad)
		}
	}
}

// TestResume: a gap of less than 15 minutes is caught up with by time, from 15 minutes before it on
// (check 274, G02-08).
func TestResume(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	full := syncer.Mood{Full: now.Add(-time.Hour), Repass: now.Add(22 * time.Hour)}
	for _, c := range []struct {
		name string
		m    func(syncer.Mood) syncer.Mood
		ok   bool
	}{
		{"five minutes", func(m syncer.Mood) syncer.Mood { m.Seen = now.Add(-5 * time.Minute); return m }, true},
		{"fifteen minutes", func(m syncer.Mood) syncer.Mood { m.Seen = now.Add(-15 * time.Minute); return m }, false},
		{"never all was read", func(m syncer.Mood) syncer.Mood { return syncer.Mood{Seen: now} }, false},
		{"a day is over", func(m syncer.Mood) syncer.Mood { m.Seen, m.Repass = now, now; return m }, false},
	} {
		m := c.m(full)
		since, ok := m.Resumes(now)
		if ok != c.ok || ok && !since.Equal(m.Seen.Add(-15*time.Minute)) {
			t.Errorf("%s: %v, %v", c.name, since, ok)
		}
	}
}

// TestRepass: all is compared again after 23 to 25 hours (G02-08).
func TestRepass(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for range 1000 {
		m := syncer.Mood{}.Passed(now, rand.Float64())
		if d := m.Repass.Sub(now); d < 23*time.Hour || d > 25*time.Hour || !m.Full.Equal(now) {
			t.Fatalf("again in %s", d)
		}
	}
}

// TestCaughtUp: a peer that comes and goes, and tells all that was missed each time, is never left alone for
// more than a minute; one that tells nothing is, as one that refuses (G02-09).
func TestCaughtUp(t *testing.T) {
	for _, told := range []bool{true, false} {
		var m syncer.Mood
		now, longest := time.Unix(1_800_000_000, 0), time.Duration(0)
		for range 100 {
			began := now
			if told {
				m = m.Caught()
			}
			now = now.Add(20 * time.Second)
			m = m.After(began, now, errDown, 0.999)
			longest = max(longest, m.Next.Sub(now))
			now = m.Next
		}
		if told && longest > time.Minute || !told && longest < time.Hour {
			t.Errorf("told %v: left alone for %s", told, longest)
		}
		if word := m.Word(false, now); told && word != "waiting" {
			t.Errorf("after an hour of that it is %s", word)
		}
	}
}

// TestClockPutBack: what a process wrote down whose clock was ahead does not keep a peer from being tried and
// compared for longer than if the clock had been right.
func TestClockPutBack(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, ahead := range []time.Duration{-24 * time.Hour, 0, 10 * time.Minute, 24 * time.Hour, 10_000 * time.Hour} {
		then := now.Add(ahead)
		for _, c := range []struct {
			name string
			m    syncer.Mood
			most time.Duration // until it is tried again
		}{
			{"in touch", syncer.Mood{Seen: then, Full: then, Repass: then.Add(24 * time.Hour)}, 72 * time.Second},
			{"failed once", syncer.Mood{}.After(time.Time{}, then, errDown, 0.5), 72 * time.Second},
			{"failed often", syncer.Mood{Fails: 20, Since: then.Add(-time.Hour)}.After(time.Time{}, then, errDown, 0.5), 66 * time.Minute},
			{"dead", syncer.Mood{Fails: 50, Since: then.Add(-48 * time.Hour)}.After(time.Time{}, then, errDown, 0.5), 27 * time.Hour},
			{"bad", syncer.Mood{}.After(time.Time{}, then, fault.E(fault.Refused, "x", "forged"), 0.5), 14 * time.Hour},
		} {
			m := c.m.Recalled(now)
			if wait := m.Next.Sub(now); wait > c.most {
				t.Errorf("%s, %s ahead: it is left alone for %s, want %s at most", c.name, ahead, wait, c.most)
			}
			if wait := m.Repass.Sub(now); wait > 25*time.Hour {
				t.Errorf("%s, %s ahead: all is compared in %s", c.name, ahead, wait)
			}
			if since, ok := m.Resumes(now); ok && since.After(now.Add(-15*time.Minute)) {
				t.Errorf("%s, %s ahead: it is asked for what happened since %s", c.name, ahead, since.Sub(now))
			}
			if ahead == 0 && m != c.m {
				t.Errorf("%s: a clock that was right changes %+v to %+v", c.name, c.m, m)
			}
		}
	}
}
