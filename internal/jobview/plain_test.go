package jobview_test

import (
	"strings"
	"testing"
	"unicode"

	"github.com/gitroost/gitroost/internal/jobview"
)

func TestReadable(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                               "plain",
		"\x1b[31;1mred\x1b[0m é":              "red é",
		"10%\r20%\r100%\r":                    "100%",
		"\x1b]0;title\x07text\x1b]8;;x\x1b\\": "text",
		"a\x00b\x07c\td\u202ee\xff":           "abc\tde\ufffd",
		"\x1b":                                "",
		"\x1b[":                               "",
		"x\x1b(By":                            "xy",
	} {
		if got := jobview.Readable([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// Whatever a job says, what people read of it moves no cursor.
func FuzzReadable(f *testing.F) {
	f.Add([]byte("\x1b[31mred\x1b[0m\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := jobview.Readable(b); strings.ContainsFunc(got, func(r rune) bool { return r != '\t' && unicode.IsControl(r) }) {
			t.Errorf("%q of %q", got, b)
		}
	})
}
