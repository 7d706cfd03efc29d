package render

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/alecthomas/chroma/v2"
)

// Go sources are told apart by hand: by chroma's patterns it takes half of all the time that a site of a
// Go repository does. goTokens gives the very tokens that chroma gives, or none: a test holds it to that.

// goWords are the words that mean something, and what.
var goWords = func() map[string]chroma.TokenType {
	m := map[string]chroma.TokenType{}
	add := func(t chroma.TokenType, words string) {
		for w := range strings.FieldsSeq(words) {
			m[w] = t
		}
	}
	add(chroma.KeywordNamespace, "import package")
	add(chroma.KeywordDeclaration, "var func struct map chan type interface const")
	add(chroma.Keyword, "break default select case defer go else goto switch fallthrough if range continue for return")
	add(chroma.KeywordConstant, "true false iota nil")
	add(chroma.KeywordType, "uint uint8 uint16 uint32 uint64 int int8 int16 int32 int64 float float32 float64 complex64 complex128 byte rune string bool error uintptr any")
	return m
}()

// goBuiltins are the words that are built in where a bracket follows at once.
var goBuiltins = func() map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq("uint uint8 uint16 uint32 uint64 int int8 int16 int32 int64 float float32 float64 complex64 complex128 byte rune string bool error uintptr print println panic recover close complex real imag len cap append copy delete new make clear min max") {
		m[w] = true
	}
	return m
}()

// goNumbers are tried in this order.
var goNumbers = []struct {
	re *regexp.Regexp
	t  chroma.TokenType
}{
	{regexp.MustCompile(`^(?:\d+i|\d+\.\d*(?:[Ee][-+]\d+)?i|\.\d+(?:[Ee][-+]\d+)?i|\d+[Ee][-+]\d+i)`), chroma.LiteralNumber},
	{regexp.MustCompile(`^(?:\d+(?:\.\d+[eE][+\-]?\d+|\.\d*|[eE][+\-]?\d+)|\.\d+(?:[eE][+\-]?\d+)?)`), chroma.LiteralNumberFloat},
	{regexp.MustCompile(`^0[0-7]+`), chroma.LiteralNumberOct},
	{regexp.MustCompile(`^0[xX][0-9a-fA-F_]+`), chroma.LiteralNumberHex},
	{regexp.MustCompile(`^0b[01_]+`), chroma.LiteralNumberBin},
	{regexp.MustCompile(`^(?:0|[1-9][0-9_]*)`), chroma.LiteralNumberInteger},
}

var goChar = regexp.MustCompile(`^'(?:\\['"\\abfnrtv]|\\x[0-9a-fA-F]{2}|\\[0-7]{1,3}|\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}|[^\\])'`)

// goOperators are those of more than one byte, each before what it begins with.
var goOperators = []string{"<<=", ">>=", "<<", ">>", "<=", ">=", "&^=", "&^", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "&&", "||", "<-", "++", "--", "==", "!=", ":=", "..."}

const coalesced = 8192 // bytes of a token from which chroma lets the next of the same kind stand alone

// goTokens returns the tokens of Go source, or false if it is better left to chroma.
func goTokens(text string) (out []chroma.Token, ok bool) {
	if strings.ContainsAny(text, "\r\f\v") || strings.Contains(text, "*\\\n/") || strings.Contains(text, "/\\\n*") {
		return nil, false
	}
	out = make([]chroma.Token, 0, len(text)/5)
	begin, kind := 0, chroma.TokenType(0)
	give := func(from, to int, t chroma.TokenType) {
		if from == to {
			return
		}
		if from > 0 && t == kind && from-begin < coalesced {
			out[len(out)-1].Value = text[begin:to]
			return
		}
		begin, kind = from, t
		out = append(out, chroma.Token{Type: t, Value: text[from:to]})
	}
	space := func(i int) int {
		for i < len(text) && (text[i] == ' ' || text[i] == '\t' || text[i] == '\n') {
			i++
		}
		return i
	}
	for i := 0; i < len(text); {
		c, rest := text[i], text[i:]
		switch {
		case c == ' ' || c == '\t' || c == '\n':
			j := space(i)
			give(i, j, chroma.TextWhitespace)
			i = j
		case strings.HasPrefix(rest, "//"):
			n := strings.IndexByte(rest, '\n')
			if n < 0 {
				n = len(rest)
			}
			t := chroma.CommentSingle
			if r, _ := utf8.DecodeRuneInString(rest[2:n]); n > 2 && !unicode.IsSpace(r) {
				t = chroma.CommentPreproc
			}
			give(i, i+n, t)
			i += n
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest[2:], "*/")
			if n < 0 {
				return nil, false
			}
			give(i, i+n+4, chroma.CommentMultiline)
			i += n + 4
		case c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			n := 1
			for n < len(rest) && (rest[n] == '_' || rest[n] >= 'a' && rest[n] <= 'z' || rest[n] >= 'A' && rest[n] <= 'Z' || rest[n] >= '0' && rest[n] <= '9') {
				n++
			}
			if n < len(rest) && rest[n] >= utf8.RuneSelf {
				return nil, false
			}
			word, j := rest[:n], i+n
			t, known := goWords[word]
			called := j < len(text) && text[j] == '('
			switch {
			case called && goBuiltins[word]:
				give(i, j, chroma.NameBuiltin)
				give(j, j+1, chroma.Punctuation)
				j++
			case known:
				give(i, j, t)
			default:
				k := space(j)
				if k < len(text) && text[k] == '(' {
					give(i, j, chroma.NameFunction)
					give(j, k, chroma.TextWhitespace)
					give(k, k+1, chroma.Punctuation)
					j = k + 1
					break
				}
				give(i, j, chroma.NameOther)
			}
			i = j
		case c >= '0' && c <= '9' || c == '.' && len(rest) > 1 && rest[1] >= '0' && rest[1] <= '9':
			n := 0
			for _, p := range goNumbers {
				if m := p.re.FindStringIndex(rest); m != nil {
					n = m[1]
					give(i, i+n, p.t)
					break
				}
			}
			if n == 0 {
				return nil, false
			}
			i += n
		case c == '\'':
			m := goChar.FindStringIndex(rest)
			if m == nil {
				return nil, false
			}
			give(i, i+m[1], chroma.LiteralStringChar)
			i += m[1]
		case c == '`':
			n := strings.IndexByte(rest[1:], '`')
			if n < 0 || strings.Contains(rest[1:n+1], "{{") {
				return nil, false
			}
			give(i, i+n+2, chroma.LiteralString)
			i += n + 2
		case c == '"':
			n := 1
			for n < len(rest) && rest[n] != '"' {
				if rest[n] == '\\' && n+1 < len(rest) && (rest[n+1] == '\\' || rest[n+1] == '"') {
					n++
				}
				n++
			}
			if n >= len(rest) {
				return nil, false
			}
			give(i, i+n+1, chroma.LiteralString)
			i += n + 1
		default:
			n, t := 0, chroma.Operator
			for _, op := range goOperators {
				if strings.HasPrefix(rest, op) {
					n = len(op)
					break
				}
			}
			switch {
			case n > 0:
			case strings.IndexByte("+-*/%&", c) >= 0:
				n = 1
			case strings.IndexByte("|^<>=!()[]{}.,;:~", c) >= 0:
				n, t = 1, chroma.Punctuation
			default:
				return nil, false
			}
			give(i, i+n, t)
			i += n
		}
	}
	return out, true
}
