package jobs

import (
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// A Cron is a schedule of five fields: minute, hour, day of the month, month, day of the week; in
// UTC. A field is "*" or a list of numbers, ranges and steps: "*/15", "1-5", "mon,wed". If both
// kinds of day are given, either suffices. The zero Cron never comes.
type Cron struct {
	text                          string
	minute, hour, dom, month, dow uint64 // bit n is the value n
	anyDOM, anyDOW                bool
}

type cronField struct {
	name     string
	min, max int
	words    string // three letters each, from min on
}

var cronFields = [5]cronField{
	{"minute", 0, 59, ""},
	{"hour", 0, 23, ""},
	{"day of the month", 1, 31, ""},
	{"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
	{"day of the week", 0, 7, "sunmontuewedthufrisat"},
}

// ParseCron reads a schedule. What is none, or what never comes, is a fault.Invalid.
func ParseCron(s string) (Cron, error) {
	const op = "jobs: schedule"
	if len(s) > 256 {
		return Cron{}, fault.E(fault.TooLarge, op, "a schedule has at most 256 bytes")
	}
	parts := strings.Fields(s)
	if len(parts) != 5 {
		return Cron{}, fault.Errorf(fault.Invalid, op, "%q has %d fields; a schedule has five: minute, hour, day of the month, month, day of the week", s, len(parts))
	}
	var sets [5]uint64
	for i, p := range parts {
		set, err := cronFields[i].parse(p)
		if err != nil {
			return Cron{}, fault.Errorf(fault.Invalid, op, "%q: %s %s", s, cronFields[i].name, err.Error())
		}
		sets[i] = set
	}
	if sets[4]&(1<<7) != 0 { // Sunday has two numbers
		sets[4] = sets[4]&^(1<<7) | 1
	}
	c := Cron{text: s, minute: sets[0], hour: sets[1], dom: sets[2], month: sets[3], dow: sets[4],
		anyDOM: strings.HasPrefix(parts[2], "*"), anyDOW: strings.HasPrefix(parts[4], "*")}
	if c.Next(time.Unix(0, 0)).IsZero() {
		return Cron{}, fault.Errorf(fault.Invalid, op, "%q never comes", s)
	}
	return c, nil
}

// what is wrong with a field; the caller says where.
type cronError string

func (e cronError) Error() string { return string(e) }

func (f cronField) parse(s string) (set uint64, err error) {
	for item := range strings.SplitSeq(s, ",") {
		span, step, stepped := strings.Cut(item, "/")
		every := 1
		if stepped {
			if every, err = number(step); err != nil || every < 1 || every > f.max {
				return 0, cronError("has the step " + strconv.Quote(step) + ": it is a number from 1 to " + strconv.Itoa(f.max))
			}
		}
		lo, hi := f.min, f.max
		if span != "*" {
			from, to, ranged := strings.Cut(span, "-")
			if lo, err = f.value(from); err != nil {
				return 0, err
			}
			if ranged {
				if hi, err = f.value(to); err != nil {
					return 0, err
				}
			} else if !stepped {
				hi = lo
			}
		}
		if lo > hi {
			return 0, cronError("runs backwards: " + strconv.Quote(span))
		}
		for v := lo; v <= hi; v += every {
			set |= 1 << v
		}
	}
	return set, nil
}

func (f cronField) value(s string) (int, error) {
	if i := strings.Index(f.words, strings.ToLower(s)); len(s) == 3 && i >= 0 && i%3 == 0 {
		return f.min + i/3, nil
	}
	v, err := number(s)
	if err != nil || v < f.min || v > f.max {
		return 0, cronError("is " + strconv.Quote(s) + ": it is a number from " + strconv.Itoa(f.min) + " to " + strconv.Itoa(f.max))
	}
	return v, nil
}

func number(s string) (int, error) {
	if s == "" || len(s) > 2 || strings.Trim(s, "0123456789") != "" {
		return 0, cronError("is no number")
	}
	return strconv.Atoi(s)
}

func (c Cron) String() string { return c.text }

// Zero reports whether there is no schedule.
func (c Cron) Zero() bool { return c.minute == 0 }

// horizon is how far ahead Next looks: 29 February is eight years away at most.
const horizon = 9

// Next returns the first time of the schedule after t, in UTC, or the zero time if there is none.
func (c Cron) Next(t time.Time) time.Time {
	if c.Zero() {
		return time.Time{}
	}
	t = t.UTC().Truncate(time.Minute).Add(time.Minute)
	end := t.Year() + horizon
	for t.Year() < end {
		y, m, d := t.Date()
		switch {
		case c.month&(1<<m) == 0:
			t = time.Date(y, m+1, 1, 0, 0, 0, 0, time.UTC)
		case !c.day(t):
			t = time.Date(y, m, d+1, 0, 0, 0, 0, time.UTC)
		case c.hour&(1<<t.Hour()) == 0:
			t = time.Date(y, m, d, t.Hour()+1, 0, 0, 0, time.UTC)
		case c.minute&(1<<t.Minute()) == 0:
			t = t.Add(time.Minute)
		default:
			return t
		}
	}
	return time.Time{}
}

func (c Cron) day(t time.Time) bool {
	dom, dow := c.dom&(1<<t.Day()) != 0, c.dow&(1<<t.Weekday()) != 0
	if c.anyDOM || c.anyDOW {
		return dom && dow
	}
	return dom || dow
}

// MaxJitter is how much later than its schedule a job is at most, so that not all repositories
// begin at once.
const MaxJitter = 10 * time.Minute

// Jitter returns by how much the times of job in repo are put off: always the same, in whole
// seconds, and less than MaxJitter.
func Jitter(repo grasp.Addr, job string) time.Duration {
	h := HashOf(string(repo.Owner), repo.ID, job)
	return time.Duration(binary.BigEndian.Uint64(h[:8])%uint64(MaxJitter/time.Second)) * time.Second
}

// when puts the time t of the schedule off by jitter, never beyond half the way to the next one.
func (c Cron) when(t time.Time, jitter time.Duration) time.Time {
	if next := c.Next(t); !next.IsZero() {
		jitter = min(jitter, next.Sub(t)/2)
	}
	return t.Add(jitter)
}

// Due returns which time of the schedule is to be caught up with at now, if last was the last one
// that was: the latest that has come, however many were missed in between. ok is false if none has
// come; at is then when the next one will.
func (c Cron) Due(last, now time.Time, jitter time.Duration) (due, at time.Time, ok bool) {
	first := c.Next(last)
	if first.IsZero() {
		return time.Time{}, time.Time{}, false
	}
	if at = c.when(first, jitter); at.After(now) {
		return time.Time{}, at, false
	}
	// The latest that has come: not by counting up from last, which may be years ago.
	for back := time.Minute; ; back *= 2 {
		from := now.Add(-back)
		if from.Before(last) {
			from = last
		}
		t := c.Next(from)
		if t.IsZero() || c.when(t, jitter).After(now) {
			if !from.After(last) {
				return first, at, true
			}
			continue
		}
		for {
			next := c.Next(t)
			if next.IsZero() || c.when(next, jitter).After(now) {
				return t, c.when(t, jitter), true
			}
			t = next
		}
	}
}
