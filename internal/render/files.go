package render

import (
	"context"
	"fmt"
	"html/template"
	"path"
	"slices"
	"strings"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

const (
	maxTree  = 16 << 20 // bytes of a tree object that is read
	maxDepth = 200      // folders in each other
)

// A node is a file or folder of a branch that has a page.
type node struct {
	entry
	path    string
	entries []entry // of a folder
	broken  bool    // it could not be read, or not all of it
}

// A forest is the files of one branch.
type forest struct {
	nodes  []*node // folders before what is in them
	byPath map[string]*node
	full   bool // not everything has a page
}

// forest reads the tree of a commit, widest first, up to most files and folders.
func (b *builder) forest(ctx context.Context, root grasp.OID, most int) (*forest, error) {
	f := &forest{byPath: map[string]*node{}}
	add := func(e entry, p string) {
		if len(f.nodes) >= most || strings.Count(p, "/") > maxDepth {
			f.full = true
			return
		}
		n := &node{entry: e, path: p}
		f.nodes = append(f.nodes, n)
		f.byPath[p] = n
	}
	add(entry{mode: modeTree, oid: root}, "")
	for i := 0; i < len(f.nodes); i++ {
		n := f.nodes[i]
		if !n.isTree() {
			continue
		}
		kind, _, data, err := b.src.Object(ctx, n.oid, maxTree)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return nil, err
		}
		if err != nil || kind != "tree" || data == nil {
			n.broken = true
			continue
		}
		list, ok := parseTree(data)
		n.entries, n.broken = list, !ok
		for _, e := range list {
			if e.mode != modeSubmodule {
				add(e, path.Join(n.path, e.name))
			}
		}
	}
	return f, nil
}

// find says what is at p, as seen from the page at from; both below the branch. up leads from there
// to the site.
func (f *forest) find(from, prefix, up string) func(p string) target {
	return func(p string) target {
		n := f.byPath[p]
		switch {
		case n == nil:
			return target{}
		case n.isTree():
			return target{href: prefix + relative(from, folderAddress(p))}
		}
		t := target{href: prefix + relative(from, fileAddress(p))}
		if ext := imageExt(n.name); ext != "" && n.mode != modeLink {
			t.image = up + rawPath(n.oid, ext)
		}
		return t
	}
}

// state is what find says, without the way there.
func (f *forest) state(p string) string {
	n := f.byPath[p]
	switch {
	case n == nil:
		return "-"
	case n.isTree():
		return "tree"
	case imageExt(n.name) != "" && n.mode != modeLink:
		return string(n.oid)
	}
	return "file"
}

// imageExt returns the ending under which an image is served, "" if name is not that of one. SVG is
// none: opened by itself it could run scripts.
func imageExt(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".png":
		return "png"
	case ".jpg", ".jpeg":
		return "jpg"
	case ".gif":
		return "gif"
	case ".webp":
		return "webp"
	}
	return ""
}

// rawPath is where the bytes of a file are. The ending is never one that a browser runs.
func rawPath(o grasp.OID, ext string) string {
	return "raw/" + string(o[:2]) + "/" + string(o) + "." + ext
}

// giveIndex gives the first page.
func (b *builder) giveIndex(ctx context.Context) error {
	if len(b.branches) == 0 || !b.branches[0].files {
		data := folderData{frame: b.frame("index.html", show(b.site.Name)), Description: show(b.site.Description), Clone: b.site.Clone, Index: true, Empty: len(b.branches) == 0}
		b.left--
		return b.p.give(page{path: "index.html", base: digest("nothing", b.style, fmt.Sprint(data.Empty)), fetch: made(func() (output, error) {
			out, err := execute("folder", data)
			return output{data: out}, err
		})})
	}
	f, err := b.forest(ctx, b.branches[0].head.tree, min(b.opt.Caps.Files, b.left))
	if err != nil {
		return err
	}
	b.left--
	return b.giveFolder(b.branches[0], f, f.nodes[0], true)
}

// giveFiles gives the files and folders of every branch that has them.
func (b *builder) giveFiles(ctx context.Context) error {
	raws := map[string]bool{}
	for _, br := range b.branches {
		if !br.files {
			continue
		}
		f, err := b.forest(ctx, br.head.tree, max(1, min(b.opt.Caps.Files, b.left)))
		if err != nil {
			return err
		}
		b.left -= len(f.nodes)
		for _, n := range f.nodes {
			if n.isTree() {
				err = b.giveFolder(br, f, n, false)
			} else {
				err = b.giveFile(br, f, n, raws)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// A crumb is one step of the way to a page.
type crumb struct{ Name, Href string }

// crumbs returns the way to p, whose page is at address.
func crumbs(p, address string) []crumb {
	if p == "" {
		return nil
	}
	out := []crumb{{"Files", relative(address, "index.html")}}
	parts := strings.Split(p, "/")
	for i, name := range parts {
		c := crumb{Name: show(name)}
		if i < len(parts)-1 {
			c.Href = relative(address, folderAddress(strings.Join(parts[:i+1], "/")))
		}
		out = append(out, c)
	}
	return out
}

type fileRow struct {
	Name, Href, Kind, Size, Note string
}

type folderData struct {
	frame
	Branch, Description      string
	Clone                    []string
	Index, Empty, Cut, Lacks bool
	Head                     *commitRow
	Crumbs                   []crumb
	Rows                     []fileRow
	ReadmeName               string
	Readme                   template.HTML
	Plain                    bool
}

// giveFolder gives the page of a folder, or the first page of the site, which is the root's with more
// around it. Below the root pages do not say of which branch they are: equal folders share one.
func (b *builder) giveFolder(br branch, f *forest, n *node, index bool) error {
	inside := folderAddress(n.path)
	pg := page{path: br.tree() + inside}
	up := strings.Repeat("../", strings.Count(pg.path, "/"))
	prefix := ""
	key := []string{"folder", b.style, n.path, string(n.oid)}
	if index {
		pg.path, up, prefix = "index.html", "", br.tree()
	}
	if n.path == "" {
		key = append(key, br.name, string(br.tip), fmt.Sprint(index))
	}
	var readme *entry
	best := 100
	for i, e := range n.entries {
		has := "0"
		if f.byPath[path.Join(n.path, e.name)] != nil {
			has = "1"
		}
		key = append(key, has)
		if r := readmeRank(e.name); r > 0 && r < best && e.isBlob() && e.mode != modeLink {
			best, readme = r, &n.entries[i]
		}
	}
	pg.base = digest(key...)
	if n.broken {
		pg.base = ""
	}
	pg.state = f.state
	find := f.find(inside, prefix, up)
	pg.fetch = func(ctx context.Context) (func() (output, error), error) {
		data := folderData{frame: b.frame(pg.path, show(n.path)), Index: index, Lacks: n.broken, Crumbs: crumbs(n.path, inside)}
		if n.path == "" {
			data.Branch = show(br.name)
			data.Title = show(b.site.Name) + ", files of " + show(br.name)
			head := br.head.row(up)
			data.Head = &head
		}
		if index {
			data.Title, data.Description, data.Clone = show(b.site.Name), show(b.site.Description), b.site.Clone
		}
		partial := n.broken
		for _, e := range n.entries {
			r := fileRow{Name: show(e.name), Kind: "file"}
			p := path.Join(n.path, e.name)
			if f.byPath[p] == nil && e.mode != modeSubmodule {
				data.Cut = true
			}
			switch t := find(p); {
			case e.mode == modeSubmodule:
				r.Kind, r.Note = "submodule", string(e.oid[:8])
			case e.isTree():
				r.Kind, r.Href = "folder", t.href
			default:
				r.Href = t.href
				if e.mode == modeLink {
					r.Kind = "link"
				}
				_, size, _, err := b.src.Object(ctx, e.oid, -1)
				switch {
				case err == nil:
					r.Size = sizeText(size)
				case fault.Is(err, fault.NotFound):
					r.Note, partial = "not here", true
				default:
					return nil, err
				}
			}
			data.Rows = append(data.Rows, r)
		}
		slices.SortStableFunc(data.Rows, func(x, y fileRow) int {
			fx, fy := x.Kind == "folder", y.Kind == "folder"
			switch {
			case fx == fy:
				return 0
			case fx:
				return -1
			}
			return 1
		})
		var text []byte
		if readme != nil {
			_, _, data, err := b.src.Object(ctx, readme.oid, b.opt.Caps.Highlight)
			if err != nil && !fault.Is(err, fault.NotFound) {
				return nil, err
			}
			text = data
			partial = partial || err != nil
		}
		return func() (output, error) {
			var links []string
			if text != nil && isText(text) {
				data.ReadmeName = show(readme.name)
				ok := false
				if isMarkdown(readme.name) {
					data.Readme, links, ok = b.md.render(text, n.path, find)
				}
				if !ok {
					data.Readme, data.Plain = codePlain(text), true
				}
			}
			out, err := execute("folder", data)
			return output{data: out, links: compact(links), partial: partial}, err
		}, nil
	}
	return b.p.give(pg)
}

func compact(links []string) []string {
	slices.Sort(links)
	return slices.Compact(links)
}

// codePlain is text without language and anchors.
func codePlain(text []byte) template.HTML {
	var b strings.Builder
	escape(&b, string(text))
	return template.HTML(b.String())
}

func sizeText(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// giveFile gives the raw bytes of a file, and its page. The page does not say of which branch it is:
// equal files at one path share one.
func (b *builder) giveFile(br branch, f *forest, n *node, raws map[string]bool) error {
	inside := fileAddress(n.path)
	pg := page{path: br.tree() + inside, base: digest("file", b.style, n.path, string(n.oid), fmt.Sprint(n.mode)), state: f.state}
	if !isMarkdown(n.name) {
		pg.state = nil
	}
	up := strings.Repeat("../", strings.Count(pg.path, "/"))
	// What is read of the file is read once, for its page and for its raw bytes.
	var content *struct {
		size int64
		data []byte
		err  error
	}
	read := func(ctx context.Context) (int64, []byte, error) {
		if content == nil {
			kind, size, data, err := b.src.Object(ctx, n.oid, b.opt.Caps.Raw)
			if err == nil && kind != "blob" {
				err = fault.Errorf(fault.NotFound, "render: read file", "%s is a %s", n.oid, kind)
			}
			content = &struct {
				size int64
				data []byte
				err  error
			}{size, data, err}
		}
		return content.size, content.data, content.err
	}
	ext := imageExt(n.name)
	_, rec, twin := b.p.known(&pg)
	known := rec != nil || twin
	if n.mode != modeLink {
		// Whether it is text is told by what is in it. A known one is asked for by both names.
		names := []string{ext}
		if ext == "" {
			names = []string{"txt", "bin"}
		}
		for _, e := range names {
			raw := page{path: rawPath(n.oid, e), raw: true, base: digest("raw", string(n.oid), e)}
			if raws[raw.path] {
				continue
			}
			if _, rec, _ := b.p.known(&raw); rec == nil {
				if known && len(names) > 1 && b.hasRaw(n.oid) {
					continue
				}
				_, data, err := read(b.p.ctx)
				if err != nil && !fault.Is(err, fault.NotFound) {
					return err
				}
				if err != nil || data == nil || ext == "" && isText(data) != (e == "txt") {
					continue
				}
				raw.fetch = made(func() (output, error) { return output{data: data}, nil })
			}
			raws[raw.path] = true
			if err := b.p.give(raw); err != nil {
				return err
			}
		}
	}
	pg.fetch = func(ctx context.Context) (func() (output, error), error) {
		size, data, err := read(ctx)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return nil, err
		}
		missing := err != nil
		return func() (output, error) { return b.filePage(pg.path, inside, up, f, n, size, data, missing) }, nil
	}
	return b.p.give(pg)
}

// hasRaw says whether the last generation has the raw bytes of o, under one of its names.
func (b *builder) hasRaw(o grasp.OID) bool {
	for _, e := range []string{"txt", "bin"} {
		if _, ok := b.p.last.byKey[digest(digest("raw", string(o), e))]; ok {
			return true
		}
	}
	return false
}

func (b *builder) filePage(p, inside, up string, f *forest, n *node, size int64, content []byte, missing bool) (output, error) {
	data := struct {
		frame
		Crumbs               []crumb
		File, Size, Raw      string
		Image, Link          bool
		Missing, Large, Bin  bool
		Lines                template.HTML
		Markdown             template.HTML
		Target               string
		Executable, TooLarge bool
	}{frame: b.frame(p, show(n.path)), Crumbs: crumbs(n.path, inside), File: show(n.name), Size: sizeText(size), Missing: missing, Executable: n.mode == 0o100755}
	var links []string
	ext := imageExt(n.name)
	text := content != nil && isText(content)
	if ext == "" {
		ext = "bin"
		if text {
			ext = "txt"
		}
	}
	if content != nil && n.mode != modeLink {
		data.Raw = up + rawPath(n.oid, ext)
	}
	switch {
	case missing:
	case content == nil:
		data.TooLarge = true
	case n.mode == modeLink:
		data.Link, data.Target = true, clip(string(content), 4000)
	case imageExt(n.name) != "":
		data.Image = true
	case !text:
		data.Bin = true
	case size > b.opt.Caps.Text:
		data.Large = true
	default:
		name := n.name
		if size > b.opt.Caps.Highlight {
			name = ""
		}
		ok := false
		if isMarkdown(n.name) {
			dir := path.Dir(n.path)
			data.Markdown, links, ok = b.md.render(content, strings.TrimPrefix(dir, "."), f.find(inside, "", up))
		}
		if !ok {
			data.Lines = codeLines(string(content), name, b.opt.Now)
		}
	}
	out, err := execute("file", data)
	return output{data: out, links: compact(links), partial: missing}, err
}
