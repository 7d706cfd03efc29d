package gitwire

import (
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/gitroost/gitroost/grasp"
)

// uploadCaps are offered to v0 and v1 fetchers, also by an empty repository (H-203, H-204). symref
// comes after them, then object-format and agent. Browsers refuse to work without some of them.
const uploadCaps = "multi_ack thin-pack side-band side-band-64k ofs-delta shallow deepen-since deepen-not" +
	" deepen-relative no-progress include-tag multi_ack_detailed allow-tip-sha1-in-want" +
	" allow-reachable-sha1-in-want no-done filter"

// receiveCaps are offered to pushers (H-205). push-cert is never among them.
const receiveCaps = "report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta push-options"

// An Answer is packets that are put together while they are sent: a repository of 50,000 refs has six
// megabytes of them, and a hundred clients may ask at once. Most refs are kept as the packets that they are
// sent as (grasp.Span), so that this is copying.
type Answer func(*printer)

// Size returns how many bytes the answer has. It costs about a hundredth of writing it.
func (a Answer) Size() int {
	p := printer{}
	a(&p)
	return p.n
}

// WriteTo writes the answer in pieces of 64 to 128 KiB; most of a long one in pieces of 128. It implements
// io.WriterTo.
func (a Answer) WriteTo(w io.Writer) (int64, error) {
	buf := pieces.Get().(*[]byte)
	defer pieces.Put(buf)
	p := printer{w: w, buf: (*buf)[:0]}
	a(&p)
	p.flush()
	*buf = p.buf[:0]
	return int64(p.n), p.err
}

// Send writes the answer to w. Before the first byte it calls begin with how many there are. What fits into
// one buffer is made once, and what is longer is gone through twice, the first time to know how long it is.
func (a Answer) Send(w io.Writer, begin func(size int)) error {
	buf := pieces.Get().(*[]byte)
	defer pieces.Put(buf)
	p := printer{buf: (*buf)[:0], keep: true, most: short}
	a(&p)
	*buf = p.buf[:0]
	begin(p.n)
	if p.n == len(p.buf) {
		_, err := w.Write(p.buf)
		return err
	}
	p = printer{w: w, buf: p.buf[:0]}
	a(&p)
	p.flush()
	*buf = p.buf[:0]
	return p.err
}

// Append appends the answer to dst.
func (a Answer) Append(dst []byte) []byte {
	p := printer{buf: dst, keep: true}
	a(&p)
	return p.buf
}

const piece = 64 << 10

// short is up to where an answer is made in one buffer: the line of no ref is longer than what is left.
const short = piece + MaxPacket - 4<<10

var pieces = sync.Pool{New: func() any { b := make([]byte, 0, piece+MaxPacket); return &b }}

// A printer takes packets: it counts them, and unless it has nowhere to put them, writes them.
type printer struct {
	w    io.Writer
	buf  []byte
	keep bool // in buf
	most int  // from so many bytes in buf on the rest is only counted; 0: never
	n    int
	err  error
}

// room is called before n bytes are appended to buf.
func (p *printer) room(n int) {
	if !p.keep && len(p.buf)+n > cap(p.buf) {
		p.flush()
	}
}

// added is called when something was appended to buf.
func (p *printer) added() {
	if p.most > 0 && len(p.buf) >= p.most {
		p.keep = false
	}
}

func (p *printer) packet(parts ...string) {
	n := 4
	for _, s := range parts {
		n += len(s)
	}
	n = min(n, MaxPacket)
	p.n += n
	if p.w == nil && !p.keep {
		return
	}
	p.room(n)
	p.buf = AppendPacket(p.buf, parts...)
	p.added()
}

// ref is packet for the line of a ref, which is what answers of any size consist of: what it points to, its name, and
// what comes behind it, up to the line feed. It does without the slice of strings that packet takes.
func (p *printer) ref(oid grasp.OID, name grasp.RefName, more string, last grasp.OID) {
	n := 4 + len(oid) + 1 + len(name) + len(more) + len(last) + 1
	if n > MaxPacket {
		p.packet(string(oid), " ", string(name), more, string(last), "\n")
		return
	}
	p.n += n
	if p.w == nil && !p.keep {
		return
	}
	p.room(n)
	b := appendLen(p.buf, n)
	b = append(b, oid...)
	b = append(b, ' ')
	b = append(b, name...)
	b = append(b, more...)
	b = append(b, last...)
	p.buf = append(b, '\n')
	p.added()
}

// ready appends packets that stand ready, as many at a time as have room.
func (p *printer) ready(packets string) {
	p.n += len(packets)
	switch {
	case p.most > 0 && p.keep && len(p.buf)+len(packets) >= p.most:
		p.keep = false
	case p.keep:
		p.buf = append(p.buf, packets...)
	case p.w != nil:
		for len(packets) > 0 {
			n := min(len(packets), cap(p.buf)-len(p.buf))
			p.buf = append(p.buf, packets[:n]...)
			if packets = packets[n:]; len(packets) > 0 {
				p.flush()
			}
		}
	}
}

// A how says which words of an answer tell what an annotated tag points to.
type how uint8

const (
	unpeeled how = iota // nothing does
	inLine              // they stand behind the name: protocol 2
	ownLine             // they are a line of their own, with ^{}: protocols 0 and 1
)

// refs appends the lines of some refs.
func (p *printer) refs(s grasp.Span, peel how) {
	if packets := s.Packets(); packets != "" && (peel == inLine || !s.Peeled()) {
		p.ready(packets)
		return
	}
	for i := range s.Len() {
		r := s.Ref(i)
		switch {
		case r.Peeled == "" || peel == unpeeled:
			p.ref(r.OID, r.Name, "", "")
		case peel == inLine:
			p.ref(r.OID, r.Name, " peeled:", r.Peeled)
		default:
			p.ref(r.OID, r.Name, "", "")
			p.ref(r.Peeled, r.Name, "^{}", "")
		}
	}
}

func (p *printer) end() {
	p.n += 4
	if p.w != nil || p.keep {
		p.room(4)
		p.buf = AppendFlush(p.buf)
	}
}

func (p *printer) flush() {
	if p.err == nil && len(p.buf) > 0 {
		_, p.err = p.w.Write(p.buf)
	}
	p.buf = p.buf[:0]
}

// UploadAdvert is the answer to info/refs for fetching in protocol version 0 or 1 (H-202 to H-204,
// A1). agent is what Agent returned.
func UploadAdvert(snap *grasp.Snapshot, version int, agent string) Answer {
	return func(p *printer) {
		p.packet("# service=", UploadPack, "\n")
		p.end()
		if version == 1 {
			p.packet("version 1\n")
		}
		caps := uploadCaps
		head, resolves := snap.Refs.Tip(snap.Head)
		resolves = resolves && snap.Head.IsHead()
		if resolves {
			caps += " symref=HEAD:" + string(snap.Head)
		}
		caps = "\x00" + caps + " object-format=sha1 agent=" + agent
		if snap.Refs.Len() == 0 {
			p.packet(string(grasp.ZeroOID), " capabilities^{}", caps, "\n")
		}
		if resolves {
			p.packet(string(head), " HEAD", caps, "\n")
			caps = ""
		}
		for refs := range snap.Refs.Spans() {
			if caps != "" {
				var r grasp.Ref
				r, refs = refs.Cut()
				p.packet(string(r.OID), " ", string(r.Name), caps, "\n")
				if r.Peeled != "" {
					p.ref(r.Peeled, r.Name, "^{}", "")
				}
				caps = ""
			}
			p.refs(refs, ownLine)
		}
		p.end()
	}
}

// ReceiveAdvert is the answer to info/refs for pushing: no HEAD, nothing peeled, no objects of
// others (H-202, H-205).
func ReceiveAdvert(snap *grasp.Snapshot, agent string) Answer {
	return func(p *printer) {
		p.packet("# service=", ReceivePack, "\n")
		p.end()
		caps := "\x00" + receiveCaps + " object-format=sha1 agent=" + agent
		if snap.Refs.Len() == 0 {
			p.packet(string(grasp.ZeroOID), " capabilities^{}", caps, "\n")
		}
		for refs := range snap.Refs.Spans() {
			if caps != "" {
				var r grasp.Ref
				r, refs = refs.Cut()
				p.packet(string(r.OID), " ", string(r.Name), caps, "\n")
				caps = ""
			}
			p.refs(refs, unpeeled)
		}
		p.end()
	}
}

// AppendV2Advert appends the answer to info/refs for fetching in protocol version 2. It says
// nothing about the repository (H-206, A2).
func AppendV2Advert(dst []byte, agent string) []byte {
	dst = AppendPacket(dst, "version 2\n")
	dst = AppendPacket(dst, "agent=", agent, "\n")
	dst = AppendPacket(dst, "ls-refs=unborn\n")
	dst = AppendPacket(dst, "fetch=shallow wait-for-done filter\n")
	dst = AppendPacket(dst, "server-option\n")
	dst = AppendPacket(dst, "object-format=sha1\n")
	return AppendFlush(dst)
}

// An LsRefs is a v2 request for refs.
type LsRefs struct {
	Peel, Symrefs, Unborn bool
	Prefixes              []string // none: every ref
}

// Answer is what q asks for of snap (H-207, H-208, A9).
func (q *LsRefs) Answer(snap *grasp.Snapshot) Answer {
	match := newPrefixSet(q.Prefixes)
	return func(p *printer) {
		if match.has("HEAD") && snap.Head.IsHead() {
			oid, resolves := snap.Refs.Tip(snap.Head)
			switch {
			case resolves && q.Symrefs:
				p.packet(string(oid), " HEAD symref-target:", string(snap.Head), "\n")
			case resolves:
				p.packet(string(oid), " HEAD\n")
			case q.Unborn && q.Symrefs:
				p.packet("unborn HEAD symref-target:", string(snap.Head), "\n")
			}
		}
		peel := unpeeled
		if q.Peel {
			peel = inLine
		}
		match.each(snap.Refs, func(refs grasp.Span) { p.refs(refs, peel) })
		p.end()
	}
}

// A prefixSet answers in logarithmic time whether a name begins with any of many prefixes, so
// that 10,000 prefixes and 50,000 refs do not multiply. It is sorted, and no member begins with
// another; therefore only the greatest member that is not above a name can be its prefix. The
// nil set has every name.
type prefixSet []string

func newPrefixSet(prefixes []string) prefixSet {
	if len(prefixes) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(prefixes))
	set := make(prefixSet, 0, len(sorted))
	for _, p := range sorted {
		if n := len(set); n > 0 && strings.HasPrefix(p, set[n-1]) {
			continue
		}
		set = append(set, p)
	}
	return set
}

// each calls f with those of refs that begin with one of the prefixes. It finds where each prefix
// begins and ends, and does not look at what lies between.
func (s prefixSet) each(refs grasp.RefList, f func(grasp.Span)) {
	if s == nil {
		s = prefixSet{""}
	}
	for _, prefix := range s {
		for some := range refs.Below(grasp.RefName(prefix)) {
			f(some)
		}
	}
}

func (s prefixSet) has(name string) bool {
	if s == nil {
		return true
	}
	i, found := slices.BinarySearch(s, name)
	return found || i > 0 && strings.HasPrefix(name, s[i-1])
}
