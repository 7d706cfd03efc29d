package render

import (
	"fmt"
	"html/template"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/alecthomas/chroma/v2"
	"github.com/alecthomas/chroma/v2/lexers"
)

const (
	maxHighlightLine = 5000 // bytes of a line; in longer ones nothing is highlighted
	maxHighlightTime = 2 * time.Second
)

// escape writes bytes from outside as text of a page. What cannot be seen is told in a span.
func escape(b *strings.Builder, s string) {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '<':
				b.WriteString("&lt;")
			case c == '>':
				b.WriteString("&gt;")
			case c == '&':
				b.WriteString("&amp;")
			case c == '"':
				b.WriteString("&#34;")
			case c == '\'':
				b.WriteString("&#39;")
			case c == '\r':
				// a line ends here, in some files
			case c == '\t', c == '\n', c >= 0x20 && c < 0x7f:
				b.WriteByte(c)
			default:
				fmt.Fprintf(b, `<b class="x">\x%02x</b>`, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(b, `<b class="x">\x%02x</b>`, c)
		case isHidden(r):
			fmt.Fprintf(b, `<b class="x">\u%04x</b>`, r)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
}

// codeLines returns source text with an anchor in front of each line. name decides the language;
// "" is none.
func codeLines(text, name string, now func() time.Time) template.HTML {
	var b strings.Builder
	b.Grow(len(text) * 3)
	line := 0
	begin := func() {
		line++
		fmt.Fprintf(&b, `<a id="L%d" href="#L%d" tabindex="-1"></a>`, line, line)
	}
	emit(text, lexer(name), now, func(s, class string) {
		for s != "" {
			if line == 0 || strings.HasSuffix(b.String()[max(0, b.Len()-1):], "\n") {
				begin()
			}
			part, rest, found := strings.Cut(s, "\n")
			span(&b, part, class)
			if found {
				b.WriteByte('\n')
			}
			s = rest
		}
	})
	return template.HTML(b.String())
}

// codeText is codeLines without anchors, for examples in Markdown; language is its name.
func codeText(text, language string, now func() time.Time) string {
	var b strings.Builder
	var l chroma.Lexer
	if language != "" {
		l = lexers.Get(language)
	}
	emit(text, l, now, func(s, class string) { span(&b, s, class) })
	return b.String()
}

func span(b *strings.Builder, s, class string) {
	if class == "" || strings.TrimSpace(s) == "" {
		escape(b, s)
		return
	}
	b.WriteString(`<span class="` + class + `">`)
	escape(b, s)
	b.WriteString("</span>")
}

// plainEndings are endings of file names that alone tell the language. Looking for it among all
// patterns costs as much as a small page.
var plainEndings = map[string]string{".go": "go", ".c": "c", ".py": "python", ".js": "javascript", ".rs": "rust", ".java": "java", ".rb": "ruby", ".css": "css", ".json": "json"}

func lexer(name string) chroma.Lexer {
	if name == "" {
		return nil
	}
	if l := plainEndings[path.Ext(name)]; l != "" {
		return lexers.Get(l)
	}
	return lexers.Match(name)
}

// emit calls each with pieces of text and the classes that they have; with all of it and none if it
// cannot be highlighted.
func emit(text string, l chroma.Lexer, now func() time.Time, each func(s, class string)) {
	tokens, ok := tokenise(text, l, now)
	if !ok {
		each(text, "")
		return
	}
	for _, t := range tokens {
		class := chroma.StandardTypes[t.Type]
		for u := t.Type; class == "" && u != u.SubCategory(); {
			u = u.SubCategory()
			class = chroma.StandardTypes[u]
		}
		if t.Type < 0 || class == "w" {
			class = ""
		}
		each(t.Value, class)
	}
}

func tokenise(text string, l chroma.Lexer, now func() time.Time) (out []chroma.Token, ok bool) {
	if l == nil || !utf8.ValidString(text) {
		return nil, false
	}
	for rest := text; rest != ""; {
		line, more, _ := strings.Cut(rest, "\n")
		if len(line) > maxHighlightLine {
			return nil, false
		}
		rest = more
	}
	// A lexer is a program in a language of patterns, and this is a stranger's text.
	defer func() {
		if recover() != nil {
			out, ok = nil, false
		}
	}()
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if l.Config().Name == "Go" {
		if out, ok := goTokens(text); ok {
			return out, true
		}
	}
	next, err := chroma.Coalesce(l).Tokenise(nil, text)
	if err != nil {
		return nil, false
	}
	end, total := now().Add(maxHighlightTime), 0
	for n := 0; ; n++ {
		t := next()
		if t == chroma.EOF {
			break
		}
		if n%256 == 0 && now().After(end) {
			return nil, false
		}
		total += len(t.Value)
		if total > len(text)+1 {
			return nil, false // the lexer made something up
		}
		out = append(out, t)
	}
	if n := len(out); n > 0 && total == len(text)+1 {
		out[n-1].Value = strings.TrimSuffix(out[n-1].Value, "\n")
		total--
	}
	return out, total >= len(text)-1
}

// isText says whether data can be shown as text.
func isText(data []byte) bool {
	head := data[:min(len(data), 8000)]
	odd := 0
	for _, c := range head {
		if c == 0 {
			return false
		}
		if c < 0x20 && c != '\n' && c != '\r' && c != '\t' && c != '\f' && c != 0x1b {
			odd++
		}
	}
	return odd*20 <= len(head)
}
