package gitwire

import (
	"slices"
	"strings"

	"github.com/gitroost/gitroost/grasp"
)

// uploadCaps are offered to v0 and v1 fetchers, also by an empty repository (H-203, H-204). symref
// comes after them, then object-format and agent. Browsers refuse to work without some of them.
const uploadCaps = "multi_ack thin-pack side-band side-band-64k ofs-delta shallow deepen-since deepen-not" +
	" deepen-relative no-progress include-tag multi_ack_detailed allow-tip-sha1-in-want" +
	" allow-reachable-sha1-in-want no-done filter"

// receiveCaps are offered to pushers (H-205). push-cert is never among them.
const receiveCaps = "report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta push-options"

// AppendUploadAdvert appends the answer to info/refs for fetching in protocol version 0 or 1
// (H-202 to H-204, A1). agent is what Agent returned.
func AppendUploadAdvert(dst []byte, snap *grasp.Snapshot, version int, agent string) []byte {
	names := visible(snap)
	dst = slices.Grow(dst, advertSize(names)+512)
	dst = AppendPacket(dst, "# service=", UploadPack, "\n")
	dst = AppendFlush(dst)
	if version == 1 {
		dst = AppendPacket(dst, "version 1\n")
	}
	caps := uploadCaps
	head, resolves := snap.Refs[snap.Head]
	resolves = resolves && snap.Head.IsHead()
	if resolves {
		caps += " symref=HEAD:" + string(snap.Head)
	}
	caps = "\x00" + caps + " object-format=sha1 agent=" + agent
	if len(names) == 0 {
		dst = AppendPacket(dst, string(grasp.ZeroOID), " capabilities^{}", caps, "\n")
		return AppendFlush(dst)
	}
	if resolves {
		dst = AppendPacket(dst, string(head), " HEAD", caps, "\n")
		caps = ""
	}
	for _, n := range names {
		dst = AppendPacket(dst, string(snap.Refs[n]), " ", string(n), caps, "\n")
		caps = ""
		if peeled, ok := snap.Peeled[n]; ok {
			dst = AppendPacket(dst, string(peeled), " ", string(n), "^{}\n")
		}
	}
	return AppendFlush(dst)
}

// AppendReceiveAdvert appends the answer to info/refs for pushing: no HEAD, nothing peeled, no
// objects of others (H-202, H-205).
func AppendReceiveAdvert(dst []byte, snap *grasp.Snapshot, agent string) []byte {
	names := visible(snap)
	dst = slices.Grow(dst, advertSize(names)+512)
	dst = AppendPacket(dst, "# service=", ReceivePack, "\n")
	dst = AppendFlush(dst)
	caps := "\x00" + receiveCaps + " object-format=sha1 agent=" + agent
	if len(names) == 0 {
		dst = AppendPacket(dst, string(grasp.ZeroOID), " capabilities^{}", caps, "\n")
		return AppendFlush(dst)
	}
	for _, n := range names {
		dst = AppendPacket(dst, string(snap.Refs[n]), " ", string(n), caps, "\n")
		caps = ""
	}
	return AppendFlush(dst)
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

// visible returns the names that may be advertised, sorted (H-207).
func visible(snap *grasp.Snapshot) []grasp.RefName {
	names := snap.Refs.Sorted()
	return slices.DeleteFunc(names, func(n grasp.RefName) bool { return !n.Visible() })
}

// advertSize is how long the lines of names will be, roughly.
func advertSize(names []grasp.RefName) int {
	n := 0
	for _, name := range names {
		n += len(name) + 64
	}
	return n
}

// An LsRefs is a v2 request for refs.
type LsRefs struct {
	Peel, Symrefs, Unborn bool
	Prefixes              []string // none: every ref
}

// AppendAnswer appends what q asks for of snap (H-207, H-208, A9).
func (q *LsRefs) AppendAnswer(dst []byte, snap *grasp.Snapshot) []byte {
	match := newPrefixSet(q.Prefixes)
	if match.has("HEAD") && snap.Head.IsHead() {
		oid, resolves := snap.Refs[snap.Head]
		switch {
		case resolves && q.Symrefs:
			dst = AppendPacket(dst, string(oid), " HEAD symref-target:", string(snap.Head), "\n")
		case resolves:
			dst = AppendPacket(dst, string(oid), " HEAD\n")
		case q.Unborn && q.Symrefs:
			dst = AppendPacket(dst, "unborn HEAD symref-target:", string(snap.Head), "\n")
		}
	}
	// Filtered before it is sorted: most requests ask for a few of many.
	var names []grasp.RefName
	for n := range snap.Refs {
		if n.Visible() && match.has(string(n)) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	dst = slices.Grow(dst, advertSize(names)+4)
	for _, n := range names {
		if peeled, ok := snap.Peeled[n]; ok && q.Peel {
			dst = AppendPacket(dst, string(snap.Refs[n]), " ", string(n), " peeled:", string(peeled), "\n")
			continue
		}
		dst = AppendPacket(dst, string(snap.Refs[n]), " ", string(n), "\n")
	}
	return AppendFlush(dst)
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

func (s prefixSet) has(name string) bool {
	if s == nil {
		return true
	}
	i, found := slices.BinarySearch(s, name)
	return found || i > 0 && strings.HasPrefix(name, s[i-1])
}
