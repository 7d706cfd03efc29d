package gitdir

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/gitroost/gitroost/internal/gitwire"
	"github.com/gitroost/gitroost/internal/run"
)

const (
	maxMakers  = 4       // per answer
	madeAhead  = 4 << 20 // bytes of what was made and is not written yet
	windowSize = 128 << 10
	windowGap  = 4 << 10 // bytes that are read for nothing rather than asked for in two
	anewBatch  = 32
)

// sending writes the pack of an ownPack.
type sending struct {
	*ownPack
	out    *gitwire.PackWriter
	making chan struct{} // the Vault's
	ofs    bool          // the client knows deltas that say how far before them their base is
	copies []int32
	anew   []int32
	deltas int // sent as such

	sum  hash.Hash
	held *semaphore.Weighted // of madeAhead
	n    int64               // bytes of the pack
	buf  []byte              // of these, what was not written yet
	win  []byte              // a piece of a pack
	from int64               // where it begins
	of   uint16              // in which one
}

// plan says of everything that is sent whether it is copied. It is errOpaque if git has to.
func (s *sending) plan() error {
	if len(s.sent) == 0 {
		return errOpaque
	}
	o := s.o
	slices.SortFunc(s.sent, func(a, b int32) int {
		x, y := &o.parts[a], &o.parts[b]
		return cmp.Or(cmp.Compare(x.pack, y.pack), cmp.Compare(x.off, y.off))
	})
	for _, i := range s.sent {
		if err := o.look(s.m, i); err != nil {
			return err
		}
		t := &o.parts[i]
		if !t.delta || o.parts[t.base].sent {
			s.copies = append(s.copies, i)
			continue
		}
		if t.atMost > maxAnew {
			return errOpaque
		}
		s.anew = append(s.anew, i)
	}
	// What several of them are made of is worth keeping while they are made.
	met := make(map[int32]struct{}, len(s.anew))
	for _, i := range s.anew {
		for {
			if _, ok := met[i]; ok {
				o.parts[i].shared = true
				break
			}
			met[i] = struct{}{}
			if !o.parts[i].delta {
				break
			}
			i = o.parts[i].base
		}
	}
	return nil
}

// made is an object that was made anew.
type made struct {
	part int32
	data []byte
	held int64 // of madeAhead
}

var packBuffers = sync.Pool{New: func() any {
	return &[2][]byte{make([]byte, 0, windowSize), make([]byte, 0, windowSize)}
}}

// run writes the pack. At most maxMakers make what is made anew, while the rest is copied.
func (s *sending) run(ctx context.Context) error {
	bufs := packBuffers.Get().(*[2][]byte)
	s.buf, s.win = bufs[0][:0], bufs[1][:0]
	defer packBuffers.Put(bufs)
	s.sum = sha1.New()
	ctx, stop := context.WithCancel(ctx)
	results, err := s.start(ctx)
	defer func() {
		stop()
		for range results { // until all makers have ended
		}
	}()
	head := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(s.sent)))
	if err := s.write(head); err != nil {
		return err
	}
	// What rests on something that is made anew comes last: then it is known where that stands.
	late, err2 := s.copyAll(ctx, s.copies, false, results)
	if err2 != nil {
		return err2
	}
	for r := range results {
		if err := s.place(r); err != nil {
			return err
		}
	}
	if err := *err; err != nil {
		return err
	}
	if _, err := s.copyAll(ctx, late, true, nil); err != nil {
		return err
	}
	if err := s.flush(); err != nil {
		return err
	}
	_, werr := s.out.Write(s.sum.Sum(nil))
	return wrote(werr)
}

// start has everything of anew made. The channel is closed when all of it was taken, or something went wrong:
// then that is known, too.
func (s *sending) start(ctx context.Context) (<-chan made, *error) {
	results, failed := make(chan made, 64), new(error)
	if len(s.anew) == 0 {
		close(results)
		return results, failed
	}
	s.held = semaphore.NewWeighted(madeAhead)
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	var large sync.Mutex
	batches := (len(s.anew) + anewBatch - 1) / anewBatch
	for range min(maxMakers, runtime.GOMAXPROCS(0), batches) {
		group.Go(func() error {
			m := makers.Get().(*maker)
			defer m.done()
			for {
				from := (int(next.Add(1)) - 1) * anewBatch
				if from >= len(s.anew) {
					return nil
				}
				for _, i := range s.anew[from:min(from+anewBatch, len(s.anew))] {
					if err := s.anewOne(ctx, m, i, &large, results); err != nil {
						return err
					}
				}
			}
		})
	}
	go func() {
		*failed = group.Wait()
		close(results)
	}()
	return results, failed
}

// anewOne makes one object. Of large ones only one is made at a time.
func (s *sending) anewOne(ctx context.Context, m *maker, i int32, large *sync.Mutex, results chan<- made) error {
	if s.o.parts[i].atMost > smallAnew {
		large.Lock()
		defer large.Unlock()
		defer m.trim()
	}
	select {
	case s.making <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	data, err := m.anew(ctx, s.o, i)
	<-s.making
	if err != nil {
		return err
	}
	n := min(int64(len(data)), madeAhead)
	if err := s.held.Acquire(ctx, n); err != nil {
		return err
	}
	select {
	case results <- made{i, bytes.Clone(data), n}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// place writes what was made anew.
func (s *sending) place(r made) error {
	s.o.parts[r.part].at = s.n
	err := s.write(r.data)
	s.held.Release(r.held)
	return err
}

// copyAll copies those of list whose bases were written, and returns the others; with forced all. In between
// it writes what comes from the makers.
func (s *sending) copyAll(ctx context.Context, list []int32, forced bool, results <-chan made) (late []int32, err error) {
	for k, i := range list {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		select {
		case r, ok := <-results:
			if !ok {
				results = nil
			} else if err := s.place(r); err != nil {
				return nil, err
			}
		default:
		}
		if t := &s.o.parts[i]; !forced && t.delta && s.o.parts[t.base].at == 0 {
			late = append(late, i)
			continue
		}
		if err := s.copy(list[k:]); err != nil {
			return nil, err
		}
	}
	return late, nil
}

// copy writes the first of list as it lies in its pack; the others tell what will be asked for next.
func (s *sending) copy(list []int32) error {
	t := &s.o.parts[list[0]]
	p := s.o.list[t.pack]
	b, err := s.view(list)
	if err != nil {
		return err
	}
	t.at = s.n
	sum := crc32.ChecksumIEEE(b)
	head := b[:t.data]
	var buf [32]byte
	if t.delta {
		s.deltas++
		base := &s.o.parts[t.base]
		if s.ofs && base.at > 0 {
			head = appendBack(appendPartHead(buf[:0], 6, t.size), t.at-base.at)
		} else {
			name := s.o.list[base.pack].name(base.place)
			head = append(appendPartHead(buf[:0], 7, t.size), name[:]...)
		}
	}
	if err := s.write(head); err != nil {
		return err
	}
	if err := s.write(b[t.data:]); err != nil {
		return err
	}
	for off := t.off + int64(len(b)); off < t.end; {
		s.win = s.win[:min(t.end-off, windowSize)]
		s.from = -1
		if _, err := p.file.ReadAt(s.win, off); err != nil {
			return noEOF(err)
		}
		sum = crc32.Update(sum, crc32.IEEETable, s.win)
		off += int64(len(s.win))
		if err := s.write(s.win); err != nil {
			return err
		}
	}
	if sum != p.sum(t.place) {
		return errDamaged
	}
	return nil
}

// view returns the bytes of the first of list, as many as fit into a window.
func (s *sending) view(list []int32) ([]byte, error) {
	t := &s.o.parts[list[0]]
	n := min(t.end-t.off, windowSize)
	if s.from >= 0 && s.of == t.pack && t.off >= s.from && t.off+n <= s.from+int64(len(s.win)) {
		return s.win[t.off-s.from:][:n], nil
	}
	end := t.off + n
	for _, i := range list[1:] {
		u := &s.o.parts[i]
		if u.pack != t.pack || u.off > end+windowGap || u.end-t.off > windowSize {
			break
		}
		end = max(end, u.end)
	}
	s.win, s.from, s.of = s.win[:end-t.off], t.off, t.pack
	if _, err := s.o.list[t.pack].file.ReadAt(s.win, t.off); err != nil {
		s.from = -1
		return nil, noEOF(err)
	}
	return s.win[:n], nil
}

// write appends p to the pack.
func (s *sending) write(p []byte) error {
	s.n += int64(len(p))
	for len(p) > 0 {
		n := copy(s.buf[len(s.buf):windowSize], p)
		s.buf, p = s.buf[:len(s.buf)+n], p[n:]
		if len(s.buf) == windowSize {
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush writes what write has kept back.
func (s *sending) flush() error {
	s.sum.Write(s.buf)
	_, err := s.out.Write(s.buf)
	s.buf = s.buf[:0]
	return wrote(err)
}

// wrote marks an error of whoever reads.
func wrote(err error) error {
	if err != nil {
		return &run.WriteError{Err: err}
	}
	return nil
}
