package gitwire

import (
	"math"
	"strconv"
	"strings"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// MaxFetch is how many bytes a request to fetch may have, decoded: room for 50,000 wants and some
// 100,000 haves.
const MaxFetch = 8 << 20

const (
	// maxWants is more than refs fit into the largest state event: git wants every ref of a clone,
	// and HEAD once more.
	maxWants    = 50_000
	maxNot      = 100
	maxPrefixes = 20_000
)

// FetchCaps are the flags of a fetch that mean something to git. In protocol v2 they are arguments.
type FetchCaps uint16

// The flags of a fetch.
const (
	MultiAck FetchCaps = 1 << iota
	MultiAckDetailed
	NoDone
	SideBand
	SideBand64k
	ThinPack
	OfsDelta
	NoProgress
	IncludeTag
	WaitForDone
)

// capNames gives the spelling of each flag, in the order in which they are written, and in which
// protocol it exists.
var capNames = []struct {
	flag   FetchCaps
	name   string
	v0, v2 bool
}{
	{MultiAck, "multi_ack", true, false},
	{MultiAckDetailed, "multi_ack_detailed", true, false},
	{NoDone, "no-done", true, false},
	{SideBand, "side-band", true, false},
	{SideBand64k, "side-band-64k", true, false},
	{ThinPack, "thin-pack", true, true},
	{OfsDelta, "ofs-delta", true, true},
	{NoProgress, "no-progress", true, true},
	{IncludeTag, "include-tag", true, true},
	{WaitForDone, "wait-for-done", false, true},
}

// An End says how a v0 request ends its haves.
type End uint8

const (
	EndNone  End = iota // it just ends: the client wants to hear about shallow commits first
	EndFlush            // a round of negotiation
	EndDone             // the pack, please
)

// A FetchRequest is a request for a pack or a round of negotiating about one, in protocol version
// 0 (which 1 equals from here on) or 2.
type FetchRequest struct {
	Version  int // 0 or 2
	Wants    []grasp.OID
	Haves    []grasp.OID
	Caps     FetchCaps
	End      End // v0; in v2 EndDone or EndNone
	Shallow  []grasp.OID
	Depth    int      // 0: not asked for
	Since    int64    // seconds; 0: not asked for
	Not      []string // names of refs
	Relative bool     // Depth counts from the present boundary
	Filter   string   // in canonical form, or ""
}

const opFetch = "gitwire: read fetch"

// ReadFetch reads a v0 or v1 request to its end (H-222 to H-227). A request that wants nothing has
// no Wants; its answer is empty. A well-formed request that is not served is a *grasp.Refusal,
// whose Text belongs into an ERR packet.
func ReadFetch(r *Reader) (*FetchRequest, error) {
	f := &FetchRequest{}
	first := true
	for {
		kind, b, err := r.Next()
		switch {
		case err != nil && first && isEOF(err):
			return f, nil
		case err != nil:
			return nil, unexpected(err)
		case kind == Flush && first:
			return f, atEnd(r)
		case kind == Flush && len(f.Wants) == 0:
			return nil, refuseFetch("H-221", "upload-pack: nothing is wanted")
		case kind == Flush:
			return f, f.haves(r)
		case kind != Data:
			return nil, fault.E(fault.Invalid, opFetch, "unexpected "+kind.String()+" packet")
		}
		first = false
		s := strings.TrimSuffix(string(b), "\n")
		if arg, ok := strings.CutPrefix(s, "want "); ok {
			if len(f.Wants) == 0 {
				var list string
				if arg, list, ok = strings.Cut(arg, " "); ok {
					if err := f.capabilities(list); err != nil {
						return nil, err
					}
				}
			}
			if err := f.want(arg); err != nil {
				return nil, err
			}
			continue
		}
		known, err := f.boundary(s)
		if err != nil {
			return nil, err
		}
		if !known {
			return nil, refuseFetch("H-221", textUnexpected(s))
		}
	}
}

// haves reads what follows the first flush: haves, then done, a flush, or nothing. One more flush
// after done is tolerated.
func (f *FetchRequest) haves(r *Reader) error {
	for {
		kind, b, err := r.Next()
		switch {
		case isEOF(err):
			return nil // EndNone
		case err != nil:
			return unexpected(err)
		case kind == Flush:
			f.End = EndFlush
			return atEnd(r)
		case kind != Data:
			return fault.E(fault.Invalid, opFetch, "unexpected "+kind.String()+" packet")
		}
		s := strings.TrimSuffix(string(b), "\n")
		if s == "done" {
			f.End = EndDone
			return f.afterDone(r)
		}
		arg, ok := strings.CutPrefix(s, "have ")
		if !ok {
			return refuseFetch("H-221", textUnexpected(s))
		}
		if err := f.have(arg); err != nil {
			return err
		}
	}
}

func (f *FetchRequest) afterDone(r *Reader) error {
	kind, _, err := r.Next()
	switch {
	case isEOF(err):
		return nil
	case err != nil:
		return unexpected(err)
	case kind != Flush:
		return fault.E(fault.Invalid, opFetch, "something follows done")
	}
	return atEnd(r)
}

// capabilities takes the list behind the first want. Words that mean nothing here are ignored.
func (f *FetchRequest) capabilities(list string) error {
	if len(list) > maxCapability {
		return refuseFetch("H-221", "upload-pack: "+textBadCaps)
	}
	for word := range strings.FieldsSeq(list) {
		if v, ok := strings.CutPrefix(word, "object-format="); ok && v != "sha1" {
			return refuseFetch("H-253", "upload-pack: "+textObjectFormat)
		}
		if word == "deepen-relative" {
			f.Relative = true
		}
		for _, c := range capNames {
			if c.v0 && c.name == word {
				f.Caps |= c.flag
			}
		}
	}
	return nil
}

func (f *FetchRequest) want(s string) error {
	oid, err := parseID(s)
	if err != nil {
		return err
	}
	if len(f.Wants) == maxWants {
		return refuseFetch("H-222", "upload-pack: limit: at most "+strconv.Itoa(maxWants)+" wants in one request")
	}
	f.Wants = append(f.Wants, oid)
	return nil
}

func (f *FetchRequest) have(s string) error {
	oid, err := parseID(s)
	if err == nil {
		f.Haves = append(f.Haves, oid)
	}
	return err
}

// boundary takes one line that says how much history is wanted, and of which objects. Both
// protocols spell these alike. known is false if s is something else.
func (f *FetchRequest) boundary(s string) (known bool, err error) {
	word, arg, _ := strings.Cut(s, " ")
	switch word {
	case "shallow":
		oid, err := parseID(arg)
		if err == nil {
			f.Shallow = append(f.Shallow, oid)
		}
		return true, err
	case "deepen":
		n, ok := number(arg)
		if !ok || n > math.MaxInt32 || f.Depth != 0 {
			return true, refuseFetch("H-226", textUnexpected(s))
		}
		f.Depth = int(n)
	case "deepen-since":
		n, ok := number(arg)
		if !ok || f.Since != 0 {
			return true, refuseFetch("H-226", textUnexpected(s))
		}
		f.Since = n
	case "deepen-not":
		if !revision(arg) || len(f.Not) == maxNot {
			return true, refuseFetch("H-226", textUnexpected(s))
		}
		f.Not = append(f.Not, arg)
	case "filter":
		spec, ok := ParseFilter(arg)
		if !ok || f.Filter != "" {
			return true, refuseFetch("H-225", textFilter(arg))
		}
		f.Filter = spec
	default:
		return false, nil
	}
	if f.Depth != 0 && (f.Since != 0 || len(f.Not) > 0) {
		return true, refuseFetch("H-226", "upload-pack: deepen and deepen-since (or deepen-not) cannot be used together")
	}
	return true, nil
}

// number parses a positive decimal number without signs, spaces or leading zeros.
func number(s string) (int64, bool) {
	if s == "" || len(s) > 18 || s[0] < '1' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// revision reports whether s names a ref, in full or by its last part as people do.
func revision(s string) bool {
	if _, ok := grasp.ParseRefName(s); ok {
		return true
	}
	_, ok := grasp.ParseRefName("refs/heads/" + s)
	return ok && !strings.HasPrefix(s, "-")
}

// ParseFilter returns the canonical spelling of a filter that is served: blob:none,
// blob:limit=<n>[kmg], tree:0, tree:1, object:type=<blob|tree|commit|tag> (H-225).
func ParseFilter(s string) (string, bool) {
	switch s {
	case "blob:none", "tree:0", "tree:1",
		"object:type=blob", "object:type=tree", "object:type=commit", "object:type=tag":
		return s, true
	}
	limit, ok := strings.CutPrefix(s, "blob:limit=")
	if !ok || limit == "" {
		return "", false
	}
	digits, unit := limit, ""
	switch limit[len(limit)-1] {
	case 'k', 'K', 'm', 'M', 'g', 'G':
		digits, unit = limit[:len(limit)-1], strings.ToLower(limit[len(limit)-1:])
	}
	var n int64
	if digits != "0" {
		if n, ok = number(digits); !ok {
			return "", false
		}
	}
	if unit != "" && n > math.MaxInt32 {
		return "", false // more than git can count to
	}
	return "blob:limit=" + strconv.FormatInt(n, 10) + unit, true
}

func parseID(s string) (grasp.OID, error) {
	oid, ok := grasp.ParseOID(s)
	if !ok {
		return "", refuseFetch("H-221", "upload-pack: malformed object id '"+Clean(s, 80)+"'")
	}
	return oid, nil
}

func refuseFetch(rule, text string) error {
	return &grasp.Refusal{Rule: rule, Prefix: grasp.Invalid, Text: text}
}

// Append writes f anew: the bytes that git is given.
func (f *FetchRequest) Append(dst []byte) []byte {
	if f.Version == 2 {
		return f.appendV2(dst)
	}
	if len(f.Wants) == 0 {
		return AppendFlush(dst)
	}
	var caps strings.Builder
	for _, c := range capNames {
		if c.v0 && f.Caps&c.flag != 0 {
			caps.WriteString(" " + c.name)
		}
	}
	if f.Relative {
		caps.WriteString(" deepen-relative")
	}
	if f.Filter != "" {
		caps.WriteString(" filter")
	}
	for i, w := range f.Wants {
		if i == 0 {
			dst = AppendPacket(dst, "want ", string(w), caps.String(), "\n")
			continue
		}
		dst = AppendPacket(dst, "want ", string(w), "\n")
	}
	dst = f.appendBoundary(dst)
	dst = AppendFlush(dst)
	for _, h := range f.Haves {
		dst = AppendPacket(dst, "have ", string(h), "\n")
	}
	switch f.End {
	case EndFlush:
		dst = AppendFlush(dst)
	case EndDone:
		dst = AppendPacket(dst, "done\n")
	}
	return dst
}

func (f *FetchRequest) appendBoundary(dst []byte) []byte {
	for _, s := range f.Shallow {
		dst = AppendPacket(dst, "shallow ", string(s), "\n")
	}
	if f.Depth != 0 {
		dst = AppendPacket(dst, "deepen ", strconv.Itoa(f.Depth), "\n")
	}
	if f.Since != 0 {
		dst = AppendPacket(dst, "deepen-since ", strconv.FormatInt(f.Since, 10), "\n")
	}
	for _, n := range f.Not {
		dst = AppendPacket(dst, "deepen-not ", n, "\n")
	}
	if f.Filter != "" {
		dst = AppendPacket(dst, "filter ", f.Filter, "\n")
	}
	return dst
}
