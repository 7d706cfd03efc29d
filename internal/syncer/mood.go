package syncer

import (
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// How long a peer is left alone (G02-08, G02-09).
const (
	firstPause  = 5 * time.Second
	mostPause   = time.Hour
	deadAfter   = 24 * time.Hour
	deadPause   = 24 * time.Hour
	badPause    = 12 * time.Hour
	slowPause   = 65 * time.Second
	stableAfter = 5 * time.Minute
	shortGap    = 15 * time.Minute

	mildFails    = 3         // failures that are held against a peer that has answered everything since
	crowdedPause = time.Hour // until all is compared again if there was no room for a part of it
)

// A Mood is how a peer has done lately. It is a value; the zero Mood has not been tried.
type Mood struct {
	Fails   int       // tries in a row that came to nothing
	Since   time.Time // of the first of these; zero if there is none
	Next    time.Time // when it is tried next; zero: now
	Bad     bool      // on the bad list until Next
	Seen    time.Time // when nothing that it had was missed yet; zero: never
	Full    time.Time // when all that it has was last compared
	Repass  time.Time // when that is done next
	Trouble string    // what went wrong last, or ""
}

// A Record is what is kept of a peer.
type Record struct {
	URL string
	Mood
}

// Word says the mood in a word: new, good, waiting, dead or bad. connected says that there is a
// connection now.
func (m Mood) Word(connected bool, now time.Time) string {
	switch {
	case connected:
		return "connected"
	case m.Bad && now.Before(m.Next):
		return "bad"
	case m.Since.IsZero() && m.Seen.IsZero():
		return "new"
	case !m.Since.IsZero() && now.Sub(m.Since) >= deadAfter:
		return "dead"
	}
	return "waiting"
}

// after returns the mood after a connection that began at began, or could not be made (began is zero),
// and ended with err at now. spread is in [0, 1).
func (m Mood) after(began, now time.Time, err error, spread float64) Mood {
	m.Bad = false
	m.Trouble = ""
	if err != nil {
		m.Trouble = say(err)
	}
	if !began.IsZero() && now.Sub(began) >= stableAfter {
		m.Fails, m.Since = 0, time.Time{} // G02-09: it was stable
	}
	if m.Since.IsZero() {
		m.Since = now
	}
	m.Fails++
	pause := pauseOf(m.Fails)
	switch {
	case fault.Is(err, fault.Refused), fault.Is(err, fault.NotFound):
		pause, m.Bad = badPause, true
	case fault.Is(err, fault.Busy):
		pause = max(pause, slowPause)
	case now.Sub(m.Since) >= deadAfter:
		pause = deadPause
	}
	// A tenth more at most: peers that failed together do not come back together.
	m.Next = now.Add(pause + time.Duration(float64(pause)*spread/10))
	return m
}

// pauseOf is how long a peer is left alone after so many failures in a row, at least one.
func pauseOf(fails int) time.Duration {
	if fails > 10 {
		return mostPause
	}
	return min(firstPause<<(max(fails, 1)-1), mostPause)
}

// caught returns the mood of a peer that has just told all that was missed. That it was away before is no
// reason any more to leave it alone for long when it goes away again: a server that restarts again and again,
// or a network that comes and goes, would else be met once an hour.
func (m Mood) caught() Mood {
	m.Fails, m.Since = min(m.Fails, mildFails), time.Time{}
	return m
}

// recalled returns the mood as an earlier process wrote it down, whose clock may have been ahead of this one:
// nothing is waited for longer than it can last, and what was seen in the future was not seen (G02-15).
func (m Mood) recalled(now time.Time) Mood {
	most := max(pauseOf(m.Fails), slowPause)
	switch {
	case m.Bad:
		most = badPause
	case !m.Since.IsZero() && m.Next.Sub(m.Since) >= deadAfter:
		most = deadPause
	}
	if at := now.Add(most + most/10); m.Next.After(at) {
		m.Next = at
	}
	if m.Since.After(now) {
		m.Since = now
	}
	if m.Seen.After(now) {
		m.Seen = time.Time{}
	}
	if m.Full.After(now) || m.Repass.Sub(now) > 25*time.Hour {
		m.Repass = now
	}
	return m
}

// calm returns the mood of a connection that has been open for long enough.
func (m Mood) calm() Mood {
	m.Fails, m.Since, m.Trouble = 0, time.Time{}, ""
	return m
}

// resumes reports whether what happened since the last connection can be asked for by time alone, and
// from when on (G02-08).
func (m Mood) resumes(now time.Time) (since time.Time, ok bool) {
	if m.Full.IsZero() || m.Seen.IsZero() || now.Sub(m.Seen) >= shortGap || !now.Before(m.Repass) {
		return time.Time{}, false
	}
	return m.Seen.Add(-shortGap), true
}

// passed returns the mood after all was compared at now. The next time is in 23 to 25 hours.
func (m Mood) passed(now time.Time, spread float64) Mood {
	m.Full = now
	m.Repass = now.Add(23*time.Hour + time.Duration(spread*float64(2*time.Hour)))
	return m
}

// sooner returns the mood of a peer with which all is to be compared in a minute or two.
func (m Mood) sooner(now time.Time, spread float64) Mood {
	if at := now.Add(time.Minute + time.Duration(spread*float64(time.Minute))); at.Before(m.Repass) {
		m.Repass = at
	}
	return m
}

// maxTrouble bounds, in bytes, what is kept of somebody else's words.
const maxTrouble = 300

func say(err error) string {
	text, _ := fault.Message(err)
	if fault.CodeOf(err) == fault.Internal {
		text = err.Error() // it is for the operator, and about a peer
	}
	return clip(text, maxTrouble)
}
