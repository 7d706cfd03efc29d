package render

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/alecthomas/chroma/v2"
	"github.com/alecthomas/chroma/v2/styles"

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
	for _, n := range styles.Names() {
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
		if s := styles.Get(t.name); s.Get(chroma.Background).Background.Brightness() < 0.5 {
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
	s := styles.Get(style)
	base := s.Get(chroma.Background)
	var b strings.Builder
	ink, ground := "#1d2226", "#ffffff"
	if night {
		b.WriteString(nightColours)
		ink, ground = "#e4e7e9", "#1c2024"
	} else {
		b.WriteString(dayColours)
	}
	if base.Background.IsSet() {
		ground = base.Background.String()
	}
	if text := s.Get(chroma.Text).Colour; text.IsSet() {
		ink = text.String()
	} else if base.Colour.IsSet() {
		ink = base.Colour.String()
	}
	fmt.Fprintf(&b, " --code: %s; --codeink: %s; }\n", ground, ink)
	classes := map[string]chroma.TokenType{}
	for t, c := range chroma.StandardTypes {
		if c != "" && t > 0 {
			classes[c] = t
		}
	}
	for _, c := range slices.Sorted(maps.Keys(classes)) {
		e := s.Get(classes[c])
		var rule strings.Builder
		if e.Colour.IsSet() && e.Colour.String() != ink {
			rule.WriteString("color:" + e.Colour.String() + ";")
		}
		if e.Background.IsSet() && e.Background != base.Background {
			rule.WriteString("background:" + e.Background.String() + ";")
		}
		if e.Bold == chroma.Yes {
			rule.WriteString("font-weight:bold;")
		}
		if e.Italic == chroma.Yes {
			rule.WriteString("font-style:italic;")
		}
		if e.Underline == chroma.Yes {
			rule.WriteString("text-decoration:underline;")
		}
		if rule.Len() > 0 {
			fmt.Fprintf(&b, ".code .%s{%s}\n", c, rule.String())
		}
	}
	return b.String()
}
