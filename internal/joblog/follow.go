package joblog

import (
	"bufio"
	"compress/gzip"
	"context"
	"io"
	"os"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// A Line is one line of a log, or a part of one that is very long.
type Line struct {
	Offset int64 // where it begins, in all that the job said
	Next   int64 // where to go on after it: a value for Follow
	Time   time.Time
	Stream string // "stdout", "stderr", or "gitroost" for the server's own
	Text   []byte // without the line's end; it holds until the next call
	Part   bool   // no line end belongs to it
}

// AppendTo appends the line to a text.
func (l *Line) AppendTo(dst []byte) []byte {
	dst = append(dst, l.Text...)
	if l.Part {
		return dst
	}
	return append(dst, '\n')
}

// maxBatch is how much text Next returns at a time, about.
const maxBatch = 32 << 10

// A Follower reads a log while it grows. It has one buffer, whatever the log is; use it from one goroutine, and
// close it.
//
// Offsets count all that a job said, also what was dropped of it later, so that they hold whatever becomes of
// the log. What is missing is told by a line.
type Follower struct {
	logs  *Logs
	log   *Log // nil if it had ended
	file  *os.File
	start time.Time
	at    int64 // where to go on
	lines []Line

	// Of a log that grows.
	fpos  int64 // in the file
	off   int64 // in the text, at fpos
	names streams
	buf   []byte

	// Of one that has ended.
	in   *bufio.Reader
	zip  *gzip.Reader
	text []byte
	foot foot
	pos  int64 // in the text as it is kept
}

// Follow returns a follower of the log of an attempt, from a place that is the Next of a line, or 0, or behind
// either. What is not there is a fault.NotFound.
func (l *Logs) Follow(job string, attempt int, from int64) (*Follower, error) {
	k := key{job, attempt}
	if err := check(k); err != nil {
		return nil, err
	}
	g, file, err := l.lookUp(k)
	if err != nil {
		return nil, err
	}
	f := &Follower{logs: l, log: g, file: file, at: max(from, 0)}
	if g != nil {
		f.fpos, f.start = int64(headerSize), g.start
		f.buf = make([]byte, maxBatch)
		return f, nil
	}
	info, err := file.Stat()
	if err == nil {
		f.foot, err = readFoot(file, info.Size())
	}
	if err != nil {
		file.Close()
		return nil, fault.Wrap("joblog: follow", err)
	}
	f.in = bufio.NewReader(io.NewSectionReader(file, 0, info.Size()-footSize))
	return f, nil
}

// Close gives the file back.
func (f *Follower) Close() { f.file.Close() }

// Next waits until there is more and returns it: at least one line. At the end it is io.EOF, when the server stops
// a fault.Closing, and what ctx says if that ends. What it returned before is not valid any more.
func (f *Follower) Next(ctx context.Context) ([]Line, error) {
	for {
		lines, wait, err := f.poll()
		if len(lines) > 0 || err != nil {
			return lines, err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-f.logs.closing:
			return nil, fault.E(fault.Closing, "joblog: follow", "the server is stopping")
		}
	}
}

// poll returns what is there, or what to wait for.
func (f *Follower) poll() ([]Line, <-chan struct{}, error) {
	f.lines = f.lines[:0]
	if f.log == nil {
		err := f.readPacked()
		return f.lines, nil, err
	}
	g := f.log
	g.mu.Lock()
	flen := g.flen
	if f.fpos < flen {
		g.mu.Unlock()
		err := f.readFrames(flen)
		if err != nil || len(f.lines) > 0 || f.fpos < flen {
			return f.lines, closedChannel, err
		}
		return nil, closedChannel, nil
	}
	defer g.mu.Unlock()
	if f.fpos < g.flen {
		return nil, closedChannel, nil
	}
	f.readTail()
	if len(f.lines) > 0 {
		return f.lines, nil, nil
	}
	if g.closed {
		return nil, nil, io.EOF
	}
	return nil, g.wait(), nil
}

// closedChannel is something to wait for that is there.
var closedChannel = func() <-chan struct{} { c := make(chan struct{}); close(c); return c }()

// take adds an entry that begins at off, or the rest of it that comes after at.
func (f *Follower) take(e entry, off int64) {
	next := off + e.size()
	if next <= f.at {
		return
	}
	if skip := f.at - off; skip > 0 {
		skip = min(skip, int64(len(e.text)))
		e.text, off = e.text[skip:], off+skip
	}
	f.lines = append(f.lines, Line{Offset: off, Next: next, Time: f.start.Add(e.at), Stream: e.stream, Text: e.text, Part: e.part})
	f.at = next
}

// readFrames reads what is in the file, up to flen.
func (f *Follower) readFrames(flen int64) error {
	n, err := f.file.ReadAt(f.buf[:min(int64(len(f.buf)), flen-f.fpos)], f.fpos)
	if n == 0 {
		return fault.Wrap("joblog: follow", err)
	}
	b := f.buf[:n]
	for len(b) > 0 {
		e, n, ok, err := f.names.parseFrame(b)
		if err == errTorn {
			return nil // it is longer than what was read; flen is behind a whole one
		}
		if err != nil {
			return fault.Wrap("joblog: follow", err)
		}
		if ok {
			f.take(e, f.off)
			f.off += e.size()
		}
		f.fpos += int64(n)
		b = b[n:]
	}
	return nil
}

// readTail reads what is in memory. The log is locked.
func (f *Follower) readTail() {
	g := f.log
	if !g.full || len(g.tail) == 0 {
		return
	}
	first := g.tail[0].off
	if f.at < first && g.dropped > 0 {
		missing := gap{at: f.at, bytes: first - f.at}
		e := missing.line(g.last)
		f.lines = append(f.lines, Line{Offset: f.at, Next: first, Time: f.start.Add(e.at), Stream: e.stream, Text: e.text})
		f.at = first
	}
	low, high := 0, len(g.tail)
	for low < high { // the first that ends behind at
		mid := (low + high) / 2
		if t := &g.tail[mid]; t.off+t.size() <= f.at {
			low = mid + 1
		} else {
			high = mid
		}
	}
	room := maxBatch
	text := f.buf[:0]
	for i := low; i < len(g.tail) && room > 0; i++ {
		t := &g.tail[i]
		if len(text)+len(t.text) > cap(f.buf) {
			break
		}
		from := len(text)
		text = append(text, t.text...)
		e := t.entry
		e.text = text[from:]
		f.take(e, t.off)
		room -= len(t.text) + 1
	}
}

// readPacked reads members of an ended log until there is a line behind at.
func (f *Follower) readPacked() error {
	for len(f.lines) == 0 {
		var err error
		if f.zip == nil {
			f.zip, err = gzip.NewReader(f.in)
		} else {
			err = f.zip.Reset(f.in)
		}
		if err == io.EOF {
			return io.EOF
		}
		if err != nil {
			return fault.Wrap("joblog: follow", err)
		}
		f.zip.Multistream(false)
		if f.text, err = readAtMost(f.zip, f.text[:0], memberText+2*maxText); err != nil {
			return fault.Wrap("joblog: follow", err)
		}
		start, entries, err := parseMember(f.zip.Extra, f.text)
		if err != nil {
			return fault.Wrap("joblog: follow", err)
		}
		f.start = start
		for _, e := range entries {
			f.takePacked(e)
		}
	}
	return nil
}

// takePacked adds the entry at pos of the text as it is kept.
func (f *Follower) takePacked(e entry) {
	g, size := f.foot.gap, e.size()
	switch {
	case g.bytes > 0 && f.pos == g.at: // the line about what is missing
		if f.at < g.at+g.bytes {
			f.lines = append(f.lines, Line{Offset: g.at, Next: g.at + g.bytes, Time: f.start.Add(e.at), Stream: e.stream, Text: e.text})
			f.at = g.at + g.bytes
		}
	case g.bytes > 0 && f.pos > g.at:
		f.take(e, f.pos-g.mark+g.bytes)
	default:
		f.take(e, f.pos)
	}
	f.pos += size
}

// readAtMost appends all of r to dst, and fails if it is more than limit.
func readAtMost(r io.Reader, dst []byte, limit int) ([]byte, error) {
	for {
		if len(dst) > limit {
			return dst, errBroken
		}
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
	}
}
