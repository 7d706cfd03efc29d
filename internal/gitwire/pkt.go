package gitwire

import (
	"bufio"
	"io"

	"github.com/gitroost/gitroost/internal/fault"
)

// MaxPacket is the greatest length of a pkt-line, its four digits included.
const MaxPacket = 65520

// A Kind says what a pkt-line is.
type Kind uint8

// The kinds of pkt-lines. Every kind but Data has no payload.
const (
	Data        Kind = iota
	Flush            // 0000
	Delim            // 0001
	ResponseEnd      // 0002
)

func (k Kind) String() string { return [...]string{"data", "flush", "delim", "response-end"}[k] }

const opRead = "gitwire: read packet"

// A Reader reads pkt-lines and keeps count of the bytes. What follows the last packet that Next
// returned is left for Rest, to the byte.
type Reader struct {
	r    *bufio.Reader
	left int64 // bytes that Next may still consume
	buf  []byte
}

// NewReader returns a Reader of r that fails with fault.TooLarge before more than limit bytes
// were taken by Next. What Rest delivers is not counted.
func NewReader(r io.Reader, limit int64) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 8<<10), left: limit}
}

// Next returns the next packet. The payload is valid until the next call. At the end of the input
// the error is io.EOF, but only between two packets; anything that is not exactly a packet is
// fault.Invalid: the length is four hex digits, and 0, 1, 2 or 5 to MaxPacket.
func (r *Reader) Next() (Kind, []byte, error) {
	var head [4]byte
	switch n, err := io.ReadFull(r.r, head[:]); {
	case n == 0 && err == io.EOF:
		return 0, nil, io.EOF
	case err != nil:
		return 0, nil, cut(err)
	}
	n := 0
	for _, c := range head {
		d := hexDigit(c)
		if d < 0 {
			return 0, nil, fault.E(fault.Invalid, opRead, "bad pkt-line length")
		}
		n = n<<4 | d
	}
	if n == 3 || n == 4 || n > MaxPacket {
		return 0, nil, fault.E(fault.Invalid, opRead, "bad pkt-line length")
	}
	if r.left -= int64(max(n, 4)); r.left < 0 {
		return 0, nil, fault.E(fault.TooLarge, opRead, "request too large")
	}
	if n <= 2 {
		return Kind(n + 1), nil, nil
	}
	n -= 4
	if cap(r.buf) < n {
		r.buf = make([]byte, max(n, 256))
	}
	b := r.buf[:n]
	if _, err := io.ReadFull(r.r, b); err != nil {
		return 0, nil, cut(err)
	}
	return Data, b, nil
}

// cut tells an input that ended inside a packet from one that failed.
func cut(err error) error {
	// Not errors.Is: a fault of the reader below may wrap the end of something else.
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fault.E(fault.Invalid, opRead, "request ends inside a pkt-line")
	}
	return err
}

// End reports whether the input ends here. An error other than io.EOF is returned.
func (r *Reader) End() (bool, error) {
	switch _, err := r.r.Peek(1); err {
	case nil:
		return false, nil
	case io.EOF:
		return true, nil
	default:
		return false, err
	}
}

// Rest returns what follows the packets read so far. Do not call Next any more.
func (r *Reader) Rest() io.Reader { return rest{r.r} }

// rest hides the WriteTo of bufio.Reader, which would copy a pack in pieces of its small buffer;
// a plain Read with a large buffer goes straight to the source.
type rest struct{ r *bufio.Reader }

func (r rest) Read(p []byte) (int, error) { return r.r.Read(p) }

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

const hexDigits = "0123456789abcdef"

func appendLen(dst []byte, n int) []byte {
	return append(dst, hexDigits[n>>12&15], hexDigits[n>>8&15], hexDigits[n>>4&15], hexDigits[n&15])
}

// AppendPacket appends parts as one pkt-line. Together they are 1 to MaxPacket-4 bytes long; what
// is longer is cut.
func AppendPacket(dst []byte, parts ...string) []byte {
	n := 4
	for _, p := range parts {
		n += len(p)
	}
	room := min(n, MaxPacket) - 4
	dst = appendLen(dst, room+4)
	for _, p := range parts {
		p = p[:min(len(p), room)]
		dst, room = append(dst, p...), room-len(p)
	}
	return dst
}

// AppendFlush appends the packet that ends a section.
func AppendFlush(dst []byte) []byte { return append(dst, "0000"...) }

// AppendDelim appends the packet that separates capabilities from arguments in protocol v2.
func AppendDelim(dst []byte) []byte { return append(dst, "0001"...) }

// AppendError appends an ERR packet: text without a line feed, as two client libraries compare it
// byte by byte (H-224). It belongs into answers to info/refs and to fetches; in the answer to a
// push only where nothing better was negotiated (H-247).
func AppendError(dst []byte, text string) []byte {
	return AppendPacket(dst, "ERR ", Clean(text, MaxLine))
}

// AppendNotOurRef appends the answer to a want that cannot be met: the ERR packet that git itself
// sends (H-224, A5).
func AppendNotOurRef(dst []byte, oid string) []byte {
	return AppendError(dst, "upload-pack: not our ref "+oid)
}
