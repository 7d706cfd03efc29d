package render

import (
	"cmp"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gitroost/gitroost/internal/fault"
)

//go:embed templates/style.css
var baseCSS string

// A Theme says how pages are coloured. The zero Theme is github-dark.
type Theme struct{ name string }

// ours are the theme names beside those of chroma: which style is used by day and by night.
var ours = map[string]struct{ day, night string }{
	"github-dark":  {"", "github-dark"},
	"github-light": {"github", ""},
	"dark":         {"", "github-dark"},
	"light":        {"github", ""},
	"auto":         {"github", "github-dark"},
}

// ParseTheme returns the theme called name: github-dark, github-light, dark, light, auto (which follows
// the reader's settings), or any style of chroma. An unknown one is a fault.Invalid (S0-16).
func ParseTheme(name string) (Theme, error) {
	if !slices.Contains(Themes(), name) {
		return Theme{}, fault.Errorf(fault.Invalid, "render: theme", "there is no theme %.60q; take one of %s", name, strings.Join(Themes(), ", "))
	}
	return Theme{name}, nil
}

// Themes returns the names of all themes, sorted.
func Themes() []string {
	all := map[string]bool{}
	for n := range ours {
		all[n] = true
	}
	for _, n := range styleNames() {
		all[n] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// String returns the name of the theme.
func (t Theme) String() string {
	if t.name == "" {
		return "github-dark"
	}
	return t.name
}

// css is the one style sheet of a site.
func (t Theme) css() string {
	o, ok := ours[t.String()]
	if !ok {
		if s, _ := findStyle(t.name); s.night {
			o.night = t.name
		} else {
			o.day = t.name
		}
	}
	var b strings.Builder
	b.WriteString(baseCSS)
	switch {
	case o.day != "" && o.night != "":
		b.WriteString(":root { color-scheme: light dark; }\n" + palette(o.day, false))
		b.WriteString("@media (prefers-color-scheme: dark) {\n" + palette(o.night, true) + "}\n")
	case o.day != "":
		b.WriteString(":root { color-scheme: light; }\n" + palette(o.day, false))
	default:
		b.WriteString(":root { color-scheme: dark; }\n" + palette(o.night, true))
	}
	return b.String()
}

const (
	dayColours   = ":root { --ground: #fbfbf9; --card: #fff; --ink: #1d2226; --soft: #565f66; --edge: #d8dcd9; --link: #0f5c43; --add: #d9f2e1; --gone: #fbe0e2; --plus: #14633f; --minus: #a11d2b; --hint: #8a4b00;"
	nightColours = ":root { --ground: #14171a; --card: #1c2024; --ink: #e4e7e9; --soft: #a3adb5; --edge: #353c42; --link: #7fd1b1; --add: #163425; --gone: #42191e; --plus: #7ddba6; --minus: #ff9aa2; --hint: #f1b765;"
)

// palette returns the colours of pages and those of code.
func palette(style string, night bool) string {
	var b strings.Builder
	s, _ := findStyle(style)
	ink, ground := "#1d2226", "#ffffff"
	if night {
		b.WriteString(nightColours)
		ink, ground = "#e4e7e9", "#1c2024"
	} else {
		b.WriteString(dayColours)
	}
	ink, ground = cmp.Or(s.ink, ink), cmp.Or(s.ground, ground)
	fmt.Fprintf(&b, " --code: %s; --codeink: %s; }\n", ground, ink)
	for line := range strings.Lines(s.rules) {
		class, rule, _ := strings.Cut(strings.TrimSpace(line), " ")
		if rule = strings.TrimPrefix(rule, "color:"+ink+";"); rule != "" {
			fmt.Fprintf(&b, ".code .%s{%s}\n", class, rule)
		}
	}
	return b.String()
}

// styleText holds what each style of chroma says of code: its name, whether it is for the day or the
// night, the colours of text and of what is behind it ("-" for none), and a line for each class. To read
// the styles themselves would take each start of the program ten milliseconds, used or not; so a test
// writes them down here, and holds them against those of the library.
//
//go:embed styles.txt
var styleText string

// A style is one of styleText.
type style struct {
	night       bool
	ink, ground string // "" for none
	rules       string // a line for each class
}

// styleNames returns the names of all styles, in order.
func styleNames() []string {
	var out []string
	for line := range strings.Lines(styleText) {
		if line[0] != ' ' && line[0] != '#' {
			name, _, _ := strings.Cut(line, " ")
			out = append(out, name)
		}
	}
	return out
}

// findStyle returns the style called name.
func findStyle(name string) (s style, ok bool) {
	_, rest, ok := strings.Cut(styleText, "\n"+name+" ")
	if !ok {
		return s, false
	}
	head, rest, _ := strings.Cut(rest, "\n")
	said := strings.Fields(head) // "night", the colour of text, the one behind it
	s.night = said[0] == "night"
	s.ink, s.ground = strings.TrimPrefix(said[1], "-"), strings.TrimPrefix(said[2], "-")
	for end := 0; ; {
		if end == len(rest) || rest[end] != ' ' {
			s.rules = rest[:end]
			return s, true
		}
		end += strings.IndexByte(rest[end:], '\n') + 1
	}
}
