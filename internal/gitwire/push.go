package gitwire

import (
	"strings"
	"unicode/utf8"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// PushLimits bound the command section of a push. Zero values mean the defaults; the total number
// of bytes is the Reader's limit (MaxPushSection).
type PushLimits struct {
	Commands int // how many refs one push may move; 10,000 (H-254)
	Options  int // how many push options are read; 100
}

// MaxPushSection is how many bytes everything before the pack may have: room for 10,000 commands
// with the longest names.
const MaxPushSection = 4 << 20

const (
	maxCommands   = 10_000
	maxOptions    = 100
	maxName       = 1 << 10 // of a ref as it came; the rules accept less
	maxCapability = 1 << 10
)

// PushCaps are the capabilities that a pusher claimed and that mean something here. Others are
// ignored, never repeated and never passed on.
type PushCaps struct {
	ReportStatus   bool
	ReportStatusV2 bool
	SideBand       bool
	SideBand64k    bool
	Atomic         bool
	Quiet          bool
	PushOptions    bool
	ObjectFormat   string // "" or what was claimed; anything but sha1 is refused
	Agent          string // the client's name, cleaned, for logs
}

// Report reports whether the pusher understands a report-status.
func (c PushCaps) Report() bool { return c.ReportStatus || c.ReportStatusV2 }

// Band returns how many bytes one side-band packet may carry, or 0 if there is no side-band.
func (c PushCaps) Band() int {
	switch {
	case c.SideBand64k:
		return MaxPacket - 5
	case c.SideBand:
		return 1000 - 5
	}
	return 0
}

// A PushRequest is everything that precedes the pack (H-244).
type PushRequest struct {
	Shallow []grasp.OID       // the commits at which the pusher's history is cut
	Updates []grasp.RefChange // names are as they came: printable UTF-8, not more; ids are lower-case
	Caps    PushCaps
	Options []string // push options; read so that they are out of the way
	Flush   bool     // the request began with a flush: a probe, if nothing follows (H-242)
}

// DeleteOnly reports whether every update deletes, so that no pack follows.
func (p *PushRequest) DeleteOnly() bool {
	for _, u := range p.Updates {
		if !u.New.IsZero() {
			return false
		}
	}
	return true
}

// ReadPush reads the command section of a push and leaves the pack in r.Rest.
//
// If the section is well formed and cannot be accepted, the error is a *grasp.Refusal: a ref named
// twice, a malformed command, another object format, a signed push, too many commands. The
// section was read to its end all the same, and the returned request names every ref, so that each can be
// told no; its Updates serve no other purpose then. With any other error the request holds what
// was understood so far.
func ReadPush(r *Reader, lim PushLimits) (*PushRequest, error) {
	p := pushParser{
		req:  &PushRequest{},
		lim:  PushLimits{Commands: orDefault(lim.Commands, maxCommands), Options: orDefault(lim.Options, maxOptions)},
		seen: make(map[grasp.RefName]struct{}),
	}
	for {
		kind, b, err := r.Next()
		switch {
		case err != nil:
			return p.req, unexpected(err)
		case kind == Flush:
			if !p.started {
				p.req.Flush = len(p.req.Shallow) == 0
				if !p.req.Flush {
					return p.req, fault.E(fault.Invalid, opPush, "no commands")
				}
				return p.req, nil
			}
			return p.finish(r)
		case kind != Data:
			return p.req, fault.E(fault.Invalid, opPush, "unexpected "+kind.String()+" packet")
		}
		p.line(string(b))
	}
}

const opPush = "gitwire: read push"

func orDefault(n, def int) int {
	if n > 0 {
		return n
	}
	return def
}

// unexpected turns the end of the input, where a packet had to come, into a fault.
func unexpected(err error) error {
	return cut(err)
}

type pushParser struct {
	req     *PushRequest
	lim     PushLimits
	seen    map[grasp.RefName]struct{}
	started bool // the first packet that is no shallow line was seen
	cert    bool // inside a signed push
	no      *grasp.Refusal
}

// refuse keeps the first reason.
func (p *pushParser) refuse(rule, text string, ref grasp.RefName) {
	if p.no == nil {
		p.no = &grasp.Refusal{Rule: rule, Prefix: grasp.Invalid, Ref: ref, Text: text}
	}
}

func (p *pushParser) line(s string) {
	if oid, ok := strings.CutPrefix(s, "shallow "); ok && !p.started {
		id, ok := grasp.ParseOID(strings.TrimSuffix(oid, "\n"))
		if !ok || id.IsZero() {
			p.refuse("H-253", textBadShallow, "")
			return
		}
		p.req.Shallow = append(p.req.Shallow, id)
		return
	}
	first := !p.started
	p.started = true
	s, list, hasList := strings.Cut(s, "\x00")
	if first && hasList {
		p.caps(strings.TrimSuffix(list, "\n"))
	}
	switch {
	case first && (s == "push-cert" || s == "push-cert\n"):
		p.cert = true
		p.refuse("H-244", textPushCert, "")
		return
	case !first && hasList:
		// Only the first command may carry a list; git would silently take another one.
		p.refuse("H-244", textBadCommand, "")
	}
	p.command(strings.TrimSuffix(s, "\n"))
}

// command takes "<old> <new> <ref>". What does not fit is refused; if it fits a repository of
// another object format, or at least has three parts, its name is kept for the report.
func (p *pushParser) command(s string) {
	old, rest, ok1 := strings.Cut(s, " ")
	now, name, ok2 := strings.Cut(rest, " ")
	if !ok1 || !ok2 || name == "" {
		if !p.cert {
			p.refuse("H-244", textBadCommand, "")
		}
		return
	}
	u := grasp.RefChange{Ref: grasp.RefName(name)}
	var okOld, okNew bool
	u.Old, okOld = grasp.ParseOID(old)
	u.New, okNew = grasp.ParseOID(now)
	if !okOld || !okNew {
		if p.cert {
			return
		}
		u.Old, u.New = grasp.ZeroOID, grasp.ZeroOID
		p.refuse("H-253", textBadOID, u.Ref)
	}
	if clean := Clean(name, maxName); clean != name || strings.TrimSpace(name) != name {
		u.Ref = grasp.RefName(clean)
		p.refuse("H-253", textBadName, u.Ref)
	}
	if _, dup := p.seen[u.Ref]; dup {
		p.refuse("H-253", textTwice(u.Ref), u.Ref)
		return
	}
	p.seen[u.Ref] = struct{}{}
	p.req.Updates = append(p.req.Updates, u)
	if len(p.req.Updates) > p.lim.Commands {
		p.refuse("H-254", textCommands(p.lim.Commands), "")
	}
}

// caps parses the capability list of the first command.
func (p *pushParser) caps(list string) {
	if len(list) > maxCapability || strings.ContainsFunc(list, func(r rune) bool { return r < ' ' || r > '~' }) {
		p.refuse("H-244", textBadCaps, "")
		return
	}
	c := &p.req.Caps
	for word := range strings.FieldsSeq(list) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "report-status":
			c.ReportStatus = true
		case "report-status-v2":
			c.ReportStatusV2 = true
		case "side-band":
			c.SideBand = true
		case "side-band-64k":
			c.SideBand64k = true
		case "atomic":
			c.Atomic = true
		case "quiet":
			c.Quiet = true
		case "push-options":
			c.PushOptions = true
		case "object-format":
			c.ObjectFormat = value
		case "agent":
			c.Agent = Clean(value, 64)
		}
	}
	if c.ObjectFormat != "" && c.ObjectFormat != "sha1" {
		p.refuse("H-253", textObjectFormat, "")
	}
}

// finish reads the push options, if they were negotiated, and gives the verdict.
func (p *pushParser) finish(r *Reader) (*PushRequest, error) {
	for p.req.Caps.PushOptions && !p.cert {
		kind, b, err := r.Next()
		if err != nil {
			return p.req, unexpected(err)
		}
		if kind == Flush {
			break
		}
		if kind != Data {
			return p.req, fault.E(fault.Invalid, opPush, "unexpected "+kind.String()+" packet")
		}
		o := strings.TrimSuffix(string(b), "\n")
		switch {
		case len(p.req.Options) == p.lim.Options:
			p.refuse("H-254", textOptions(p.lim.Options), "")
		case len(o) > maxName || !utf8.ValidString(o):
			p.refuse("H-244", textBadOption, "")
		default:
			p.req.Options = append(p.req.Options, o)
		}
	}
	if p.no != nil {
		return p.req, p.no
	}
	return p.req, nil
}

// Append writes p anew, as a client with the same capabilities would have sent it.
func (p *PushRequest) Append(dst []byte) []byte {
	for _, s := range p.Shallow {
		dst = AppendPacket(dst, "shallow ", string(s), "\n")
	}
	for i, u := range p.Updates {
		if i > 0 {
			dst = AppendPacket(dst, string(u.Old), " ", string(u.New), " ", string(u.Ref))
			continue
		}
		dst = AppendPacket(dst, string(u.Old), " ", string(u.New), " ", string(u.Ref), "\x00", p.Caps.list())
	}
	dst = AppendFlush(dst)
	if p.Caps.PushOptions && len(p.Updates) > 0 {
		for _, o := range p.Options {
			dst = AppendPacket(dst, o, "\n")
		}
		dst = AppendFlush(dst)
	}
	return dst
}

func (c PushCaps) list() string {
	var b strings.Builder
	for _, f := range []struct {
		on   bool
		name string
	}{
		{c.ReportStatus, "report-status"}, {c.ReportStatusV2, "report-status-v2"},
		{c.SideBand, "side-band"}, {c.SideBand64k, "side-band-64k"},
		{c.Atomic, "atomic"}, {c.Quiet, "quiet"}, {c.PushOptions, "push-options"},
		{c.ObjectFormat != "", "object-format=" + c.ObjectFormat}, {c.Agent != "", "agent=" + c.Agent},
	} {
		if f.on {
			b.WriteString(" " + f.name)
		}
	}
	return b.String()
}
