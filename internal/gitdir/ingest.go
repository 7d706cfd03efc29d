package gitdir

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/durable"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
	"github.com/gitroost/gitroost/internal/steward"
)

// Ingest implements steward.Vault. The pack is streamed: memory does not grow with it. pack must
// come to an end, or to an error, soon after ctx has ended. A bad pack is a fault.Refused, one over
// a limit a fault.TooLarge, one that ends early a fault.Invalid; a full disk is a fault.Busy. The
// Quarantine must be given a Discard in the end.
func (v *Vault) Ingest(ctx context.Context, addr grasp.Addr, pack io.Reader, opt steward.IngestOptions) (steward.Quarantine, error) {
	q, err := v.ingest(ctx, addr, pack, opt)
	if err != nil {
		return nil, err
	}
	return q, nil
}

func (v *Vault) ingest(ctx context.Context, addr grasp.Addr, pack io.Reader, opt steward.IngestOptions) (_ *quarantine, err error) {
	r, err := v.acquire(addr)
	if err != nil {
		return nil, err
	}
	q := &quarantine{r: r, life: r.life()}
	defer func() {
		if err != nil {
			q.Discard()
		}
	}()
	if _, err := r.refs(ctx); err != nil { // tidies at the first touch
		return nil, err
	}
	in := &packReader{r: pack, max: opt.MaxBytes}
	head := make([]byte, 12)
	if n, err := io.ReadFull(in, head); err != nil {
		if n == 0 && err == io.EOF {
			return nil, fault.E(fault.Invalid, "gitdir: read pack", "no pack was sent")
		}
		return nil, explainPack(&run.ReadError{Err: err})
	}
	n, err := packHeader(head)
	if err != nil {
		return nil, refusePack(err.Error(), nil)
	}
	switch {
	case opt.MaxObjects > 0 && n > opt.MaxObjects:
		return nil, fault.Errorf(fault.TooLarge, "gitdir: read pack", "the pack has %d objects, at most %d are accepted", n, opt.MaxObjects)
	case n == 0:
		return q, emptyPack(head, in) // what git sends when it knows that nothing is missing
	}
	return q, q.index(ctx, head, in, n, opt)
}

// index lets git read the pack into the quarantine.
func (q *quarantine) index(ctx context.Context, head []byte, in *packReader, objects uint32, opt steward.IngestOptions) error {
	const op = "gitdir: read pack"
	v := q.r.v
	q.dir = v.temp("push")
	if err := os.MkdirAll(filepath.Join(q.dir, "pack"), 0o750); err != nil {
		return explainIO(op, err)
	}
	args := run.Words("index-pack", "--stdin", "--fix-thin", "--check-self-contained-and-connected")
	ignored := strings.Join(fsckIgnored, "=ignore,") + "=ignore"
	args = append(args, run.Value("--strict", ignored))
	if opt.MaxBytes > 0 {
		args = append(args, run.Int("--max-input-size", opt.MaxBytes))
	}
	if opt.Progress != nil {
		args = append(args, run.Words("--show-resolving-progress")...)
	}
	extra := []string{"GIT_OBJECT_DIRECTORY=" + q.dir}
	if objects := q.r.objects(); v.isDir(objects) {
		extra = append(extra, "GIT_ALTERNATE_OBJECT_DIRECTORIES="+objects)
	}
	var ended func()
	in.step, ended = writeAhead(filepath.Join(q.dir, "pack"))
	defer ended()
	var out answer
	res, err := v.run(ctx, command{
		args:     args,
		env:      v.env(v.none(), int64(objects)+q.r.objectCount(), [][]pair{baseConfig, receiveConfig}, extra...),
		stdin:    io.MultiReader(bytes.NewReader(head), in),
		stdout:   &out,
		progress: opt.Progress,
		limits: run.Limits{
			CPU: v.cfg.IndexCPU, CPUPerMiB: v.cfg.IndexCPUPerMiB,
			Memory: 4<<30 + uint64(objects)*allocPerObject,
		},
	})
	// With this option git says "not self-contained" by leaving with 1: ordinary, unless the
	// pack holds all of the history.
	name, named := out.pack()
	if e, ok := run.IsExit(err); ok && e.Code == 1 && named {
		err = nil
	} else if err == nil {
		q.whole = true
	}
	if err != nil {
		return explainPack(err)
	}
	// Bytes behind the pack were read ahead and given back, lie in the pipe, or come yet.
	if !named || out.surplus() || res.Unread || !in.atEnd() {
		if in.err != nil {
			return explainPack(&run.ReadError{Err: in.err})
		}
		return refusePack("there are bytes behind its end", nil)
	}
	if err := v.cfg.step("ingest: indexed"); err != nil {
		return fault.Wrap(op, err)
	}
	q.name, q.bytes = "pack-"+name, in.n
	if q.packs, err = listPacks(q.dir, nil); err != nil {
		return explainIO(op, err)
	}
	if len(q.packs.list) != 1 {
		return fault.E(fault.Internal, op, "git wrote no pack that can be read")
	}
	q.sync()
	return nil
}

// aheadEvery is how many bytes of a pack arrive before the disk is told of them. What is small is synced as fast
// without.
const aheadEvery = 16 << 20

// writeAhead has what git writes of a pack into dir brought to disk while more of it arrives, so that less is left
// for the sync in the end. arrived is told of each aheadEvery bytes, and returns at once; ended waits until nothing
// is at work.
func writeAhead(dir string) (arrived, ended func()) {
	more, end, done := make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-more:
			case <-end:
				return
			}
			entries, _ := os.ReadDir(dir)
			for _, e := range entries {
				if strings.HasPrefix(e.Name(), "tmp_pack_") {
					durable.Begin(filepath.Join(dir, e.Name()))
				}
			}
		}
	}()
	arrived = func() {
		select {
		case more <- struct{}{}:
		default: // the disk is behind, and will be told of all
		}
	}
	return arrived, func() { close(end); <-done }
}

// emptyPack reads the rest of a pack without objects: its checksum.
func emptyPack(head []byte, in *packReader) error {
	sum := make([]byte, sha1.Size)
	if _, err := io.ReadFull(in, sum); err != nil {
		return explainPack(&run.ReadError{Err: err})
	}
	if want := sha1.Sum(head); !bytes.Equal(sum, want[:]) {
		return refusePack("its checksum is wrong", nil)
	}
	if !in.atEnd() {
		if in.err != nil {
			return explainPack(&run.ReadError{Err: in.err})
		}
		return refusePack("there are bytes behind its end", nil)
	}
	return nil
}

// An answer keeps what index-pack prints: "pack\t", the name, a line feed, and then what it had
// read and not needed.
type answer struct {
	b    [64]byte
	n    int
	more bool
}

func (a *answer) Write(p []byte) (int, error) {
	k := copy(a.b[a.n:], p)
	a.n += k
	a.more = a.more || k < len(p)
	return len(p), nil
}

const answerLen = len("pack\t") + 40 + 1

func (a *answer) pack() (string, bool) {
	s, ok := strings.CutPrefix(string(a.b[:min(a.n, answerLen)]), "pack\t")
	name, found := strings.CutSuffix(s, "\n")
	return name, ok && found && grasp.IsHex(name, 40)
}

func (a *answer) surplus() bool { return a.more || a.n > answerLen }

// A packReader counts, stops at a limit, and remembers why it stopped.
type packReader struct {
	r   io.Reader
	max int64 // or 0
	n   int64
	err error

	step func() // called for each aheadEvery bytes; or nil
}

func (p *packReader) Read(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.r.Read(b)
	before := p.n / aheadEvery
	if p.n += int64(n); p.step != nil && p.n/aheadEvery > before {
		p.step()
	}
	if p.max > 0 && p.n > p.max {
		p.err = fault.Errorf(fault.TooLarge, "gitdir: read pack", "the pack is larger than %d bytes", p.max)
		return 0, p.err
	}
	if err != nil && err != io.EOF {
		p.err = err
	}
	return n, err
}

// atEnd reports whether nothing follows. On false err may say why that is not known.
func (p *packReader) atEnd() bool {
	var b [1]byte
	for range 100 {
		n, err := p.Read(b[:])
		if n > 0 {
			return false
		}
		if err != nil {
			return err == io.EOF
		}
	}
	return false
}

// refusePack says what is wrong with a pack.
func refusePack(text string, cause error) error {
	text = "the pack was refused: " + text
	ref := &grasp.Refusal{Rule: "H-253", Prefix: grasp.Invalid, Text: text}
	return &fault.Error{Code: fault.Refused, Op: "gitdir: read pack", Err: errors.Join(ref, cause)}
}

// explainPack gives the failure of index-pack its code, and the line of git's that says why.
func explainPack(err error) error {
	e, ok := run.IsExit(err)
	if ok && strings.Contains(e.Stderr, "maximum allowed size") {
		return &fault.Error{Code: fault.TooLarge, Op: "gitdir: read pack", Text: "the pack is larger than is allowed", Err: err}
	}
	out := explain("gitdir: read pack", err, fault.Refused, "")
	if ok && fault.Is(out, fault.Refused) {
		return refusePack(reason(e.Stderr), err)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return &fault.Error{Code: fault.Invalid, Op: "gitdir: read pack", Text: "the pack ended early", Err: err}
	}
	return out
}

// reason returns the line of git's error output that says most, fit for a terminal.
func reason(stderr string) string {
	var found string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "error: "); ok {
			found = text
			break
		}
		if text, ok := strings.CutPrefix(line, "fatal: "); ok {
			found = text
		}
	}
	if found == "" || strings.Contains(found, "/incoming/") {
		return "git could not read it"
	}
	found = strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, found)
	return fmt.Sprintf("%.200s", found)
}
