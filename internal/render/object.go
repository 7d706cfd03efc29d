package render

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
)

// The modes of tree entries that mean something to a page.
const (
	modeTree      = 0o040000
	modeLink      = 0o120000
	modeSubmodule = 0o160000
)

// An entry is one line of a tree. path is where it is below the root of the tree that was asked for.
type entry struct {
	mode int
	name string
	oid  grasp.OID
}

func (e entry) isTree() bool { return e.mode == modeTree }
func (e entry) isBlob() bool { return e.mode != modeTree && e.mode != modeSubmodule }

// parseTree reads a tree object. Entries that cannot be a path, and the second of two with one name,
// are left out; what follows a broken one is left out as well, and ok is false.
func parseTree(data []byte) (list []entry, ok bool) {
	seen := map[string]bool{}
	ok = true
	for len(data) > 0 {
		sp, nul := bytes.IndexByte(data, ' '), bytes.IndexByte(data, 0)
		if sp < 0 || nul < sp || len(data) < nul+21 {
			return list, false
		}
		mode, err := strconv.ParseUint(string(data[:sp]), 8, 20)
		name := string(data[sp+1 : nul])
		e := entry{mode: int(mode), name: name, oid: grasp.OID(hex.EncodeToString(data[nul+1 : nul+21]))}
		data = data[nul+21:]
		if err != nil || name == "" || name == "." || name == ".." || strings.Contains(name, "/") || seen[name] {
			ok = false
			continue
		}
		seen[name] = true
		list = append(list, e)
	}
	return list, ok
}

// A person is who wrote or committed, and when by their own clock.
type person struct {
	name, email string
	when        time.Time
	known       bool // when is
}

// A commit is what pages tell of one.
type commit struct {
	oid, tree         grasp.OID
	parents           []grasp.OID
	author, committer person
	message           string
}

const (
	maxParents = 64
	maxMessage = 64 << 10
)

// parseCommit reads a commit object; ok is false if it names no tree.
func parseCommit(oid grasp.OID, data []byte) (c *commit, ok bool) {
	c = &commit{oid: oid}
	head, message, _ := bytes.Cut(data, []byte("\n\n"))
	c.message = string(message[:min(len(message), maxMessage)])
	for _, line := range strings.Split(string(head), "\n") {
		key, value, _ := strings.Cut(line, " ")
		switch key {
		case "tree":
			if c.tree == "" && grasp.IsHex(value, 40) {
				c.tree = grasp.OID(value)
			}
		case "parent":
			if grasp.IsHex(value, 40) && len(c.parents) < maxParents {
				c.parents = append(c.parents, grasp.OID(value))
			}
		case "author":
			c.author = parsePerson(value)
		case "committer":
			c.committer = parsePerson(value)
		}
	}
	return c, c.tree != ""
}

// parseTag returns what an annotated tag says.
func parseTag(data []byte) (who person, message string) {
	head, text, _ := bytes.Cut(data, []byte("\n\n"))
	for _, line := range strings.Split(string(head), "\n") {
		if v, ok := strings.CutPrefix(line, "tagger "); ok {
			who = parsePerson(v)
		}
	}
	return who, string(text[:min(len(text), maxMessage)])
}

// parsePerson reads "Name <mail> 1700000000 +0200", or as much of it as is there.
func parsePerson(s string) person {
	var p person
	name, rest, _ := strings.Cut(s, "<")
	mail, when, _ := strings.Cut(rest, ">")
	p.name, p.email = clip(strings.TrimSpace(name), 200), clip(strings.TrimSpace(mail), 200)
	f := strings.Fields(when)
	if len(f) == 0 {
		return p
	}
	sec, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil || sec < -62135596800 || sec > 253402300799 {
		return p
	}
	zone := 0
	if len(f) > 1 && len(f[1]) == 5 {
		if n, err := strconv.Atoi(f[1]); err == nil {
			zone = (n/100*60 + n%100) * 60
		}
	}
	p.when, p.known = time.Unix(sec, 0).In(time.FixedZone("", zone)), true
	return p
}
