package jobweb

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/joblog"
	"github.com/gitroost/gitroost/internal/jobview"
)

// logPolicy lets a browser show a log and do nothing else with it: what a job says is a stranger's text.
const logPolicy = "default-src 'none'; sandbox; frame-ancestors 'none'"

// sendLog answers GET /jobs/<id>/log (S0-19, S0-21).
func (x *visit) sendLog() {
	v, ok := x.see()
	if !ok {
		return
	}
	x.w.Header().Set("Content-Security-Policy", logPolicy)
	q := x.r.URL.Query()
	attempt := 0
	if s := q.Get("attempt"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > joblog.MaxAttempt {
			x.fail(fault.E(fault.Invalid, "jobweb: log", "attempt is a number from 1"))
			return
		}
		attempt = n
	}
	events := strings.Contains(x.r.Header.Get("Accept"), "text/event-stream")
	if follow := q.Get("follow"); events || follow != "" && follow != "0" && follow != "false" {
		x.follow(attempt, events)
		return
	}
	done, ok := x.reading()
	if !ok {
		return
	}
	defer done()
	t, err := x.h.board.Text(x.r.Context(), x.id, attempt)
	if err != nil {
		x.fail(err)
		return
	}
	defer t.Close()
	head := x.w.Header()
	head.Set("Content-Type", "text/plain; charset=utf-8")
	head.Add("Vary", "Accept-Encoding")
	if t.Live || v.Private {
		head.Set("Cache-Control", "no-store")
	} else {
		head.Set("Cache-Control", "no-cache")
	}
	tag := fmt.Sprintf("%s.%d.%d", x.id, attempt, t.Time.UnixMilli())
	if f, size, ok := t.Gzip(); ok && takesGzip(x.r.Header.Get("Accept-Encoding")) && x.r.Header.Get("Range") == "" {
		// As it lies on the disk.
		head.Set("Content-Encoding", "gzip")
		head.Set("ETag", `"`+tag+`.gz"`)
		if strings.Contains(x.r.Header.Get("If-None-Match"), tag+".gz") {
			x.w.WriteHeader(http.StatusNotModified)
			return
		}
		head.Set("Content-Length", strconv.FormatInt(size, 10))
		x.w.WriteHeader(http.StatusOK)
		if x.r.Method != http.MethodHead {
			_, _ = io.Copy(x.w, f) // a visitor who left is nobody's loss
		}
		return
	}
	if !t.Live {
		head.Set("ETag", `"`+tag+`"`)
	}
	http.ServeContent(x.w, x.r, "", time.Time{}, t)
}

// reading takes a place among those who read a log; false means that there is none, and that this was answered.
func (x *visit) reading() (done func(), ok bool) {
	select {
	case x.h.readers <- struct{}{}:
		return func() { <-x.h.readers }, true
	default:
		x.fail(fault.E(fault.Busy, "jobweb: log", "too many logs are being read; try again"))
		return nil, false
	}
}

// takesGzip reads an Accept-Encoding header.
func takesGzip(header string) bool {
	for part := range strings.SplitSeq(strings.ToLower(header), ",") {
		name, params, _ := strings.Cut(part, ";")
		if n := strings.TrimSpace(name); n != "gzip" && n != "x-gzip" && n != "*" {
			continue
		}
		q := strings.TrimSpace(params)
		return q != "q=0" && q != "q=0.0" && q != "q=0.00" && q != "q=0.000"
	}
	return false
}

// follow sends a log while it grows, and waits for it to begin: as text, or as server-sent events.
func (x *visit) follow(attempt int, events bool) {
	one, from := attempt > 0, int64(0)
	place := x.r.Header.Get("Last-Event-ID")
	if place == "" {
		place = x.r.URL.Query().Get("from")
	}
	if place != "" {
		n, offset, ok := jobview.ParsePlace(place)
		if !ok {
			x.fail(fault.E(fault.Invalid, "jobweb: follow", "a place in a log is <offset>, or <attempt>.<offset>"))
			return
		}
		if !one || n == attempt {
			attempt, from = n, offset
		}
	}
	if !x.local { // the operator finds a place however many strangers there are
		leave, ok := x.h.follows.enter(x.h.cfg.Network(x.r))
		if !ok {
			x.fail(fault.E(fault.Busy, "jobweb: follow", "too many follow logs here; try again, or read the log without follow"))
			return
		}
		defer leave()
	}
	ctx := x.r.Context()
	t, err := x.h.board.Follow(ctx, x.id, attempt, from, one)
	if err != nil {
		x.fail(err)
		return
	}
	defer t.Close()
	head := x.w.Header()
	head.Set("Cache-Control", "no-store")
	head.Set("X-Accel-Buffering", "no") // a proxy in front shall not wait either
	head.Set("Content-Type", "text/plain; charset=utf-8")
	if events {
		head.Set("Content-Type", "text/event-stream")
	}
	if x.r.Method == http.MethodHead {
		return
	}
	if events {
		x.sendEvents(ctx, t, place)
		return
	}
	if x.w.flush() != nil { // whoever waits for a job that waits knows that we listen
		return
	}
	var buf []byte
	for {
		lines, err := t.Next(ctx)
		if err != nil {
			if fault.Is(err, fault.Closing) && ctx.Err() == nil {
				_, _ = x.w.Write([]byte("gitroost: the server is stopping; ask again for what follows\n"))
			}
			return
		}
		buf = buf[:0]
		for i := range lines {
			buf = lines[i].AppendTo(buf)
		}
		if _, err := x.w.Write(buf); err != nil || x.w.flush() != nil {
			return
		}
	}
}

// sendEvents sends each line as an event whose id is the place behind it: a browser that comes back says it, and misses
// nothing. At the end comes an event "end" with the job. Whoever comes back after that is told by 204 not to come again.
func (x *visit) sendEvents(ctx context.Context, t *jobview.Tail, resumed string) {
	type batch struct {
		text []byte
		err  error
	}
	next := make(chan batch)
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	defer func() { stop(); <-done }()
	go func() {
		defer close(done)
		for {
			lines, err := t.Next(ctx)
			b := batch{err: err}
			for i := range lines {
				b.text = appendEvent(b.text, t.Attempt(), &lines[i])
			}
			select {
			case next <- b:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	started := false
	begin := func() error {
		started = true
		return x.w.flush()
	}
	tick := time.NewTicker(x.h.cfg.KeepAlive)
	defer tick.Stop()
	grace := time.NewTimer(100 * time.Millisecond)
	defer grace.Stop()
	for {
		var b batch
		select {
		case b = <-next:
		case <-grace.C: // it is not over: say that we listen
			if !started && begin() != nil {
				return
			}
			continue
		case <-tick.C:
			b.text = []byte(": still here\n\n")
		case <-ctx.Done():
			return
		}
		switch {
		case b.err == io.EOF && !started && resumed != "":
			x.w.WriteHeader(http.StatusNoContent)
			return
		case b.err == io.EOF:
			v, err := t.End(ctx)
			if err != nil {
				return
			}
			data, _ := json.Marshal(v)
			b.text = fmt.Appendf(nil, "event: end\ndata: %s\n\n", data)
		case fault.Is(b.err, fault.Closing) && ctx.Err() == nil:
			b.text = []byte("event: stopping\ndata: the server is stopping\nretry: 5000\n\n")
		case b.err != nil:
			return
		}
		if started = true; len(b.text) > 0 {
			if _, err := x.w.Write(b.text); err != nil || x.w.flush() != nil {
				return
			}
		}
		if b.err != nil {
			return
		}
	}
}

// appendEvent appends a line as an event. A part of a line that goes on is an event "part".
func appendEvent(dst []byte, attempt int, l *joblog.Line) []byte {
	dst = append(dst, "id: "+jobview.Place(attempt, l.Next)+"\n"...)
	if l.Part {
		dst = append(dst, "event: part\n"...)
	}
	dst = append(dst, "data: "...)
	dst = append(dst, bytes.ReplaceAll([]byte(jobview.Readable(l.Text)), []byte{'\n'}, nil)...)
	return append(dst, "\n\n"...)
}

// A crowd bounds how many there are at a time, in all and of each network.
type crowd struct {
	max, each int

	mu    sync.Mutex
	n     int
	count map[string]int
}

// enter returns a function that gives the place back, or false if there is none.
func (c *crowd) enter(network string) (leave func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n >= c.max || network != "" && c.count[network] >= c.each {
		return nil, false
	}
	if c.count == nil {
		c.count = map[string]int{}
	}
	c.n++
	c.count[network]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.n--
		if c.count[network]--; c.count[network] == 0 {
			delete(c.count, network)
		}
	}, true
}
