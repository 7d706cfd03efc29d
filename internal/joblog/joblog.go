// Package joblog keeps what jobs say: one file for each attempt, of lines that know when they were said
// and on which stream.
//
// What is secret is masked before anything reaches the disk (mask.go). While a job runs its lines are
// frames that are appended to a file (frame.go), so that a process that is killed leaves at most one that
// is torn. When it has ended the lines become a gzip file whose content is the text and nothing else: whoever
// asks for the log over HTTP is sent the bytes as they lie there; times and streams are in the headers of its
// members (pack.go). A log that grows too large keeps its beginning and its end (write.go). Readers follow a log
// from any place in it and are woken, they never ask again (follow.go).
//
//	joblog.go  where logs lie, who opens and removes them    follow.go  reading on while a job runs
//	write.go   what a job writes, and what is kept of it     text.go    a log as a text, as far as it is
//	mask.go    secrets in all their shapes                   pack.go    a log that has ended
//	frame.go   lines on the disk
//
// The package does not know what a job is: it has a name here, and attempts.
package joblog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// Config says where logs lie and how large they get. Dir and Now are required.
type Config struct {
	Dir string // it is made, for its owner only to change
	Now func() time.Time

	// MaxBytes is how much text of one attempt is kept, in bytes. 0 means 10 MiB; less than 64 KiB is
	// taken for 64 KiB.
	MaxBytes int64

	Log *slog.Logger // nil discards
}

// minBytes is the smallest Config.MaxBytes.
const minBytes = 64 << 10

// Logs are all logs below one folder. The methods are safe for concurrent use.
type Logs struct {
	cfg     Config
	closing chan struct{} // closed when the house closes

	mu      sync.Mutex
	closed  bool
	live    map[key]*Log
	changed chan struct{} // closed and made anew when a log begins or ends
}

// A key names one attempt.
type key struct {
	job     string
	attempt int
}

func (k key) String() string { return k.job + "." + strconv.Itoa(k.attempt) }

// Suffixes of files: of a log that grows, and of one that has ended.
const (
	liveSuffix   = ".log"
	packedSuffix = ".log.gz"
)

// liveDir holds the logs that grow.
const liveDir = "live"

// Open opens the folder. Logs that a process left that was killed are ended: they keep what they have.
func Open(cfg Config) (*Logs, error) {
	const op = "joblog: open"
	if cfg.Dir == "" || cfg.Now == nil {
		return nil, fault.E(fault.Invalid, op, "logs need a folder and a clock")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.MaxBytes = max(cmp.Or(cfg.MaxBytes, 10<<20), minBytes)
	if err := os.MkdirAll(filepath.Join(cfg.Dir, liveDir), 0o750); err != nil {
		return nil, fault.Wrap(op, err)
	}
	l := &Logs{cfg: cfg, closing: make(chan struct{}), live: map[key]*Log{}, changed: make(chan struct{})}
	left, err := os.ReadDir(filepath.Join(cfg.Dir, liveDir))
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	for _, e := range left {
		k, ok := parseName(e.Name(), liveSuffix)
		if !ok {
			continue // nothing of ours
		}
		if err := l.mend(k); err != nil {
			cfg.Log.Warn("joblog: what a dead process left cannot be ended", "job", k.job, "err", err)
		}
	}
	return l, nil
}

// mend ends a log whose writer died.
func (l *Logs) mend(k key) error {
	f, err := os.Open(l.livePath(k))
	if err != nil {
		return err
	}
	defer f.Close()
	start, lines, err := readFrames(f)
	if err != nil {
		return err
	}
	if start.IsZero() {
		start = l.cfg.Now()
	}
	p, err := newPacker(l.packedPath(k), start)
	if err != nil {
		return err
	}
	defer p.discard()
	var last time.Duration
	for line, err := range lines {
		if err != nil {
			break // the frame that was being written
		}
		last = line.at
		if err := p.add(line); err != nil {
			return err
		}
	}
	if err := p.add(entry{at: last, stream: ownStream, text: []byte("gitroost: the server died while this ran")}); err != nil {
		return err
	}
	if err := p.commit(gap{}); err != nil {
		return err
	}
	return os.Remove(l.livePath(k))
}

// Close ends all that follow a log, with a fault.Closing. Jobs may write on.
func (l *Logs) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.closing)
	}
}

// Closing is closed when Close is called.
func (l *Logs) Closing() <-chan struct{} { return l.closing }

// Changed returns a channel that is closed when the next log begins or ends.
func (l *Logs) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// wake tells those who wait for Changed. The caller holds mu.
func (l *Logs) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// MaxAttempt is the largest number of an attempt.
const MaxAttempt = 100_000

// check reports what is no name of a log. Names become part of paths, so this is strict.
func check(k key) error {
	ok := k.attempt > 0 && k.attempt <= MaxAttempt && len(k.job) >= 2 && len(k.job) <= 64
	for i := range len(k.job) {
		c := k.job[i]
		ok = ok && (c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z')
	}
	if !ok {
		return fault.Errorf(fault.Invalid, "joblog: name", "%.70q is not the name of a job's log", k.String())
	}
	return nil
}

func (l *Logs) livePath(k key) string {
	return filepath.Join(l.cfg.Dir, liveDir, k.String()+liveSuffix)
}

// shelf is the folder of a job's logs. The last characters of a ULID are random, and spread them evenly.
func (l *Logs) shelf(job string) string { return filepath.Join(l.cfg.Dir, job[len(job)-2:]) }

func (l *Logs) packedPath(k key) string {
	return filepath.Join(l.shelf(k.job), k.String()+packedSuffix)
}

func parseName(name, suffix string) (key, bool) {
	base, ok := strings.CutSuffix(name, suffix)
	if !ok {
		return key{}, false
	}
	job, n, ok := strings.Cut(base, ".")
	attempt, err := strconv.Atoi(n)
	k := key{job, attempt}
	return k, ok && err == nil && check(k) == nil
}

// Begin opens the log of an attempt. One that is there is replaced: an attempt that did not count is begun
// again under its number.
func (l *Logs) Begin(job string, attempt int) (*Log, error) {
	k := key{job, attempt}
	if err := check(k); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.live[k]; old != nil && !old.ended() {
		return nil, fault.Errorf(fault.Duplicate, "joblog: begin", "attempt %d of job %s has a log that is not closed", attempt, job)
	}
	log, err := newLog(l, k)
	if err != nil {
		return nil, fault.Wrap("joblog: begin", err)
	}
	if err := os.Remove(l.packedPath(k)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.cfg.Log.Warn("joblog: an old log cannot be removed", "job", job, "err", err)
	}
	l.live[k] = log
	l.wake()
	return log, nil
}

// Attempts returns which attempts of a job have a log, in order.
func (l *Logs) Attempts(job string) ([]int, error) {
	if err := check(key{job, 1}); err != nil {
		return nil, err
	}
	var out []int
	l.mu.Lock()
	for k := range l.live { // few: those of jobs that run
		if k.job == job {
			out = append(out, k.attempt)
		}
	}
	l.mu.Unlock()
	names, err := filepath.Glob(filepath.Join(l.shelf(job), job+".*"+packedSuffix)) // job has no special characters
	if err != nil {
		return nil, fault.Wrap("joblog: attempts", err)
	}
	for _, name := range names {
		if k, ok := parseName(filepath.Base(name), packedSuffix); ok {
			out = append(out, k.attempt)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// Remove removes all logs of a job, but for one that is being written. It is no fault if there is none.
func (l *Logs) Remove(job string) error {
	attempts, err := l.Attempts(job)
	if err != nil {
		return err
	}
	for _, n := range attempts {
		l.forget(key{job, n})
		if err := os.Remove(l.packedPath(key{job, n})); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fault.Wrap("joblog: remove", err)
		}
	}
	_ = os.Remove(l.shelf(job)) // if it is empty now
	return nil
}

// forget removes a log that has ended and could not be made into what it should become.
func (l *Logs) forget(k key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if g := l.live[k]; g != nil && g.ended() {
		delete(l.live, k)
		_ = os.Remove(l.livePath(k)) // at the next start it is tried again
	}
}

// size is how many bytes all ended logs of a job take.
func (l *Logs) size(job string) (total int64) {
	attempts, err := l.Attempts(job)
	if err != nil {
		return 0
	}
	for _, n := range attempts {
		if info, err := os.Stat(l.packedPath(key{job, n})); err == nil {
			total += info.Size()
		}
	}
	return total
}

// Shelves returns the names of the folders in which ended logs lie, sorted, and Stored the jobs that have
// logs in one of them that were written before a time: to find those whose job is not known any more.
func (l *Logs) Shelves() ([]string, error) {
	entries, err := os.ReadDir(l.cfg.Dir)
	if err != nil {
		return nil, fault.Wrap("joblog: shelves", err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && len(e.Name()) == 2 {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// Stored is described at Shelves.
func (l *Logs) Stored(shelf string, before time.Time) ([]string, error) {
	if len(shelf) != 2 || strings.ContainsAny(shelf, `./\`) {
		return nil, fault.Errorf(fault.Invalid, "joblog: stored", "%.10q is no shelf", shelf)
	}
	entries, err := os.ReadDir(filepath.Join(l.cfg.Dir, shelf))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Wrap("joblog: stored", err)
	}
	var out []string
	for _, e := range entries {
		k, ok := parseName(e.Name(), packedSuffix)
		if !ok {
			continue
		}
		if info, err := e.Info(); err == nil && info.ModTime().Before(before) {
			out = append(out, k.job)
		}
	}
	return slices.Compact(out), nil
}

// noLog says that there is nothing to read.
func noLog(k key) error {
	return fault.E(fault.NotFound, "joblog: read", fmt.Sprintf("attempt %d of job %s has no log", k.attempt, k.job))
}
