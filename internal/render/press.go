package render

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

const minGzip = 4 << 10 // bytes from which a page has a gzip sibling

// A page is one file of the site to be.
type page struct {
	path string // below the site, with slashes
	base string // a digest of everything that make depends on, apart from what state tells; "" is never reused
	raw  bool   // not a page of ours: no gzip, and nothing in its place

	// state says what a path of the repository is, for pages whose Markdown links to it.
	state func(path string) string

	// fetch gets what is needed from the source; the function it returns makes the page, in another
	// goroutine.
	fetch func(ctx context.Context) (func() (output, error), error)
}

// An output is what a page became. partial says that something was missing: it is not used again.
type output struct {
	data    []byte
	links   []string
	partial bool
}

// A printed is one page on its way to its place.
type printed struct {
	page
	key     string // "" until it was made
	from    *record
	twin    bool // wait for the page of the same key
	gz      []byte
	out     output
	failure error
	done    chan struct{}
}

// A press makes pages in workers and puts them in their places in the order in which they were
// given, so that what is left out does not depend on who was faster.
type press struct {
	dir    string
	last   *old
	opt    *Options
	ctx    context.Context
	cancel context.CancelCauseFunc

	queue chan *printed
	slots chan struct{}
	group sync.WaitGroup

	// of the goroutine that gives
	pending map[string]bool

	// of the goroutine that places
	placed map[string]record
	made   map[string]bool // folders
	list   []record
	report Report
	closed bool
	stub   func(path string) []byte
	began  time.Time
	told   time.Time
}

func newPress(ctx context.Context, dir string, last *old, opt *Options) *press {
	p := &press{dir: dir, last: last, opt: opt, queue: make(chan *printed, 4*opt.Workers), slots: make(chan struct{}, opt.Workers),
		pending: map[string]bool{}, placed: map[string]record{}, made: map[string]bool{}}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	p.began = opt.Now()
	p.told = p.began
	return p
}

func (p *page) key(links []string) string {
	if p.base == "" {
		return ""
	}
	parts := []string{p.base}
	for _, l := range links {
		parts = append(parts, p.state(l))
	}
	return digest(parts...)
}

// known returns the file that pg need not be made again for.
func (p *press) known(pg *page) (key string, rec *record, twin bool) {
	if pg.base == "" {
		return "", nil, false
	}
	var links []string
	if pg.state != nil {
		links = p.last.links[pg.base]
	}
	key = pg.key(links)
	if p.pending[key] && (pg.state == nil || len(links) > 0) {
		return key, nil, true
	}
	if r, ok := p.last.byKey[key]; ok && slices.Equal(r.Links, links) {
		if fi, err := os.Lstat(filepath.Join(p.last.dir, r.Path)); err == nil && fi.Mode().IsRegular() && fi.Size() == r.Size {
			return key, &r, false
		}
	}
	return key, nil, false
}

// give hands a page in. It waits while too many are on their way.
func (p *press) give(pg page) error {
	key, rec, twin := p.known(&pg)
	w := &printed{page: pg, from: rec, twin: twin, done: make(chan struct{})}
	if rec != nil || twin {
		w.key = key
		close(w.done)
	} else {
		work, err := pg.fetch(p.ctx)
		if err != nil {
			return err
		}
		select {
		case p.slots <- struct{}{}:
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		}
		p.group.Go(func() {
			defer func() { <-p.slots }()
			defer close(w.done)
			w.print(work)
		})
	}
	if key != "" && pg.state == nil {
		p.pending[key] = true
	}
	select {
	case p.queue <- w:
		return nil
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
}

func (w *printed) print(work func() (output, error)) {
	defer func() {
		if r := recover(); r != nil {
			w.failure = fmt.Errorf("the page %s broke: %v\n%s", w.path, r, debug.Stack())
		}
	}()
	if w.out, w.failure = work(); w.failure != nil {
		return
	}
	if !w.out.partial {
		w.key = w.page.key(w.out.links)
	}
	if w.raw || len(w.out.data) < minGzip {
		return
	}
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, 5)
	z.Write(w.out.data)
	z.Close()
	w.gz = b.Bytes()
}

// place puts every page that comes into its place, until the queue is closed.
func (p *press) place() error {
	for w := range p.queue {
		<-w.done
		if err := context.Cause(p.ctx); err != nil {
			return err
		}
		if w.failure != nil {
			return w.failure
		}
		if err := p.put(w); err != nil {
			return err
		}
		if now := p.opt.Now(); p.opt.Progress != nil && now.Sub(p.told) >= time.Second {
			p.told = now
			p.opt.Progress(len(p.list))
		}
	}
	return nil
}

func (p *press) put(w *printed) error {
	if twin, ok := p.placed[w.key]; ok && w.key != "" {
		return p.link(p.dir, twin, w, true)
	}
	if w.twin {
		return p.leaveOut(w) // its twin was left out
	}
	size := int64(len(w.out.data) + len(w.gz))
	if w.from != nil {
		size = w.from.Size + w.from.Gzip
	}
	if p.closed || p.report.Bytes+size > p.opt.Caps.Bytes {
		p.closed = true
		return p.leaveOut(w)
	}
	p.report.Bytes += size
	if w.from != nil {
		return p.link(p.last.dir, *w.from, w, false)
	}
	p.report.Rendered++
	if w.out.partial {
		p.report.Missing++
	}
	if err := p.write(w.path, w.out.data, w.gz); err != nil {
		return err
	}
	p.note(record{Path: w.path, Key: w.key, Base: w.base, Links: w.out.links, Size: int64(len(w.out.data)), Gzip: int64(len(w.gz))})
	return nil
}

func (p *press) note(r record) {
	if r.Key == "" {
		r.Base, r.Links = "", nil
	} else if !r.Dup {
		p.placed[r.Key] = r
	}
	p.list = append(p.list, r)
	p.report.Files++
}

// leaveOut says on the page itself that it is not there.
func (p *press) leaveOut(w *printed) error {
	p.report.LeftOut++
	if w.raw {
		return nil
	}
	data := p.stub(w.path)
	if err := p.write(w.path, data, nil); err != nil {
		return err
	}
	p.note(record{Path: w.path, Size: int64(len(data))})
	return nil
}

func (p *press) folder(path string) (string, error) {
	full := filepath.Join(p.dir, filepath.FromSlash(path))
	dir := filepath.Dir(full)
	if p.made[dir] {
		return full, nil
	}
	p.made[dir] = true
	return full, os.MkdirAll(dir, 0o755)
}

func (p *press) write(path string, data, gz []byte) error {
	full, err := p.folder(path)
	if err != nil {
		return err
	}
	if err := writeNew(full, data); err != nil || gz == nil {
		return err
	}
	return writeNew(full+".gz", gz)
}

// writeNew never writes into a file that is there: it may be a link to one of the last generation.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// link puts what r is below dir into the place of w.
func (p *press) link(dir string, r record, w *printed, dup bool) error {
	full, err := p.folder(w.path)
	if err != nil {
		return err
	}
	from := filepath.Join(dir, filepath.FromSlash(r.Path))
	if err := linkOrCopy(from, full); err != nil {
		return err
	}
	if r.Gzip > 0 {
		if err := linkOrCopy(from+".gz", full+".gz"); err != nil {
			return err
		}
	}
	r.Path, r.Dup = w.path, dup
	p.note(r)
	return nil
}

// linkOrCopy copies where a file has as many links as it can have.
func linkOrCopy(from, to string) error {
	err := os.Link(from, to)
	if err == nil || strings.HasSuffix(from, ".gz") && os.IsNotExist(err) {
		return err
	}
	data, rerr := os.ReadFile(from)
	if rerr != nil {
		return err
	}
	if werr := writeNew(to, data); werr != nil && !os.IsExist(werr) {
		return &fs.PathError{Op: "copy", Path: to, Err: werr}
	}
	return nil
}
