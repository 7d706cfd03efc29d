// Package export writes the files of a commit into a folder, as they are in the repository: nothing
// of git runs, so that no filter, no attribute and no configuration has a say. What a stranger named
// so that it would do harm on disk is left out, and said; links are made last, so that nothing is ever
// written through one.
//
// It refuses to know where the folder is shown, and who reads it.
package export

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// A Source has the objects of one repository. What is not here is a fault.NotFound; data is nil if it
// is larger than most bytes.
type Source interface {
	Object(ctx context.Context, oid grasp.OID, most int64) (kind string, size int64, data []byte, err error)
}

// Links says what becomes of symbolic links that lead out of the tree.
type Links int

// What may become of them.
const (
	Refuse Links = iota // nothing is exported
	Skip                // they are left out
	Keep                // they are made
)

// Options bound an export. Zero fields mean the defaults.
type Options struct {
	// Want says which files are exported, by their path from the root, with slashes. nil wants all.
	Want func(path string) bool

	Links Links

	MaxFiles int   // files, folders and links. Default 200,000
	MaxBytes int64 // of all files. Default 2 GiB
	MaxFile  int64 // of one file; it is held in memory. Default 100 MiB

	// Dirs is the mode of folders; files get it without what lets one enter them, unless they are
	// programs. Default 0755.
	Dirs fs.FileMode
}

// A Report says what was exported.
type Report struct {
	Commit  grasp.OID
	Files   int
	Bytes   int64
	LeftOut int      // entries that were not
	Notes   []string // why, of the first ones
}

const (
	maxTree  = 16 << 20 // bytes of a tree object
	maxDepth = 200
	maxPath  = 3000 // bytes
	maxName  = 255  // bytes: what file systems take
	maxLink  = 4000 // bytes of a link's target
	maxNotes = 20
)

// An exporter is at work.
type exporter struct {
	ctx   context.Context
	src   Source
	root  *os.Root
	opt   Options
	rep   Report
	n     int
	made  map[string]bool // folders
	links map[string]string
}

// Tree writes the files of the commit, tag or tree oid into dir, an empty folder that nobody else
// writes into. What is not here is a fault.NotFound, what is over a limit a fault.TooLarge, a link that
// leads out of the tree, while Links refuses it, a fault.Refused. After an error dir is in no
// particular state. It is not synced.
func Tree(ctx context.Context, src Source, oid grasp.OID, dir string, opt Options) (Report, error) {
	const op = "export: tree"
	if opt.MaxFiles <= 0 {
		opt.MaxFiles = 200_000
	}
	if opt.MaxBytes <= 0 {
		opt.MaxBytes = 2 << 30
	}
	if opt.MaxFile <= 0 {
		opt.MaxFile = 100 << 20
	}
	if opt.Dirs == 0 {
		opt.Dirs = 0o755
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Report{}, fault.Wrap(op, err)
	}
	defer root.Close()
	e := &exporter{ctx: ctx, src: src, root: root, opt: opt, made: map[string]bool{"": true}, links: map[string]string{}}
	tree, err := e.peel(oid)
	if err == nil {
		err = e.walk(tree)
	}
	if err == nil {
		err = e.link()
	}
	if err != nil {
		return Report{}, fault.Wrap(op, err)
	}
	return e.rep, nil
}

// peel returns the tree behind oid.
func (e *exporter) peel(oid grasp.OID) (grasp.OID, error) {
	for range 10 {
		kind, _, data, err := e.src.Object(e.ctx, oid, maxTree)
		if err != nil {
			return "", err
		}
		word := "tree "
		switch kind {
		case "tree":
			return oid, nil
		case "commit":
			e.rep.Commit = oid
		case "tag":
			word = "object "
		default:
			return "", fault.Errorf(fault.Invalid, "export: tree", "%s is a %s; a commit is needed", oid, kind)
		}
		line, _, _ := strings.Cut(string(data), "\n")
		next, ok := strings.CutPrefix(line, word)
		if !ok || !grasp.IsHex(next, len(oid)) {
			return "", fault.Errorf(fault.Invalid, "export: tree", "the %s %s cannot be read", kind, oid)
		}
		oid = grasp.OID(next)
	}
	return "", fault.E(fault.Invalid, "export: tree", "tags that point to tags that point to tags")
}

func (e *exporter) leaveOut(p, why string) {
	e.rep.LeftOut++
	if len(e.rep.Notes) < maxNotes {
		e.rep.Notes = append(e.rep.Notes, fmt.Sprintf("%.200q is left out: %s", p, why))
	}
}

func (e *exporter) walk(tree grasp.OID) error {
	type folder struct {
		path string
		oid  grasp.OID
	}
	todo := []folder{{"", tree}}
	for len(todo) > 0 {
		f := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if err := e.ctx.Err(); err != nil {
			return context.Cause(e.ctx)
		}
		kind, size, data, err := e.src.Object(e.ctx, f.oid, maxTree)
		switch {
		case err != nil:
			return err
		case kind != "tree":
			return fault.Errorf(fault.Invalid, "export: tree", "%q is not a folder but a %s", f.path, kind)
		case data == nil:
			return fault.Errorf(fault.TooLarge, "export: tree", "the folder %q takes %d bytes to list", f.path, size)
		}
		entries, err := parse(data, len(f.oid)/2)
		if err != nil {
			return fault.Errorf(fault.Invalid, "export: tree", "the folder %q cannot be read: %v", f.path, err)
		}
		seen := map[string]bool{}
		for _, en := range entries {
			p := path.Join(f.path, en.name)
			if why := Unsafe(en.name); why != "" {
				e.leaveOut(f.path+"/"+en.name, why)
				continue
			}
			if seen[en.name] {
				e.leaveOut(p, "the folder has two of that name")
				continue
			}
			seen[en.name] = true
			if len(p) > maxPath || strings.Count(p, "/") > maxDepth {
				e.leaveOut(p, "it is too deep")
				continue
			}
			if e.n++; e.n > e.opt.MaxFiles {
				return fault.Errorf(fault.TooLarge, "export: tree", "there are more than %d files; name those that are needed, or raise max_files", e.opt.MaxFiles)
			}
			if en.mode&0o170000 == 0o040000 {
				if e.opt.Want == nil {
					if err := e.folder(p); err != nil {
						return err
					}
				}
				todo = append(todo, folder{p, en.oid})
				continue
			}
			if e.opt.Want != nil && !e.opt.Want(p) {
				continue
			}
			if err := e.entry(p, en); err != nil {
				return err
			}
		}
	}
	return nil
}

// entry exports what is no folder.
func (e *exporter) entry(p string, en entry) error {
	switch en.mode & 0o170000 {
	case 0o160000:
		e.leaveOut(p, "it is a submodule: its folder is empty")
		return e.folder(p)
	case 0o100000, 0o120000:
	default:
		e.leaveOut(p, fmt.Sprintf("its mode %o is neither a file's nor a link's", en.mode))
		return nil
	}
	isLink := en.mode&0o170000 == 0o120000
	kind, size, data, err := e.src.Object(e.ctx, en.oid, e.opt.MaxFile)
	switch {
	case err != nil:
		return err
	case kind != "blob":
		return fault.Errorf(fault.Invalid, "export: tree", "%q is not a file but a %s", p, kind)
	case data == nil && size > 0:
		return fault.Errorf(fault.TooLarge, "export: tree", "%q has %d bytes, more than the %d that one file may have", p, size, e.opt.MaxFile)
	case isLink && (len(data) == 0 || len(data) > maxLink || bytes.IndexByte(data, 0) >= 0):
		e.leaveOut(p, "it is a link to nothing that could be")
		return nil
	case isLink:
		e.links[p] = string(data)
		return nil
	}
	if e.rep.Bytes += size; e.rep.Bytes > e.opt.MaxBytes {
		return fault.Errorf(fault.TooLarge, "export: tree", "the files have more than %d bytes; name those that are needed, or raise max_bytes", e.opt.MaxBytes)
	}
	if err := e.folder(path.Dir(p)); err != nil {
		return err
	}
	mode := e.opt.Dirs &^ 0o111
	if en.mode&0o100 != 0 {
		mode = e.opt.Dirs
	}
	f, err := e.root.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		e.leaveOut(p, "this file system takes it for another of the same name")
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if cerr := f.Chmod(mode); err == nil { // whatever the umask is
		err = cerr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	e.rep.Files++
	return err
}

// folder makes the folder p and those above it.
func (e *exporter) folder(p string) error {
	if p == "." {
		p = ""
	}
	if e.made[p] {
		return nil
	}
	if err := e.folder(path.Dir(p)); err != nil {
		return err
	}
	e.made[p] = true
	if err := e.root.Mkdir(p, e.opt.Dirs); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return e.root.Chmod(p, e.opt.Dirs)
}

// link makes the links, when everything else is there.
func (e *exporter) link() error {
	names := make([]string, 0, len(e.links))
	for p := range e.links {
		names = append(names, p)
	}
	slices.Sort(names)
	var keep []string
	for _, p := range names {
		if e.opt.Links != Keep && e.leaves(p) {
			if e.opt.Links == Refuse {
				return fault.Errorf(fault.Refused, "export: tree", "%q is a link to %.200q, which is not in the tree; remove it, or say symlinks: skip or symlinks: keep", p, e.links[p])
			}
			e.leaveOut(p, "it is a link that leads out of the tree")
			continue
		}
		keep = append(keep, p)
	}
	for _, p := range keep {
		if err := e.folder(path.Dir(p)); err != nil {
			return err
		}
		if err := e.root.Symlink(filepath.FromSlash(e.links[p]), p); err != nil {
			if errors.Is(err, fs.ErrExist) {
				e.leaveOut(p, "this file system takes it for another of the same name")
				continue
			}
			return err
		}
		e.rep.Files++
	}
	return nil
}

// leaves reports whether whoever follows the link at p comes out of the tree on the way, also by way
// of other links. What goes in circles leads nowhere, and so not out.
func (e *exporter) leaves(p string) bool {
	var at []string // where we are, without links
	todo := strings.Split(p, "/")
	for steps := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return true
			}
			at = at[:len(at)-1]
			continue
		}
		here := strings.Join(append(slices.Clone(at), name), "/")
		target, ok := e.links[here]
		if !ok {
			at = append(at, name)
			continue
		}
		if steps++; steps > 40 {
			return false
		}
		if strings.HasPrefix(target, "/") {
			return true
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return false
}

// An entry is one line of a tree object.
type entry struct {
	mode int
	name string
	oid  grasp.OID
}

// parse reads a tree object whose ids have n bytes.
func parse(data []byte, n int) ([]entry, error) {
	var out []entry
	for len(data) > 0 {
		sp, nul := bytes.IndexByte(data, ' '), bytes.IndexByte(data, 0)
		if sp < 1 || nul < sp || len(data) < nul+1+n {
			return nil, errors.New("it is broken")
		}
		mode, err := strconv.ParseUint(string(data[:sp]), 8, 20)
		if err != nil {
			return nil, errors.New("a mode is not a number")
		}
		out = append(out, entry{int(mode), string(data[sp+1 : nul]), grasp.OID(hex.EncodeToString(data[nul+1 : nul+1+n]))})
		data = data[nul+1+n:]
	}
	return out, nil
}

// Unsafe returns why no file of a stranger may have this name, or "". Any bytes are taken that are
// one name on every file system, but nothing that git, or a file system that folds names, could take for
// its own folder.
func Unsafe(name string) string {
	switch {
	case name == "" || name == "." || name == "..":
		return "it is no name"
	case strings.ContainsAny(name, "/\\\x00"):
		return "it has a slash, a backslash or a NUL in its name"
	case len(name) > maxName:
		return "its name is too long"
	}
	// What file systems fold or pass over: case, what cannot be seen, dots and spaces at the end,
	// streams behind a colon, short names.
	folded := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) || r == 0xfeff {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
	if !utf8.ValidString(name) {
		folded = strings.ToLower(name)
	}
	folded, _, _ = strings.Cut(folded, ":")
	folded = strings.TrimRight(folded, ". ")
	if folded == ".git" || strings.HasPrefix(folded, "git~") && len(folded) < 8 {
		return "it could be taken for git's own folder"
	}
	return ""
}
