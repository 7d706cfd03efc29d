package jobs

import (
	"strings"

	"github.com/gitroost/gitroost/internal/fault"
)

// MaxGlob is how many bytes a pattern has at most, and MaxGlobs how many patterns a list has.
const (
	MaxGlob  = 512
	MaxGlobs = 100
)

// A Globs is a list of patterns, some of which begin with "!" and take away again. The last
// pattern that fits decides; if the first one takes away, everything fits before it. The zero
// Globs is empty and fits nothing.
//
// "?" is one byte and "\" makes the next one stand for itself. In patterns of refs and
// repositories "*" is any number of characters, as git has it. In patterns of paths "*" and "?"
// stay within one folder and "**" is any number of folders.
type Globs struct {
	list []glob
}

type glob struct {
	text   string
	not    bool
	tokens []token
}

type tokenKind uint8

const (
	literal tokenKind = iota
	anyOne            // one byte
	oneFlat           // one byte but no slash
	anyRun            // any number of characters
	flatRun           // any number of characters but slashes
	folders           // nothing, or something that ends in a slash
)

type token struct {
	kind tokenKind
	b    byte
}

// RefGlobs reads patterns of refs, or of repositories as "npub/identifier". What is no pattern is
// a fault.Invalid.
func RefGlobs(list ...string) (Globs, error) { return globs(list, false) }

// PathGlobs reads patterns of paths.
func PathGlobs(list ...string) (Globs, error) { return globs(list, true) }

func globs(list []string, paths bool) (Globs, error) {
	const op = "jobs: pattern"
	if len(list) > MaxGlobs {
		return Globs{}, fault.Errorf(fault.TooLarge, op, "%d patterns; a list has at most %d", len(list), MaxGlobs)
	}
	var out Globs
	for _, text := range list {
		g := glob{text: text}
		body := text
		if strings.HasPrefix(body, "!") {
			g.not, body = true, body[1:]
		}
		if body == "" {
			return Globs{}, fault.E(fault.Invalid, op, "an empty pattern fits nothing: leave it out")
		}
		if len(text) > MaxGlob {
			return Globs{}, fault.Errorf(fault.TooLarge, op, "a pattern of %d bytes; it has at most %d", len(text), MaxGlob)
		}
		var err error
		if g.tokens, err = tokens(body, paths); err != nil {
			return Globs{}, err
		}
		out.list = append(out.list, g)
	}
	return out, nil
}

func tokens(s string, paths bool) ([]token, error) {
	var out []token
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '\\':
			if i++; i == len(s) {
				return nil, fault.Errorf(fault.Invalid, "jobs: pattern", `%q ends in "\": write "\\" for the character itself`, s)
			}
			out = append(out, token{literal, s[i]})
		case '[':
			return nil, fault.Errorf(fault.Invalid, "jobs: pattern", `%q: sets of characters are not understood; write "\[" for the character itself, or "?"`, s)
		case '?':
			if paths {
				out = append(out, token{kind: oneFlat})
			} else {
				out = append(out, token{kind: anyOne})
			}
		case '*':
			stars := 1
			for i+1 < len(s) && s[i+1] == '*' {
				i++
				stars++
			}
			out = append(out, run(s, &i, stars, paths, len(out) == 0 || out[len(out)-1] == token{literal, '/'}))
		default:
			out = append(out, token{literal, c})
		}
	}
	return out, nil
}

// run returns what the stars mean of which the last is s[*i]; atStart says that a folder begins
// before them. It takes the slash of "**/" along.
func run(s string, i *int, stars int, paths, atStart bool) token {
	switch {
	case !paths:
		return token{kind: anyRun}
	case stars >= 2 && atStart && *i+1 == len(s):
		return token{kind: anyRun}
	case stars >= 2 && atStart && s[*i+1] == '/':
		*i++
		return token{kind: folders}
	}
	return token{kind: flatRun}
}

// Empty reports whether there are no patterns.
func (g Globs) Empty() bool { return len(g.list) == 0 }

// Match reports whether s fits. It takes time in proportion to the lengths of s and of the
// patterns multiplied, whatever they are.
func (g Globs) Match(s string) bool {
	if len(g.list) == 0 {
		return false
	}
	for i := len(g.list) - 1; i >= 0; i-- {
		if g.list[i].match(s) {
			return !g.list[i].not
		}
	}
	return g.list[0].not
}

// Any reports whether one of list fits.
func (g Globs) Any(list []string) bool {
	for _, s := range list {
		if g.Match(s) {
			return true
		}
	}
	return false
}

func (g Globs) String() string {
	out := make([]string, len(g.list))
	for i, x := range g.list {
		out[i] = x.text
	}
	return strings.Join(out, ", ")
}

// match goes through s once with the set of all places in the pattern that may be reached: no
// pattern makes it slow.
func (g glob) match(s string) bool {
	n := len(g.tokens)
	now, next := make([]bool, n+1), make([]bool, n+1)
	// reach marks place p, and what follows if its token may stand for nothing.
	reach := func(set []bool, p int) {
		for ; ; p++ {
			set[p] = true
			if p == n || g.tokens[p].kind != anyRun && g.tokens[p].kind != flatRun && g.tokens[p].kind != folders {
				return
			}
		}
	}
	reach(now, 0)
	// inside[p]: a folders token at p has begun, and a slash has to come before it ends.
	inside, after := make([]bool, n+1), make([]bool, n+1)
	for i := range len(s) {
		c := s[i]
		clear(next)
		clear(after)
		for p := range n {
			t := g.tokens[p]
			if t.kind == folders && (now[p] || inside[p]) {
				after[p] = true
				if c == '/' {
					reach(next, p+1)
				}
			}
			if !now[p] {
				continue
			}
			switch {
			case t.kind == literal && t.b == c, t.kind == anyOne, t.kind == oneFlat && c != '/':
				reach(next, p+1)
			case t.kind == anyRun, t.kind == flatRun && c != '/':
				reach(next, p)
			}
		}
		now, next = next, now
		inside, after = after, inside
	}
	return now[n]
}
