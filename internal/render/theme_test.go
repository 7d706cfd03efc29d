package render_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/chroma/v2"
	"github.com/alecthomas/chroma/v2/styles"
)

// The styles that are written down are those of the library. -update writes them down anew.
func TestStyles(t *testing.T) {
	var b strings.Builder
	b.WriteString("# The styles of chroma, as theme.go reads them. Written by go test ./internal/render -run TestStyles -update\n")
	for _, name := range styles.Names() {
		writeStyle(&b, name, styles.Get(name))
	}
	const file = "styles.txt"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != b.String() {
		t.Errorf("%s is not what the library says (%v): go test ./internal/render -run TestStyles -update", file, err)
	}
}

func writeStyle(b *strings.Builder, name string, s *chroma.Style) {
	base := s.Get(chroma.Background)
	mode, ink, ground := "day", "-", "-"
	if base.Background.Brightness() < 0.5 {
		mode = "night"
	}
	if base.Background.IsSet() {
		ground = base.Background.String()
	}
	if text := s.Get(chroma.Text).Colour; text.IsSet() {
		ink = text.String()
	} else if base.Colour.IsSet() {
		ink = base.Colour.String()
	}
	fmt.Fprintln(b, name, mode, ink, ground)
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
			fmt.Fprintf(b, " %s %s\n", c, rule.String())
		}
	}
}
