package gitwire

import (
	"errors"
	"io"
	"strings"

	"github.com/gitroost/gitroost/internal/fault"
)

// A V2Request is one command of protocol version 2. Exactly one field is set, or none: then the
// request was empty and so is its answer.
type V2Request struct {
	LsRefs *LsRefs
	Fetch  *FetchRequest
}

// ReadV2 reads a request of protocol v2 to its end: one command, ls-refs or fetch, with
// capabilities and arguments that were offered (H-206). Server options are legal and have no
// effect. A well-formed request that is not served is a *grasp.Refusal, whose Text belongs into an
// ERR packet.
func ReadV2(r *Reader) (*V2Request, error) {
	command := ""
	var end Kind
	for n := 0; ; n++ {
		kind, b, err := r.Next()
		if err != nil {
			if n == 0 && isEOF(err) {
				return &V2Request{}, nil
			}
			return nil, unexpected(err)
		}
		if kind != Data {
			if kind == Flush && n == 0 {
				return &V2Request{}, atEnd(r)
			}
			end = kind
			break
		}
		if n > 100 {
			return nil, refuseFetch("H-206", "too many capability lines")
		}
		s := strings.TrimSuffix(string(b), "\n")
		key, value, _ := strings.Cut(s, "=")
		switch key {
		case "command":
			if command != "" {
				return nil, refuseFetch("H-206", "more than one command in one request")
			}
			command = value
		case "agent", "server-option", "session-id":
			// Nothing depends on them, and they go nowhere.
		case "object-format":
			if value != "sha1" {
				return nil, refuseFetch("H-253", textObjectFormat)
			}
		default:
			return nil, refuseFetch("H-206", "unknown capability '"+Clean(s, 100)+"'")
		}
	}
	if end == ResponseEnd {
		return nil, fault.E(fault.Invalid, opFetch, "unexpected response-end packet")
	}
	args := func(take func(string) error) error {
		if end == Flush {
			return atEnd(r)
		}
		for {
			kind, b, err := r.Next()
			switch {
			case err != nil:
				return unexpected(err)
			case kind == Flush:
				return atEnd(r)
			case kind != Data:
				return fault.E(fault.Invalid, opFetch, "unexpected "+kind.String()+" packet")
			}
			if err := take(strings.TrimSuffix(string(b), "\n")); err != nil {
				return err
			}
		}
	}
	switch command {
	case "ls-refs":
		q := &LsRefs{}
		if err := args(q.argument); err != nil {
			return nil, err
		}
		return &V2Request{LsRefs: q}, nil
	case "fetch":
		f := &FetchRequest{Version: 2}
		if err := args(f.argument); err != nil {
			return nil, err
		}
		return &V2Request{Fetch: f}, nil
	case "":
		return nil, refuseFetch("H-206", "no command requested")
	}
	return nil, refuseFetch("H-206", "invalid command '"+Clean(command, 100)+"'")
}

func (q *LsRefs) argument(s string) error {
	switch s {
	case "peel":
		q.Peel = true
	case "symrefs":
		q.Symrefs = true
	case "unborn":
		q.Unborn = true
	default:
		prefix, ok := strings.CutPrefix(s, "ref-prefix ")
		if !ok || len(prefix) > maxName {
			return refuseFetch("H-206", "ls-refs: unexpected line '"+Clean(s, 100)+"'")
		}
		if len(q.Prefixes) == maxPrefixes {
			return refuseFetch("H-206", "ls-refs: limit: too many prefixes")
		}
		q.Prefixes = append(q.Prefixes, prefix)
	}
	return nil
}

// Append writes q anew.
func (q *LsRefs) Append(dst []byte) []byte {
	dst = AppendPacket(dst, "command=ls-refs\n")
	dst = AppendDelim(dst)
	for _, a := range []struct {
		on   bool
		name string
	}{{q.Peel, "peel"}, {q.Symrefs, "symrefs"}, {q.Unborn, "unborn"}} {
		if a.on {
			dst = AppendPacket(dst, a.name, "\n")
		}
	}
	for _, p := range q.Prefixes {
		dst = AppendPacket(dst, "ref-prefix ", p, "\n")
	}
	return AppendFlush(dst)
}

func (f *FetchRequest) argument(s string) error {
	word, arg, hasArg := strings.Cut(s, " ")
	switch {
	case word == "want" && hasArg:
		return f.want(arg)
	case word == "have" && hasArg:
		return f.have(arg)
	case s == "done":
		f.End = EndDone
		return nil
	case s == "deepen-relative":
		f.Relative = true
		return nil
	}
	for _, c := range capNames {
		if c.v2 && c.name == s {
			f.Caps |= c.flag
			return nil
		}
	}
	known, err := f.boundary(s)
	if err == nil && !known {
		err = refuseFetch("H-206", textUnexpected(s))
	}
	return err
}

func (f *FetchRequest) appendV2(dst []byte) []byte {
	dst = AppendPacket(dst, "command=fetch\n")
	dst = AppendDelim(dst)
	for _, c := range capNames {
		if c.v2 && f.Caps&c.flag != 0 {
			dst = AppendPacket(dst, c.name, "\n")
		}
	}
	if f.Relative {
		dst = AppendPacket(dst, "deepen-relative\n")
	}
	dst = f.appendBoundary(dst)
	for _, w := range f.Wants {
		dst = AppendPacket(dst, "want ", string(w), "\n")
	}
	for _, h := range f.Haves {
		dst = AppendPacket(dst, "have ", string(h), "\n")
	}
	if f.End == EndDone {
		dst = AppendPacket(dst, "done\n")
	}
	return AppendFlush(dst)
}

// isEOF reports whether the input ended where a packet could have begun.
func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// atEnd fails unless the input ends here: one request, one body.
func atEnd(r *Reader) error {
	end, err := r.End()
	if err == nil && !end {
		err = fault.E(fault.Invalid, opFetch, "something follows the request")
	}
	return err
}
