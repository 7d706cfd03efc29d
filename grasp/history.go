package grasp

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// An archive shows exactly what the state says, and keeps what was there before (G05-06): where a branch
// or tag goes and nothing else would lead to its tip any more, a hidden ref does from then on.

// historyPrefix begins the hidden refs that keep older tips. They are never Visible.
const historyPrefix = "refs/gitroost/history/"

// A Kept is an older tip of a branch or tag.
type Kept struct {
	At  int64 // when it went, in seconds
	OID OID
	Ref RefName // whose tip it was
}

// Name returns the hidden ref that keeps k: refs/gitroost/history/<time>-<id>-<ref>, with the ref as one
// part of the name, so that none is in another's way.
func (k Kept) Name() RefName {
	short := strings.TrimPrefix(string(k.Ref), "refs/")
	short = strings.ReplaceAll(strings.ReplaceAll(short, "%", "%25"), "/", "%2F")
	return RefName(historyPrefix + strconv.FormatInt(k.At, 10) + "-" + string(k.OID) + "-" + short)
}

// ParseKept reads the name of a hidden ref that keeps an older tip. ok is false of any other ref.
func ParseKept(name RefName) (k Kept, ok bool) {
	rest, ok := strings.CutPrefix(string(name), historyPrefix)
	if !ok {
		return Kept{}, false
	}
	at, rest, _ := strings.Cut(rest, "-")
	oid, short, _ := strings.Cut(rest, "-")
	var err error
	if k.At, err = strconv.ParseInt(at, 10, 64); err != nil || k.At < 0 || !IsHex(oid, 40) || OID(oid).IsZero() {
		return Kept{}, false
	}
	short = strings.ReplaceAll(strings.ReplaceAll(short, "%2F", "/"), "%25", "%")
	if k.Ref, ok = ParseRefName("refs/" + short); !ok || !k.Ref.IsHead() && !k.Ref.IsTag() {
		return Kept{}, false
	}
	k.OID = OID(oid)
	return k, k.Name() == name
}

// A Retention says how much of its history an archive keeps per repository.
type Retention struct {
	Tips int   // at most so many, the newest; 0 keeps none
	Age  int64 // in seconds; 0 keeps them for good
}

// Plan returns the edits of hidden refs that are due at now, in the order of their names. kept is what they
// keep, and leaving what the refs let go of: branches and tags whose Old nothing else leads to. A tip that
// goes again is kept once, as of now.
func (r Retention) Plan(kept []Kept, leaving []RefChange, now int64) []RefChange {
	type tip struct {
		ref RefName
		oid OID
	}
	was, is := map[Kept]bool{}, map[tip]Kept{}
	for _, k := range kept {
		was[k] = true
		if have, twice := is[tip{k.Ref, k.OID}]; !twice || have.At < k.At {
			is[tip{k.Ref, k.OID}] = k
		}
	}
	for _, c := range leaving {
		if (c.Ref.IsHead() || c.Ref.IsTag()) && !c.Old.IsZero() && c.Old != c.New {
			is[tip{c.Ref, c.Old}] = Kept{At: max(now, 0), OID: c.Old, Ref: c.Ref}
		}
	}
	list := make([]Kept, 0, len(is))
	for _, k := range is {
		if r.Age <= 0 || now-k.At <= r.Age {
			list = append(list, k)
		}
	}
	slices.SortFunc(list, func(a, b Kept) int {
		return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(a.Ref, b.Ref), cmp.Compare(a.OID, b.OID))
	})
	list = list[:min(len(list), max(r.Tips, 0))]
	var out []RefChange
	for _, k := range list {
		if !was[k] {
			out = append(out, RefChange{k.Name(), ZeroOID, k.OID})
		}
		delete(was, k)
	}
	for k := range was {
		out = append(out, RefChange{k.Name(), k.OID, ZeroOID})
	}
	slices.SortFunc(out, func(a, b RefChange) int { return cmp.Compare(a.Ref, b.Ref) })
	return out
}
