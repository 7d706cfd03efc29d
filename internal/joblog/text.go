package joblog

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// A Text is a log as a text: whole if it has ended, and otherwise as far as it is. It is an io.ReadSeeker for
// one goroutine, and is to be closed. Going back in it costs as much as reading it from the beginning.
type Text struct {
	// Live says that the log grows; then Size is what it was, and Mark where a reader goes on
	// (Follow).
	Live bool
	Size int64 // bytes of text
	Mark int64
	Time time.Time // when it ended, or began

	file   *os.File
	packed int64            // bytes of the file of an ended log
	open   func() io.Reader // from the beginning
	r      io.Reader        // at pos
	pos    int64
	want   int64 // where the next Read is to be
}

// Text opens the log of an attempt. What is not there is a fault.NotFound.
func (l *Logs) Text(job string, attempt int) (*Text, error) {
	k := key{job, attempt}
	if err := check(k); err != nil {
		return nil, err
	}
	g, f, err := l.lookUp(k)
	if err != nil {
		return nil, err
	}
	t := &Text{file: f}
	if g != nil {
		g.mu.Lock()
		flen, head := g.flen, g.head
		var rest []byte
		if missing := g.gapAt(); missing.bytes > 0 {
			mark := missing.line(0)
			rest = mark.appendTo(rest)
		}
		for i := range g.tail {
			rest = g.tail[i].appendTo(rest)
		}
		t.Live, t.Time, t.Mark = true, g.start, g.end
		g.mu.Unlock()
		t.Size = head + int64(len(rest))
		t.open = func() io.Reader {
			return io.MultiReader(&frameText{in: io.NewSectionReader(f, 0, flen)}, bytes.NewReader(rest))
		}
		return t, nil
	}
	info, err := f.Stat()
	if err == nil {
		var ft foot
		ft, err = readFoot(f, info.Size())
		t.Size, t.Mark, t.Time, t.packed = ft.size, ft.size+ft.gap.bytes-ft.gap.mark, info.ModTime(), info.Size()
	}
	if err != nil {
		f.Close()
		return nil, fault.Wrap("joblog: read", err)
	}
	t.open = func() io.Reader {
		z, err := gzip.NewReader(bufio.NewReader(io.NewSectionReader(f, 0, t.packed)))
		if err != nil {
			return failing{err}
		}
		return z
	}
	return t, nil
}

// lookUp returns the log if it grows, and its file.
func (l *Logs) lookUp(k key) (*Log, *os.File, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	path, g := l.packedPath(k), l.live[k]
	if g != nil {
		path = l.livePath(k)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, noLog(k)
	}
	return g, f, fault.Wrap("joblog: read", err)
}

// Gzip returns the log as a gzip file of that many bytes whose content is the text, if it has ended. The file is
// the Text's, and at its beginning.
func (t *Text) Gzip() (f io.Reader, size int64, ok bool) {
	if t.Live {
		return nil, 0, false
	}
	return io.NewSectionReader(t.file, 0, t.packed), t.packed, true
}

// Seek is part of io.Seeker.
func (t *Text) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += t.want
	case io.SeekEnd:
		offset += t.Size
	}
	if offset < 0 {
		return 0, fault.E(fault.Invalid, "joblog: seek", "there is nothing before the beginning")
	}
	t.want = offset
	return offset, nil
}

// Read is part of io.Reader.
func (t *Text) Read(b []byte) (int, error) {
	if t.want >= t.Size {
		return 0, io.EOF
	}
	if t.r == nil || t.pos > t.want {
		t.r, t.pos = t.open(), 0
	}
	if t.pos < t.want {
		n, err := io.CopyN(io.Discard, t.r, t.want-t.pos)
		t.pos += n
		if err != nil {
			return 0, err
		}
	}
	n, err := t.r.Read(b[:min(int64(len(b)), t.Size-t.pos)])
	t.pos += int64(n)
	t.want = t.pos
	return n, err
}

// Close gives the file back.
func (t *Text) Close() error { return t.file.Close() }

// failing is a reader that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// A frameText reads frames as the text that they are.
type frameText struct {
	in   *io.SectionReader
	rest []byte
	buf  *bufio.Reader
	name streams
}

func (t *frameText) Read(b []byte) (int, error) {
	if t.buf == nil {
		t.buf = bufio.NewReaderSize(t.in, 2*maxFrame)
		if _, err := t.buf.Discard(headerSize); err != nil {
			return 0, io.EOF
		}
	}
	for len(t.rest) == 0 {
		raw, err := t.buf.Peek(maxFrame)
		if len(raw) == 0 {
			if err == nil {
				err = io.EOF
			}
			return 0, err
		}
		e, n, ok, err := t.name.parseFrame(raw)
		if err != nil {
			return 0, io.EOF // the frame that was being written
		}
		if ok {
			t.rest = e.appendTo(t.rest[:0])
		}
		_, _ = t.buf.Discard(n) // it was peeked at
	}
	n := copy(b, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}
