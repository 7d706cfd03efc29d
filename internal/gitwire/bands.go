package gitwire

import (
	"io"
	"sync"

	"github.com/gitroost/gitroost/grasp"
)

// maxBand is what one packet of side-band-64k carries at most, in bytes.
const maxBand = MaxPacket - 5

// A PackWriter writes the section "packfile" of an answer in protocol v2 (H-224): band 1 is the pack,
// band 2 is what a person may read. The answer begins with the first byte of either. It is safe for
// concurrent use; after the first error of the writer below it, it writes nothing more.
type PackWriter struct {
	mu    sync.Mutex
	w     io.Writer
	buf   []byte
	head  []byte
	n     int64
	moved bool // since Alive looked
	err   error
}

// NewPackWriter returns a PackWriter that writes to w: one piece for each that it is given.
func NewPackWriter(w io.Writer) *PackWriter { return &PackWriter{w: w} }

// Shallow puts the section "shallow-info" before the pack: the client is told that these commits have no parents
// for it (H-226). It is for before the first byte, and writes nothing by itself.
func (b *PackWriter) Shallow(commits []grasp.OID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.head = AppendPacket(b.head, "shallow-info\n")
	for _, c := range commits {
		b.head = AppendPacket(b.head, "shallow ", string(c))
	}
	b.head = AppendDelim(b.head)
}

// Write writes p as the next bytes of the pack.
func (b *PackWriter) Write(p []byte) (int, error) { return b.write(1, p) }

// Say writes p into band 2, as it is.
func (b *PackWriter) Say(p []byte) (int, error) { return b.write(2, p) }

// Alive writes an empty packet of band 1 unless something was written since the last call: so that who
// looks at progress sees a sign of life while git counts (H-257).
func (b *PackWriter) Alive() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.moved {
		_ = b.send(appendBand(b.begin(), 1, nil)) // who wrote next learns of the error
	}
	b.moved = false
}

// End writes the flush packet behind the last band.
func (b *PackWriter) End() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.send(AppendFlush(b.begin()))
}

// Begun reports whether something was written.
func (b *PackWriter) Begun() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n > 0
}

func (b *PackWriter) write(band byte, p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(p) == 0 || b.err != nil {
		return 0, b.err
	}
	b.moved = true
	out, whole := b.begin(), len(p)
	for len(p) > 0 {
		n := min(len(p), maxBand)
		out = appendBand(out, band, p[:n])
		p = p[n:]
	}
	if err := b.send(out); err != nil {
		return 0, err
	}
	return whole, nil
}

// begin returns what is written before the next packet.
func (b *PackWriter) begin() []byte {
	b.buf = b.buf[:0]
	if b.n == 0 {
		b.buf = AppendPacket(append(b.buf, b.head...), "packfile\n")
	}
	return b.buf
}

func (b *PackWriter) send(out []byte) error {
	b.buf = out
	if b.err == nil {
		var n int
		n, b.err = b.w.Write(out)
		b.n += int64(n)
	}
	return b.err
}

// appendBand appends one packet of a side-band.
func appendBand(dst []byte, band byte, p []byte) []byte {
	return append(append(appendLen(dst, len(p)+5), band), p...)
}
