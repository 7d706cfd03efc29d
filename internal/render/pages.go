package render

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
)

//go:embed templates/pages.html
var templateFS embed.FS

//go:embed templates/pages.html
var templateText string

var templates = template.Must(template.ParseFS(templateFS, "templates/pages.html"))

// A tag is what pages tell of one.
type tag struct {
	name        string
	oid, target grasp.OID
	head        *commit // nil if it has no page
	who         person
	message     string
}

// A frame is what stands around every page.
type frame struct {
	Title, Name, Up, CSS, Tree, Log string
}

// frame returns what stands around the page at path.
func (b *builder) frame(path, title string) frame {
	f := frame{Title: title, Name: show(b.site.Name), Up: strings.Repeat("../", strings.Count(path, "/")), CSS: b.css}
	if len(b.branches) > 0 && b.branches[0].files {
		f.Tree, f.Log = b.branches[0].tree(), b.branches[0].log()
	}
	if f.Up == "" {
		f.Up = "./"
	}
	return f
}

func execute(name string, data any) ([]byte, error) {
	var b bytes.Buffer
	err := templates.ExecuteTemplate(&b, name, data)
	return b.Bytes(), err
}

func (b *builder) stub(path string) []byte {
	data, err := execute("stub", b.frame(path, "Left out"))
	if err != nil {
		return []byte("left out: the site is too large\n")
	}
	return data
}

// A stamp is a moment as pages show it.
type stamp struct{ Machine, Person string }

func (p person) stamp() *stamp {
	if !p.known {
		return nil
	}
	return &stamp{p.when.Format(time.RFC3339), p.when.Format("2006-01-02 15:04 -0700")}
}

// A commitRow is a commit in a list.
type commitRow struct {
	Subject, ID, Short, Author string
	When                       *stamp
	Href                       string
}

func (c *commit) row(up string) commitRow {
	r := commitRow{Subject: clip(c.message, 120), ID: string(c.oid), Short: string(c.oid[:8]), Author: c.author.name, When: c.author.stamp(),
		Href: up + "commit/" + string(c.oid) + ".html"}
	if r.Subject == "" {
		r.Subject = "(no message)"
	}
	return r
}

// giveRefs gives the lists of branches and of tags.
func (b *builder) giveRefs(context.Context) error {
	type row struct {
		Name, Message, Tree, Log, Short string
		Default                         bool
		When                            *stamp
		Head                            *commitRow
	}
	type list struct {
		frame
		Rows []row
		More int
	}
	lists := []struct{ path, template, title string }{{"branches.html", "branches", "Branches"}, {"tags.html", "tags", "Tags"}}
	for i, l := range lists {
		data := list{frame: b.frame(l.path, l.title), More: b.moreRefs}
		key := []string{l.template, b.style}
		if i == 0 {
			for j, br := range b.branches {
				r := row{Name: show(br.name), Short: string(br.tip[:8]), Default: j == 0}
				if br.files {
					r.Tree, r.Log = br.tree(), br.log()
				}
				if br.head != nil {
					c := br.head.row("")
					r.Head = &c
				}
				key = append(key, br.name, string(br.tip), fmt.Sprint(br.files, br.head != nil))
				data.Rows = append(data.Rows, r)
			}
		} else {
			data.More = b.moreTags
			for _, t := range b.tags {
				r := row{Name: show(t.name), Message: clip(t.message, 120), Short: string(t.target[:8]), When: t.who.stamp()}
				if t.head != nil {
					c := t.head.row("")
					r.Head = &c
				}
				key = append(key, t.name, string(t.oid), string(t.target), fmt.Sprint(t.head != nil, t.who.known, t.who.when), t.message)
				data.Rows = append(data.Rows, r)
			}
		}
		key = append(key, fmt.Sprint(data.More))
		b.left--
		if err := b.p.give(page{path: l.path, base: digest(key...), fetch: made(func() (output, error) {
			out, err := execute(l.template, data)
			return output{data: out}, err
		})}); err != nil {
			return err
		}
	}
	return nil
}

const commitsPerPage = 100

// giveLog gives the list of commits of one branch. Its pages are numbered from the oldest, so that a
// new commit changes the last one only.
func (b *builder) giveLog(br branch) error {
	type log struct {
		frame
		Branch       string
		Newer, Older string
		Rows         []commitRow
		Full, Count  int
	}
	list := b.hist.from(br.tip)
	pages := max(1, (len(list)+commitsPerPage-1)/commitsPerPage)
	name := func(n int) string {
		if n == pages {
			return br.log() + "index.html"
		}
		return fmt.Sprintf("%s%d.html", br.log(), n)
	}
	for n := pages; n >= 1; n-- {
		// The n-th hundred from the end.
		from, to := max(0, len(list)-n*commitsPerPage), len(list)-(n-1)*commitsPerPage
		rows := list[from:to]
		path := name(n)
		data := log{frame: b.frame(path, "Commits on "+show(br.name)), Branch: show(br.name)}
		key := []string{"log", b.style, br.name, path}
		if n < pages {
			data.Newer = relative(path, name(n+1))
			key = append(key, data.Newer)
		}
		if n > 1 {
			data.Older = relative(path, name(n-1))
			key = append(key, data.Older)
		} else if b.hist.full {
			data.Full = b.opt.Caps.Commits
			key = append(key, fmt.Sprint(data.Full))
		}
		for _, c := range rows {
			key = append(key, string(c.oid))
		}
		if b.left--; b.left < 0 {
			return nil
		}
		if err := b.p.give(page{path: path, base: digest(key...), fetch: made(func() (output, error) {
			for _, c := range rows {
				data.Rows = append(data.Rows, c.row(data.Up))
			}
			out, err := execute("log", data)
			return output{data: out}, err
		})}); err != nil {
			return err
		}
	}
	return nil
}

// commitPage makes the page of one commit.
func (b *builder) commitPage(path string, c *commit, d diff) (output, error) {
	type file struct {
		ID, Name, Old, What string
		Added, Gone         int
		Binary              bool
		Body                template.HTML
	}
	type parent struct{ Short, Href string }
	data := struct {
		frame
		Row                         commitRow
		Message                     string
		Author, Mail                string
		Committer                   string
		Committed                   *stamp
		Parents                     []parent
		Files                       []file
		Total, Added, Gone, Omitted int
		Cut, Missing                bool
	}{frame: b.frame(path, clip(c.message, 80)), Row: c.row(""), Message: messageBody(c.message), Author: c.author.name, Mail: c.author.email,
		Total: d.total, Cut: d.cut, Missing: d.missing, Omitted: d.total - len(d.files)}
	if c.committer.name != c.author.name || c.committer.email != c.author.email || !c.committer.when.Equal(c.author.when) {
		data.Committer, data.Committed = c.committer.name, c.committer.stamp()
	}
	for _, p := range c.parents {
		x := parent{Short: string(p[:8])}
		if b.hist.byID[p] != nil {
			x.Href = string(p) + ".html"
		}
		data.Parents = append(data.Parents, x)
	}
	for i, ch := range d.files {
		f := file{ID: fmt.Sprintf("f%d", i+1), Name: show(ch.path), What: whatHappened(ch), Added: ch.added, Gone: ch.gone, Binary: ch.binary, Body: diffBody(ch.hunks)}
		if ch.old != ch.path {
			f.Old = show(ch.old)
		}
		data.Added += ch.added
		data.Gone += ch.gone
		data.Files = append(data.Files, f)
	}
	out, err := execute("commit", data)
	return output{data: out, partial: d.missing}, err
}

// messageBody returns what follows the first line.
func messageBody(m string) string {
	_, rest, _ := strings.Cut(m, "\n")
	lines := strings.Split(strings.Trim(rest, "\n"), "\n")
	for i, l := range lines {
		lines[i] = show(strings.TrimRight(strings.ReplaceAll(l, "\t", "    "), "\r"))
	}
	return strings.Join(lines, "\n")
}

func whatHappened(c change) string {
	switch {
	case c.mode == modeSubmodule || c.before == modeSubmodule:
		return "submodule"
	case c.status == 'A':
		return "new"
	case c.status == 'D':
		return "removed"
	case c.status == 'R':
		return "renamed"
	case c.status == 'C':
		return "copied"
	case c.status == 'T':
		return "another type"
	case c.mode != c.before:
		return fmt.Sprintf("mode %o → %o", c.before, c.mode)
	}
	return "changed"
}

func diffBody(hunks []hunk) template.HTML {
	var b strings.Builder
	for _, h := range hunks {
		fmt.Fprintf(&b, "<i>Lines from %d, now %d</i>\n", h.oldLine, h.newLine)
		for _, l := range h.lines {
			switch l[0] {
			case '+':
				b.WriteString("<ins>")
				escape(&b, l)
				b.WriteString("</ins>\n")
			case '-':
				b.WriteString("<del>")
				escape(&b, l)
				b.WriteString("</del>\n")
			case '\\':
				b.WriteString("<i>no line feed at the end</i>\n")
			default:
				escape(&b, l)
				b.WriteByte('\n')
			}
		}
	}
	return template.HTML(b.String())
}
