package joblog

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// ownStream is where the server's own lines are.
const ownStream = "gitroost"

// A Log is what one attempt says while it runs. It is a jobs.Log and a work.Masker. Its methods, and those of
// its streams, are safe for concurrent use.
//
// Of a log that grows too large the first nine tenths of what may be kept are kept, and the last tenth: whoever
// reads it wants to know how it began and, before all, how it ended. The line "gitroost: truncated, N bytes
// dropped here" stands where something is missing, and the same without "here" at the end, where people look
// first. The last part is in memory until the job ends, so that it costs no writing; of a log whose writer is
// killed the first part is what is left.
type Log struct {
	logs  *Logs
	key   key
	start time.Time

	mu      sync.Mutex
	f       *os.File
	failed  error // of the first write that failed; nothing is written after it
	flen    int64 // bytes of frames in f
	numbers map[string]byte
	pipes   map[string]*pipe
	mask    masker
	out     []byte        // frames that are not written yet
	outText int64         // how much text is in them
	news    bool          // something was added that readers were not told of
	scratch []byte        // for what is masked
	last    time.Duration // when the last line was
	end     int64         // bytes of text, also of what was dropped
	head    int64         // bytes of text in f
	full    bool          // nothing is added to f any more
	tail    []tailed      // the last lines of a log that is full, at offsets that follow each other
	weight  int64         // what tail takes
	dropped int64         // bytes of text
	closed  bool
	changed chan struct{} // closed when there is more; nil if nobody waits
	kept    int64         // what Close returned
}

// A tailed is a line in memory, and where it begins.
type tailed struct {
	entry
	off int64
}

// tailOverhead is what a line in memory takes beside its text, in bytes.
const tailOverhead = 64

func newLog(l *Logs, k key) (*Log, error) {
	g := &Log{logs: l, key: k, start: l.cfg.Now(), numbers: map[string]byte{}, pipes: map[string]*pipe{}}
	f, err := os.OpenFile(l.livePath(k), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(appendHeader(nil, g.start)); err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, err
	}
	g.f, g.flen = f, int64(headerSize)
	return g, nil
}

// Mask has a secret masked in all that is written from now on, in whatever shape (S0-12). Texts of less than
// four bytes are not.
func (g *Log) Mask(secret []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mask.add(secret)
}

// Stream returns the stream of that name, always the same. Its lines are kept as whole lines; a line is read by
// others when it is complete, or longer than 16 KiB. Writing to it never fails: a job does not fail because
// nobody can keep what it says.
func (g *Log) Stream(name string) io.Writer {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(name) > maxName {
		name = name[:maxName]
	}
	p := g.pipes[name]
	if p == nil {
		if len(g.pipes) == maxStreams || name == "" {
			name = ownStream
			if p = g.pipes[name]; p != nil {
				return p
			}
		}
		p = &pipe{log: g, name: name}
		if len(g.pipes) < maxStreams {
			g.pipes[name] = p
		}
	}
	return p
}

// A pipe is one stream.
type pipe struct {
	log     *Log
	name    string
	pending []byte // a line that has no end yet; less than maxText
	covered int    // how much of it is part of a secret that is veiled already
}

// Write is described at Stream.
func (p *pipe) Write(b []byte) (int, error) {
	g := p.log
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return len(b), nil
	}
	at := g.clock()
	n := len(b)
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte{'\n'})
		if room := maxText - len(p.pending); len(line) > room {
			p.pending = append(p.pending, line[:room]...)
			b = b[room:]
			g.pour(p, at, true, false)
			continue
		}
		p.pending = append(p.pending, line...)
		b = rest
		if whole {
			g.pour(p, at, false, true)
		}
	}
	g.flush()
	return n, nil
}

// clock returns how long the log has been running. Time does not run backwards in it.
func (g *Log) clock() time.Duration {
	at := g.logs.cfg.Now().Sub(g.start).Truncate(time.Millisecond)
	g.last = min(max(g.last, at), maxSpan)
	return g.last
}

// pour masks what is pending and makes entries of it. If more of the line is to come, what could be the beginning
// of a secret stays.
func (g *Log) pour(p *pipe, at time.Duration, more, ended bool) {
	if len(p.pending) == 0 && !ended {
		return
	}
	text, n, left := g.mask.mask(g.scratch[:0], p.pending, p.covered, more)
	g.scratch = text[:0]
	p.pending = p.pending[:copy(p.pending, p.pending[n:])]
	p.covered = left
	for len(text) > maxText { // a veil can be longer than what it hides
		g.add(entry{at: at, stream: p.name, text: text[:maxText], part: true})
		text = text[maxText:]
	}
	if ended || len(text) > 0 {
		g.add(entry{at: at, stream: p.name, text: text, part: !ended})
	}
	if ended {
		p.covered = 0
	}
}

// add puts an entry where it belongs: on the disk, or into memory. The text is not used after it returned, unless
// it is in memory.
func (g *Log) add(e entry) {
	size := e.size()
	limit := g.logs.cfg.MaxBytes
	g.news = true
	if !g.full && g.head+size <= limit-limit/10 && g.failed == nil {
		number, ok := g.numbers[e.stream]
		if !ok {
			number = byte(len(g.numbers) + 1)
			g.numbers[e.stream] = number
			g.out = appendFrame(g.out, number|markName, 0, []byte(e.stream))
		}
		if e.part {
			number |= markPart
		}
		g.out = appendFrame(g.out, number, e.at, e.text)
		g.head += size
		g.outText += size
		g.end += size
		if len(g.out) > maxFrame {
			g.flush()
		}
		return
	}
	g.full = true
	g.remember(e)
	g.trim(limit / 10)
}

// remember adds an entry to the last lines.
func (g *Log) remember(e entry) {
	e.text = bytes.Clone(e.text)
	g.tail = append(g.tail, tailed{e, g.end})
	g.end += e.size()
	g.weight += int64(len(e.text)) + tailOverhead
}

// trim drops the oldest of the last lines until they take no more than that; one is always kept.
func (g *Log) trim(limit int64) {
	for g.weight > limit && len(g.tail) > 1 {
		old := &g.tail[0]
		g.weight -= int64(len(old.text)) + tailOverhead
		g.dropped += old.size()
		g.tail[0] = tailed{}
		g.tail = g.tail[1:]
	}
}

// flush writes frames that are not written yet, and wakes those who wait.
func (g *Log) flush() {
	if len(g.out) > 0 {
		if g.failed == nil {
			if _, err := g.f.WriteAt(g.out, g.flen); err != nil {
				g.failed = fault.Wrap("joblog: write", err) // most likely there is no room
				g.full = true
			}
		}
		if g.failed == nil {
			g.flen += int64(len(g.out))
		} else {
			g.head -= g.outText
			g.dropped += g.outText
		}
	}
	g.out, g.outText = g.out[:0], 0
	if g.news {
		g.news = false
		g.wake()
	}
}

func (g *Log) wake() {
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}

// wait returns a channel that is closed when there is more. The caller holds mu.
func (g *Log) wait() <-chan struct{} {
	if g.changed == nil {
		g.changed = make(chan struct{})
	}
	return g.changed
}

// gapAt returns where something is missing, and how much.
func (g *Log) gapAt() gap {
	if g.dropped == 0 {
		return gap{}
	}
	return gap{at: g.head, bytes: g.dropped}
}

// Close ends the log and returns how many bytes all logs of the job take on the disk now. Lines that have no
// end are kept as they are. After the first time it does nothing more.
func (g *Log) Close() (int64, error) {
	g.mu.Lock()
	if g.closed {
		defer g.mu.Unlock()
		return g.kept, g.failed
	}
	at := g.clock()
	for _, p := range g.pipes {
		g.pour(p, at, false, false)
	}
	g.flush()
	if g.dropped > 0 {
		g.trim(g.logs.cfg.MaxBytes/10 - 2*tailOverhead)
		g.remember(entry{at: at, stream: ownStream, text: fmt.Appendf(nil, "gitroost: truncated, %d bytes dropped", g.dropped)})
	}
	g.closed = true
	g.wake()
	g.mu.Unlock()

	// Nothing changes any more, so nothing is locked while the file is made. Who begins to read meanwhile
	// reads what is there.
	err := g.pack()
	l := g.logs
	l.mu.Lock()
	if err == nil {
		os.Remove(l.livePath(g.key)) // who reads it goes on
	}
	if err == nil || len(l.live) > maxUnfinished {
		delete(l.live, g.key)
	} // otherwise it is read as it is; the next start tries again in either case
	l.wake()
	l.mu.Unlock()
	g.f.Close()
	kept := l.size(g.key.job)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed == nil && err != nil {
		g.failed = fault.Wrap("joblog: close", err)
	}
	g.kept = kept
	return kept, g.failed
}

// maxUnfinished is how many logs are remembered at most that run, or that ended and could not be made into what they
// should become.
const maxUnfinished = 256

// ended reports whether the log was closed.
func (g *Log) ended() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// pack writes the ended log as it stays.
func (g *Log) pack() error {
	start, lines, err := readFrames(io.NewSectionReader(g.f, 0, g.flen))
	if err != nil {
		return err
	}
	p, err := newPacker(g.logs.packedPath(g.key), start)
	if err != nil {
		return err
	}
	defer p.discard()
	for e, err := range lines {
		if err != nil {
			return err
		}
		if err := p.add(e); err != nil {
			return err
		}
	}
	missing := g.gapAt()
	if missing.bytes > 0 {
		mark := missing.line(g.last)
		missing.mark = mark.size()
		if err := p.add(mark); err != nil {
			return err
		}
	}
	for i := range g.tail {
		if err := p.add(g.tail[i].entry); err != nil {
			return err
		}
	}
	return p.commit(missing)
}

// A gap is where a log that grew too large has nothing.
type gap struct {
	at    int64 // in the text
	bytes int64 // how much was dropped
	mark  int64 // how long the line is that stands there
}

// line is what stands in place of what was dropped.
func (g gap) line(at time.Duration) entry {
	return entry{at: at, stream: ownStream, text: fmt.Appendf(nil, "gitroost: truncated, %d bytes dropped here", g.bytes)}
}
