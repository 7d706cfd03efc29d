package joblog

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/gitroost/gitroost/internal/durable"
)

// A log that has ended is a gzip file whose content is the text. It has members of about 64 KiB of text; the
// extra field of each says, deflated, which lines are in it:
//
//	uvarint   when the log began, in milliseconds since 1970
//	byte      the number of streams; for each a byte for the length of its name, and the name
//	for each line: uvarint milliseconds after the one before it (the first: after the beginning), a byte for
//	the stream with markPart, uvarint bytes without the line's end
//
// The last member is empty, and has always the same size: it tells the size of the text, and where
// something is missing.
const (
	memberText  = 64 << 10
	memberExtra = 60 << 10 // of the 65,535 that the format has room for
	extraID     = "GR"
	footID      = "GF"
	footFields  = 4 * 8
	footSize    = 10 + 2 + 4 + footFields + 2 + 8
)

// A packer writes such a file.
type packer struct {
	file  *durable.File
	zip   *gzip.Writer
	start time.Time

	names []string
	text  []byte
	lines []byte
	last  time.Duration
	total int64
	fresh bool // nothing is in this member
}

func newPacker(path string, start time.Time) (*packer, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	f, err := durable.Create(path, 0o640)
	if err != nil {
		return nil, err
	}
	return &packer{file: f, zip: gzip.NewWriter(f), start: start, fresh: true}, nil
}

// discard removes what was not committed.
func (p *packer) discard() { p.file.Discard() }

func (p *packer) add(e entry) error {
	number := byte(len(p.names))
	for i, name := range p.names {
		if name == e.stream {
			number = byte(i)
		}
	}
	if int(number) == len(p.names) {
		p.names = append(p.names, e.stream) // at most maxStreams and our own, by who writes frames
	}
	base := p.last
	if p.fresh {
		base = 0
	}
	p.fresh = false
	if e.part {
		number |= markPart
	}
	p.lines = binary.AppendUvarint(p.lines, uint64(max(e.at-base, 0)/time.Millisecond))
	p.lines = append(p.lines, number)
	p.lines = binary.AppendUvarint(p.lines, uint64(len(e.text)))
	p.last = max(p.last, e.at)
	p.text = e.appendTo(p.text)
	p.total += e.size()
	if len(p.text) >= memberText || len(p.lines) >= memberExtra-4096 {
		return p.member()
	}
	return nil
}

// member writes what was added as one member.
func (p *packer) member() error {
	if p.fresh {
		return nil
	}
	extra := binary.AppendUvarint(nil, uint64(p.start.UnixMilli()))
	extra = append(extra, byte(len(p.names)))
	for _, name := range p.names {
		extra = append(extra, byte(len(name)))
		extra = append(extra, name...)
	}
	extra, err := deflated(append(extra, p.lines...))
	if err != nil {
		return err
	}
	p.zip.Reset(p.file)
	p.zip.Extra = append(binary.LittleEndian.AppendUint16([]byte(extraID), uint16(len(extra))), extra...)
	if _, err := p.zip.Write(p.text); err != nil {
		return err
	}
	if err := p.zip.Close(); err != nil {
		return err
	}
	p.text, p.lines, p.fresh, p.names = p.text[:0], p.lines[:0], true, p.names[:0]
	return nil
}

// deflated returns b in fewer bytes, or a few more.
func deflated(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.DefaultCompression)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	return out.Bytes(), err
}

func (p *packer) commit(missing gap) error {
	if err := p.member(); err != nil {
		return err
	}
	if _, err := p.file.Write(foot{p.total, missing}.append(nil)); err != nil {
		return err
	}
	return p.file.Commit()
}

// A foot is what the last member tells.
type foot struct {
	size int64 // of the text
	gap  gap
}

// append appends the member by hand, so that its size depends on nothing.
func (f foot) append(dst []byte) []byte {
	dst = append(dst, 0x1f, 0x8b, 8, 4 /* FEXTRA */, 0, 0, 0, 0, 0, 255)
	dst = binary.LittleEndian.AppendUint16(dst, 4+footFields)
	dst = append(dst, footID...)
	dst = binary.LittleEndian.AppendUint16(dst, footFields)
	for _, v := range []int64{f.size, f.gap.at, f.gap.bytes, f.gap.mark} {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(v))
	}
	return append(dst, 3, 0 /* an empty block, the last one */, 0, 0, 0, 0, 0, 0, 0, 0)
}

// readFoot reads the last member of a file of that size.
func readFoot(r io.ReaderAt, size int64) (f foot, err error) {
	b := make([]byte, footSize)
	if size < footSize {
		return f, errBroken
	}
	if _, err := r.ReadAt(b, size-footSize); err != nil {
		return f, err
	}
	for i, v := range []*int64{&f.size, &f.gap.at, &f.gap.bytes, &f.gap.mark} {
		*v = int64(binary.LittleEndian.Uint64(b[16+8*i:]))
	}
	if f.size < 0 || f.gap.at < 0 || f.gap.bytes < 0 || f.gap.mark < 0 || !bytes.Equal(b, f.append(nil)) {
		return foot{}, errBroken
	}
	return f, nil
}

// parseMember returns the lines of a member. Their texts are parts of text.
func parseMember(extra, text []byte) (start time.Time, lines []entry, err error) {
	if len(extra) < 4 || string(extra[:2]) != extraID || int(binary.LittleEndian.Uint16(extra[2:])) != len(extra)-4 {
		return start, nil, errBroken
	}
	b, err := readAtMost(flate.NewReader(bytes.NewReader(extra[4:])), nil, 2*memberExtra)
	if err != nil {
		return start, nil, err
	}
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			err, n = errBroken, len(b)
		}
		b = b[n:]
		return v
	}
	one := func() byte {
		if len(b) == 0 {
			err = errBroken
			return 0
		}
		c := b[0]
		b = b[1:]
		return c
	}
	start = time.UnixMilli(int64(min(number(), 1<<52)))
	names := make([]string, one())
	for i := range names {
		n := int(one())
		if n > len(b) {
			return start, nil, errBroken
		}
		names[i] = string(b[:n])
		b = b[n:]
	}
	var at time.Duration
	for len(b) > 0 && err == nil {
		at += time.Duration(min(number(), uint64(maxSpan/time.Millisecond))) * time.Millisecond
		mark := one()
		size := number()
		if err != nil || at > maxSpan || size > uint64(len(text)) || int(mark&^markPart) >= len(names) {
			return start, nil, errBroken
		}
		e := entry{at: at, stream: names[mark&^markPart], text: text[:size], part: mark&markPart != 0}
		text = text[size:]
		if !e.part {
			if len(text) == 0 || text[0] != '\n' {
				return start, nil, errBroken
			}
			text = text[1:]
		}
		lines = append(lines, e)
	}
	if err == nil && len(text) > 0 {
		err = errBroken
	}
	return start, lines, err
}
