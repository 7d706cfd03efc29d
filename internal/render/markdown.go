package render

import (
	"bytes"
	"fmt"
	"html/template"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

const (
	maxMarkdown = 256 << 10
	maxNesting  = 60 // markers of containers at the begin of a line
)

// A target is what a path in a Markdown link points to.
type target struct {
	href  string // from the page that is made; "" if nothing is there
	image string // the raw file, if it can be shown as an image
}

// A markdowner turns Markdown from strangers into HTML that cannot do anything. Safe for concurrent use.
type markdowner struct {
	md     goldmark.Markdown
	policy *bluemonday.Policy
	now    func() time.Time
}

func newMarkdowner(now func() time.Time) *markdowner {
	m := &markdowner{now: now}
	m.md = goldmark.New(
		goldmark.WithExtensions(
			extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute)),
			extension.Strikethrough, extension.Linkify, extension.TaskList,
		),
		goldmark.WithParserOptions(parser.WithAutoHeadingID()),
		goldmark.WithRendererOptions(html.WithXHTML(), renderer.WithNodeRenderers(util.Prioritized(m, 100))),
	)
	word := regexp.MustCompile(`^[a-z0-9]{1,8}$`)
	p := bluemonday.NewPolicy()
	p.AllowElements("h1", "h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "blockquote", "ul", "ol", "li", "pre", "code",
		"em", "strong", "del", "table", "thead", "tbody", "tr", "th", "td")
	p.AllowAttrs("id").Matching(regexp.MustCompile(`^md-[\p{L}\p{N}_-]{1,200}$`)).OnElements("h1", "h2", "h3", "h4", "h5", "h6")
	p.AllowAttrs("class").Matching(word).OnElements("pre", "span", "b")
	p.AllowAttrs("align").Matching(regexp.MustCompile(`^(left|right|center)$`)).OnElements("th", "td")
	p.AllowAttrs("start").Matching(bluemonday.Integer).OnElements("ol")
	p.AllowAttrs("href", "title").OnElements("a")
	p.AllowAttrs("src").Matching(regexp.MustCompile(`^(\.\./)*raw/[0-9a-f]{2}/[0-9a-f]{40}\.(png|jpg|gif|webp)$`)).OnElements("img")
	p.AllowAttrs("alt", "title").OnElements("img")
	p.AllowAttrs("type").Matching(regexp.MustCompile(`^checkbox$`)).OnElements("input")
	p.AllowAttrs("checked", "disabled").OnElements("input")
	p.RequireNoReferrerOnLinks(true)
	p.RequireNoFollowOnFullyQualifiedLinks(true)
	p.AllowRelativeURLs(true)
	p.AllowURLSchemes("http", "https", "mailto")
	m.policy = p
	return m
}

// RegisterFuncs implements goldmark's renderer.NodeRenderer.
func (m *markdowner) RegisterFuncs(r renderer.NodeRendererFuncRegisterer) {
	r.Register(ast.KindFencedCodeBlock, func(w util.BufWriter, source []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering {
			block := n.(*ast.FencedCodeBlock)
			var code bytes.Buffer
			for i := range block.Lines().Len() {
				at := block.Lines().At(i)
				code.Write(at.Value(source))
			}
			_, err := w.WriteString(`<pre class="code"><code>` + codeText(code.String(), string(block.Language(source)), m.now) + "</code></pre>\n")
			return ast.WalkSkipChildren, err
		}
		return ast.WalkContinue, nil
	})
}

// render returns source as HTML. dir is the folder it lies in, and find tells what is at a path of
// the repository. links are the paths that find was asked for. ok is false if it is not fit to be
// read as Markdown, and should be shown as it is.
func (m *markdowner) render(source []byte, dir string, find func(p string) target) (page template.HTML, links []string, ok bool) {
	if len(source) > maxMarkdown || tooDeep(source) {
		return "", nil, false
	}
	// The text is a stranger's, and the parsers are not ours.
	defer func() {
		if recover() != nil {
			page, links, ok = "", nil, false
		}
	}()
	clean := []byte(strings.Map(func(r rune) rune {
		if r != '\r' && isHidden(r) && r != 0x200d && r != 0x200c {
			return '\ufffd'
		}
		return r
	}, string(source)))
	ctx := parser.NewContext(parser.WithIDs(&headings{}))
	doc := m.md.Parser().Parse(text.NewReader(clean), parser.WithContext(ctx))
	ask := func(p string) target {
		links = append(links, p)
		return find(p)
	}
	rewrite(doc, clean, dir, ask)
	var out bytes.Buffer
	if err := m.md.Renderer().Render(&out, clean, doc); err != nil {
		return "", nil, false
	}
	return template.HTML(m.policy.SanitizeBytes(out.Bytes())), links, true
}

// tooDeep says whether a line opens more containers than a person would write: the parser would
// nest as deep as that.
func tooDeep(source []byte) bool {
	for len(source) > 0 {
		line, rest, _ := bytes.Cut(source, []byte("\n"))
		n := 0
		for i, c := range line {
			if c == '>' || (c == '-' || c == '*' || c == '+' || c == '.' || c == ')') && i+1 < len(line) && (line[i+1] == ' ' || line[i+1] == '\t') {
				n++
			} else if c != ' ' && c != '\t' && (c < '0' || c > '9') {
				break
			}
		}
		if n > maxNesting || len(line) > 64<<10 {
			return true
		}
		source = rest
	}
	return false
}

// rewrite makes links point into the site, and leaves no image that is not of the repository.
func rewrite(doc ast.Node, source []byte, dir string, find func(string) target) {
	var nodes []ast.Node
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering && (n.Kind() == ast.KindLink || n.Kind() == ast.KindImage) {
			nodes = append(nodes, n)
		}
		return ast.WalkContinue, nil
	})
	for _, n := range nodes {
		switch n := n.(type) {
		case *ast.Link:
			if href := resolve(string(n.Destination), dir, find).href; href != "" {
				n.Destination = []byte(href)
			} else {
				unwrap(n)
			}
		case *ast.Image:
			t := resolve(string(n.Destination), dir, find)
			switch {
			case t.image != "":
				n.Destination = []byte(t.image)
			case t.href == "" || inLink(n):
				unwrap(n)
			default:
				link := ast.NewLink()
				link.Destination = []byte(t.href)
				if !n.HasChildren() {
					link.AppendChild(link, ast.NewString([]byte("image")))
				}
				move(n, func(c ast.Node) { link.AppendChild(link, c) })
				n.Parent().ReplaceChild(n.Parent(), n, link)
			}
		}
	}
}

func inLink(n ast.Node) bool {
	for p := n.Parent(); p != nil; p = p.Parent() {
		if p.Kind() == ast.KindLink {
			return true
		}
	}
	return false
}

func move(from ast.Node, to func(ast.Node)) {
	for c := from.FirstChild(); c != nil; {
		next := c.NextSibling()
		from.RemoveChild(from, c)
		to(c)
		c = next
	}
}

// unwrap leaves of n only what is in it.
func unwrap(n ast.Node) {
	parent := n.Parent()
	move(n, func(c ast.Node) { parent.InsertBefore(parent, n, c) })
	parent.RemoveChild(parent, n)
}

// resolve says what a link in a file of dir means. It never leaves the repository.
func resolve(dest, dir string, find func(string) target) target {
	u, err := url.Parse(strings.TrimSpace(dest))
	if err != nil {
		return target{}
	}
	switch u.Scheme {
	case "http", "https":
		if u.Host == "" {
			return target{}
		}
		return target{href: u.String()}
	case "mailto":
		return target{href: u.String()}
	case "":
	default:
		return target{}
	}
	if u.Host != "" {
		u.Scheme = "https"
		return target{href: u.String()}
	}
	frag := ""
	if u.Fragment != "" {
		frag = "#md-" + url.PathEscape(u.Fragment)
		if isLineAnchor(u.Fragment) {
			frag = "#" + u.Fragment
		}
	}
	if u.Path == "" {
		if frag == "" {
			return target{}
		}
		return target{href: frag}
	}
	p := u.Path
	if !strings.HasPrefix(p, "/") {
		p = dir + "/" + p
	}
	t := find(strings.Trim(path.Clean("/"+p), "/"))
	if t.href != "" {
		t.href += frag
	}
	return t
}

func isLineAnchor(s string) bool {
	digits, ok := strings.CutPrefix(s, "L")
	return ok && digits != "" && len(digits) < 8 && strings.Trim(digits, "0123456789") == ""
}

// headings gives the headings of one document ids that no other part of the page has.
type headings struct{ seen map[string]int }

// Generate implements parser.IDs.
func (h *headings) Generate(value []byte, _ ast.NodeKind) []byte {
	var b strings.Builder
	for _, r := range strings.ToLower(string(value)) {
		switch {
		case r == ' ' || r == '-':
			b.WriteByte('-')
		case r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r > 0x7f && r != '\ufffd':
			b.WriteRune(r)
		}
		if b.Len() > 80 {
			break
		}
	}
	id := "md-" + b.String()
	if h.seen == nil {
		h.seen = map[string]int{}
	}
	n := h.seen[id]
	h.seen[id]++
	if n > 0 {
		id = fmt.Sprintf("%s-%d", id, n)
	}
	return []byte(id)
}

// Put implements parser.IDs.
func (h *headings) Put(value []byte) {}

// isMarkdown and isReadme go by the name of a file.
func isMarkdown(name string) bool {
	n := strings.ToLower(name)
	return strings.HasSuffix(n, ".md") || strings.HasSuffix(n, ".markdown")
}

// readmeRank is lower for what is the better README; 0 for what is none.
func readmeRank(name string) int {
	for i, n := range []string{"readme.md", "readme.markdown", "readme", "readme.txt", "readme.rst"} {
		if strings.ToLower(name) == n {
			return i + 1
		}
	}
	return 0
}
