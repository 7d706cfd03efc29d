package joblog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"time"
)

// A file that grows is a header and frames. The header is fileMagic and the time of the beginning in
// milliseconds since 1970, eight bytes. A frame is
//
//	a byte      the stream, 1 to maxStreams; 0x80 says that its name follows in place of a line, and 0x40
//	            that no line end belongs to this text
//	a uvarint   milliseconds since the beginning
//	a uvarint   the number of bytes that follow, and one: what is nothing but zeros is no frame
//	the bytes   of the line, without its end
//
// Whatever cannot be read ends the file: it is the frame that was being written when the machine stopped.
const (
	fileMagic  = "grlog1\r\n"
	headerSize = len(fileMagic) + 8

	markName = 0x80
	markPart = 0x40

	maxStreams = 31
	maxName    = 32
	maxText    = 16 << 10              // of one frame
	maxFrame   = maxText + 1 + 2*10    // bytes
	maxSpan    = 1000 * 24 * time.Hour // no attempt takes longer
)

// An entry is one line as it is kept.
type entry struct {
	at     time.Duration // since the beginning
	stream string
	text   []byte
	part   bool // no line end belongs to it
}

// size is how much of the text an entry is, in bytes.
func (e *entry) size() int64 {
	if e.part {
		return int64(len(e.text))
	}
	return int64(len(e.text)) + 1
}

// appendTo appends an entry to a text.
func (e *entry) appendTo(dst []byte) []byte {
	dst = append(dst, e.text...)
	if e.part {
		return dst
	}
	return append(dst, '\n')
}

func appendHeader(dst []byte, start time.Time) []byte {
	return binary.BigEndian.AppendUint64(append(dst, fileMagic...), uint64(start.UnixMilli()))
}

func parseHeader(b []byte) (time.Time, bool) {
	if len(b) < headerSize || string(b[:len(fileMagic)]) != fileMagic {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b[len(fileMagic):]))), true
}

func appendFrame(dst []byte, mark byte, at time.Duration, text []byte) []byte {
	dst = append(dst, mark)
	dst = binary.AppendUvarint(dst, uint64(at/time.Millisecond))
	dst = binary.AppendUvarint(dst, uint64(len(text))+1)
	return append(dst, text...)
}

// streams are the names that a file has given so far, by number.
type streams [maxStreams + 1]string

// errTorn is a frame that is not whole, and errBroken one that is none.
var (
	errTorn   = errors.New("joblog: the frame is not whole")
	errBroken = errors.New("joblog: there is no frame here")
)

// parseFrame reads the frame at the beginning of b and returns how long it is. One that names a stream is
// noted in s and is no entry: ok is false.
func (s *streams) parseFrame(b []byte) (e entry, n int, ok bool, err error) {
	if len(b) == 0 {
		return e, 0, false, errTorn
	}
	mark := b[0]
	number := mark &^ (markName | markPart)
	if number == 0 || int(number) > maxStreams {
		return e, 0, false, errBroken
	}
	n = 1
	ms, k := binary.Uvarint(b[n:])
	if n += k; k <= 0 {
		return e, 0, false, torn(k)
	}
	size, k := binary.Uvarint(b[n:])
	if n += k; k <= 0 {
		return e, 0, false, torn(k)
	}
	if size--; size > maxText || ms > uint64(maxSpan/time.Millisecond) {
		return e, 0, false, errBroken
	}
	if len(b)-n < int(size) {
		return e, 0, false, errTorn
	}
	text := b[n : n+int(size)]
	n += int(size)
	if mark&markName != 0 {
		if size > maxName {
			return e, 0, false, errBroken
		}
		s[number] = string(text)
		return e, n, false, nil
	}
	if s[number] == "" {
		return e, 0, false, errBroken
	}
	return entry{at: time.Duration(ms) * time.Millisecond, stream: s[number], text: text, part: mark&markPart != 0}, n, true, nil
}

// torn says what k ≤ 0 of binary.Uvarint means.
func torn(k int) error {
	if k == 0 {
		return errTorn
	}
	return errBroken
}

// readFrames reads a whole file of frames. The text of an entry holds until the next one; an error is the
// last thing that comes. A file without a header has no lines, and began at the zero time.
func readFrames(r io.Reader) (start time.Time, lines iter.Seq2[entry, error], err error) {
	in := bufio.NewReaderSize(r, 2*maxFrame)
	head := make([]byte, headerSize)
	n, err := io.ReadFull(in, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return start, nil, err
	}
	start, ok := parseHeader(head[:n])
	if !ok {
		return start, func(func(entry, error) bool) {}, nil // it was torn before it began
	}
	var names streams
	return start, func(yield func(entry, error) bool) {
		for {
			b, err := in.Peek(maxFrame)
			if err != nil && err != io.EOF {
				yield(entry{}, err)
				return
			}
			if len(b) == 0 {
				return
			}
			e, n, ok, err := names.parseFrame(b)
			if err != nil {
				yield(entry{}, err)
				return
			}
			if ok && !yield(e, nil) {
				return
			}
			_, _ = in.Discard(n) // it was peeked at
		}
	}, nil
}
