package githttp

import (
	"bufio"
	"compress/gzip"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// progress is how much must move in one idle time for a request or an answer to count as alive.
const progress = 1 << 10

// bufSize is how much is copied at a time: as much as a pipe holds.
const bufSize = 64 << 10

var buffers = sync.Pool{New: func() any { return new([bufSize]byte) }}

// pieceSize is how much is sent at a time, under one deadline.
const pieceSize = 128 << 10

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// A body is the body of a request as it comes from the network. Whoever sends it has idle time for
// every progress bytes; only time spent waiting for them counts, not what their reader takes to
// digest them. It is safe for concurrent use: a reader that was left behind by whoever began it
// does not disturb the draining.
type body struct {
	x    *exchange
	src  io.ReadCloser
	done chan struct{} // closed when there is nothing more to come, for whatever reason

	mu       sync.Mutex
	idle     time.Duration
	patience time.Duration // what is left of idle for the next progress bytes
	until    time.Time     // if not zero, no deadline is later than this
	n        int64         // bytes read
	mark     int64         // n when patience was last whole
	err      error         // io.EOF, or why there is no more
}

func newBody(x *exchange) *body {
	b := &body{x: x, src: x.r.Body, done: make(chan struct{}), idle: x.h.cfg.Idle, patience: x.h.cfg.Idle}
	if b.src == nil || b.src == http.NoBody {
		b.err = io.EOF
		close(b.done)
	}
	return b
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		// No deadline is set behind the end: the server listens there for the client's leaving,
		// and would take the deadline for that.
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	began := b.x.h.cfg.Now()
	at := began.Add(b.patience)
	if !b.until.IsZero() && b.until.Before(at) {
		at = b.until
	}
	_ = b.x.rc.SetReadDeadline(at) // some writers have none: then only the wall ends it
	n, err := b.src.Read(p)
	if b.x.r.ProtoMajor >= 2 {
		// Under HTTP/2 a deadline ends the stream even when nobody reads.
		_ = b.x.rc.SetReadDeadline(time.Time{})
	}
	b.n += int64(n)
	b.x.h.stats.BytesIn.Add(int64(n))
	if b.n-b.mark >= progress {
		b.mark, b.patience = b.n, b.idle
	} else {
		b.patience -= b.x.h.cfg.Now().Sub(began)
	}
	if err != nil {
		b.err = err
		close(b.done)
	}
	return n, err
}

// hurry lets no deadline be later than d from now; zero takes that back.
func (b *body) hurry(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until = time.Time{}
	if d > 0 {
		b.until = b.x.h.cfg.Now().Add(d)
	}
}

// ended reports how the body ended: not at all, cleanly, or with an error of the network.
func (b *body) ended() (end bool, err error) {
	select {
	case <-b.done:
	default:
		return false, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == io.EOF {
		return true, nil
	}
	return true, b.err
}

func (b *body) bytes() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n
}

// drain throws away what is left, at most limit bytes, and reports whether that was all. Git
// ignores an answer that arrives while it still sends (H-256).
func (b *body) drain(limit int64) bool {
	if end, err := b.ended(); end {
		return err == nil
	}
	if n := b.x.r.ContentLength; n >= 0 && n-b.bytes() > limit {
		return false
	}
	if b.bytes() == 0 && b.x.r.Header.Get("Expect") != "" {
		return true // the client asked first, and sends nothing until it is told to
	}
	b.mu.Lock()
	b.idle, b.patience, b.until = b.x.h.cfg.DrainIdle, b.x.h.cfg.DrainIdle, time.Time{}
	b.mu.Unlock()
	stop := b.x.h.cfg.Now().Add(b.x.h.cfg.Wall)
	buf := buffers.Get().(*[bufSize]byte)
	defer buffers.Put(buf)
	for limit > 0 && b.x.h.cfg.Now().Before(stop) {
		n, err := b.Read(buf[:min(limit, bufSize)])
		limit -= int64(n)
		if err != nil {
			return err == io.EOF
		}
	}
	return false
}

// stalled reports whether err is a deadline of ours.
func stalled(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// decoded returns the body without its content coding. An unknown coding is answered 415, a body
// that is longer than limit 413; both return false (H-222, H-254).
func (x *exchange) decoded(limit int64, tooLarge string) (io.Reader, bool) {
	if x.r.ContentLength > limit {
		x.text(http.StatusRequestEntityTooLarge, tooLarge)
		return nil, false
	}
	switch strings.ToLower(strings.Join(x.r.Header.Values("Content-Encoding"), ",")) {
	case "", "identity":
		return x.body, true
	case "gzip", "x-gzip":
		return &inflater{body: x.body, raw: bufio.NewReader(x.body)}, true
	}
	x.text(http.StatusUnsupportedMediaType, textCoding)
	return nil, false
}

// mediaType reports whether the request has the content type for service; if not it answers 415
// (H-241). lenient takes a request without any.
func (x *exchange) mediaType(service string, lenient bool) bool {
	ct := x.r.Header.Get("Content-Type")
	if ct == "" && lenient {
		return true
	}
	if t, _, err := mime.ParseMediaType(ct); err == nil && t == "application/x-"+service+"-request" {
		return true
	}
	x.text(http.StatusUnsupportedMediaType, fmtMediaType(service))
	return false
}

// An inflater decodes one layer of gzip with one member. Its errors are those of raw, or a fault:
// Invalid for what is not gzip, TooLarge for what inflates a hundred times or more.
type inflater struct {
	body    *body
	raw     *bufio.Reader
	in, out int64
	zr      *gzip.Reader
	err     error
}

const (
	freeInflation = 1 << 20 // up to here any ratio is fine
	maxInflation  = 100
)

func (f *inflater) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	if f.zr == nil {
		if f.zr, f.err = gzip.NewReader(countIn{f}); f.err != nil {
			f.err = f.blame(f.err)
			return 0, f.err
		}
		f.zr.Multistream(false)
	}
	n, err := f.zr.Read(p)
	f.out += int64(n)
	switch {
	case err == io.EOF:
		if _, more := f.raw.ReadByte(); more == nil {
			err = fault.E(fault.Invalid, opInflate, textGzip)
		} else {
			err = more // io.EOF, or what the network says
		}
	case err != nil:
		err = f.blame(err)
	case f.out > freeInflation && f.out/maxInflation > f.in:
		err = fault.E(fault.TooLarge, opInflate, textBomb)
	}
	f.err = err
	return n, err
}

const opInflate = "githttp: inflate"

// blame tells broken gzip from a broken connection.
func (f *inflater) blame(err error) error {
	if _, broken := f.body.ended(); broken != nil {
		return broken
	}
	return &fault.Error{Code: fault.Invalid, Op: opInflate, Text: textGzip, Err: err}
}

// countIn counts what gzip reads. It is a ByteReader so that gzip takes nothing behind its member.
type countIn struct{ f *inflater }

func (c countIn) Read(p []byte) (int, error) {
	n, err := c.f.raw.Read(p)
	c.f.in += int64(n)
	return n, err
}

func (c countIn) ReadByte() (byte, error) {
	b, err := c.f.raw.ReadByte()
	if err == nil {
		c.f.in++
	}
	return b, err
}

// A capped reader fails with a fault.TooLarge that says text before it delivers more than left
// bytes.
type capped struct {
	r    io.Reader
	left int64
	text string
}

func (c *capped) Read(p []byte) (int, error) {
	if c.left < 0 {
		return 0, fault.E(fault.TooLarge, "githttp: read pack", c.text)
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left+1)])
	if c.left -= int64(n); c.left < 0 {
		// One byte more than allowed was there.
		return n - 1, fault.E(fault.TooLarge, "githttp: read pack", c.text)
	}
	return n, err
}
