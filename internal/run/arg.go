package run

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// An Arg is one argument of a command line. Its text was written in the program, or passed a
// constructor that knows what it may look like: bytes from outside can be a value, never an
// option. The zero Arg is refused.
type Arg struct{ s string }

// String returns the argument as the program will see it.
func (a Arg) String() string { return a.s }

// A literal cannot be named outside this package, so that only constants written in a program
// convert to it.
type literal string

// Words are arguments that stand in the source of the caller. A variable does not compile here.
func Words(words ...literal) []Arg {
	out := make([]Arg, len(words))
	for i, w := range words {
		out[i] = Arg{string(w)}
	}
	return out
}

// Int is an option with a number: "--timeout" and 60 give --timeout=60.
func Int(option literal, n int64) Arg {
	return Arg{string(option) + "=" + strconv.FormatInt(n, 10)}
}

// Value is an option with a text: "--format" and "x" give --format=x. Whatever the text is, the
// program reads it as the value of that option.
func Value(option literal, text string) Arg { return Arg{string(option) + "=" + text} }

// Path is an absolute, clean path.
func Path(path string) (Arg, error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.IndexByte(path, 0) >= 0 {
		return Arg{}, fmt.Errorf("run: %q is not an absolute, clean path", path)
	}
	return Arg{path}, nil
}

// Operand is an argument from outside that stands alone. It may not be empty, begin with a dash or
// hold a control character.
func Operand(text string) (Arg, error) {
	if text == "" || text[0] == '-' || strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return Arg{}, fmt.Errorf("run: %q cannot be an argument", text)
	}
	return Arg{text}, nil
}

// Operator are words of a command line that an administrator wrote into the configuration. Nothing
// else may come this way.
func Operator(words []string) []Arg {
	out := make([]Arg, len(words))
	for i, w := range words {
		out[i] = Arg{w}
	}
	return out
}
