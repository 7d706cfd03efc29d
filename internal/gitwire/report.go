package gitwire

import (
	"io"
	"sync"
)

// A RefReport says what became of one command.
type RefReport struct {
	Ref    string
	Reason string // "" if the ref moved, or stood where it should already
}

// A Report is the answer to a push. It names every command: git calls the answer a failure of the
// remote if one is missing (H-246).
type Report struct {
	Unpack string // "" if the pack was taken, else why not
	Refs   []RefReport
	Say    []string // lines for a person, shown as "remote: …"
}

// failed reports whether anything at all was refused, and why.
func (r Report) failed() (why string, yes bool) {
	for _, f := range r.Refs {
		if f.Reason != "" {
			return f.Reason, true
		}
	}
	return r.Unpack, r.Unpack != ""
}

// AppendReport appends the answer to a push in the form that the pusher negotiated:
//
//	side-band and report:  band 2 lines, the report in band 1, flush   (H-246, H-248, A3, A4)
//	report only:           the report, bare
//	side-band only:        band 3 if refused, else band 2 lines; flush (H-247)
//	neither:               an ERR packet if refused, else nothing      (H-247)
//
// Reasons are made fit for a terminal and for the scripts that read them (Reason).
func AppendReport(dst []byte, caps PushCaps, rep Report) []byte {
	band := caps.Band()
	why, failed := rep.failed()
	if band > 0 && (caps.Report() || !failed) {
		for _, s := range rep.Say {
			dst = appendSay(dst, s)
		}
	}
	switch {
	case caps.Report() && band > 0:
		body := appendStatus(nil, rep)
		for len(body) > 0 {
			n := min(band, len(body))
			dst = AppendPacket(dst, "\x01", string(body[:n]))
			body = body[n:]
		}
		return AppendFlush(dst)
	case caps.Report():
		return appendStatus(dst, rep)
	case band > 0 && failed:
		dst = AppendPacket(dst, "\x03", Reason(why), "\n")
		return AppendFlush(dst)
	case band > 0:
		return AppendFlush(dst)
	case failed:
		return AppendError(dst, Reason(why))
	}
	return dst
}

// AppendOpenReport is AppendReport without the flush at its end, so that lines can follow: AppendLine, AppendSilence, and
// AppendFlush in the end. It is false, and dst what it was, for a pusher without side-band or report.
func AppendOpenReport(dst []byte, caps PushCaps, rep Report) ([]byte, bool) {
	if caps.Band() == 0 || !caps.Report() {
		return dst, false
	}
	dst = AppendReport(dst, caps, rep)
	return dst[:len(dst)-len(AppendFlush(nil))], true
}

// AppendLine appends one line for a person in band 2.
func AppendLine(dst []byte, line string) []byte { return appendSay(dst, line) }

// AppendSilence appends an empty packet in band 2, which is shown to nobody.
func AppendSilence(dst []byte) []byte { return AppendPacket(dst, "\x02") }

// appendStatus appends the report-status itself, in pkt-lines with a flush of its own.
func appendStatus(dst []byte, rep Report) []byte {
	if rep.Unpack == "" {
		dst = AppendPacket(dst, "unpack ok\n")
	} else {
		dst = AppendPacket(dst, "unpack ", Reason(rep.Unpack), "\n")
	}
	for _, f := range rep.Refs {
		name := Clean(f.Ref, maxName)
		if f.Reason == "" {
			dst = AppendPacket(dst, "ok ", name, "\n")
		} else {
			dst = AppendPacket(dst, "ng ", name, " ", Reason(f.Reason), "\n")
		}
	}
	return AppendFlush(dst)
}

// appendSay appends one line for a person in band 2. It fits both sizes of side-band packets.
func appendSay(dst []byte, line string) []byte {
	return AppendPacket(dst, "\x02", Clean(line, MaxLine), "\n")
}

// Bands writes what a pusher sees while the push is worked on. A nil *Bands, and one for a
// pusher without side-band, writes nothing. It is safe for concurrent use; after the first error
// of the writer it stays silent.
type Bands struct {
	mu   sync.Mutex
	w    io.Writer // nil if silent
	done bool
}

// NewBands returns a Bands that writes to w if caps include a side-band.
func NewBands(w io.Writer, caps PushCaps) *Bands {
	b := &Bands{}
	if caps.Band() > 0 {
		b.w = w
	}
	return b
}

// Say shows line to the pusher at once.
func (b *Bands) Say(line string) { b.write(func(dst []byte) []byte { return appendSay(dst, line) }) }

// KeepAlive sends the empty band-1 packet, by which nothing happens at the other end except that
// nobody in between takes the connection for dead (H-257).
func (b *Bands) KeepAlive() {
	b.write(func(dst []byte) []byte { return AppendPacket(dst, "\x01") })
}

// Close makes everything that follows silent. When it returns nothing is being written.
func (b *Bands) Close() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = true
}

func (b *Bands) write(appendTo func([]byte) []byte) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.w == nil || b.done {
		return
	}
	if _, err := b.w.Write(appendTo(make([]byte, 0, 128))); err != nil {
		b.done = true
	}
}
