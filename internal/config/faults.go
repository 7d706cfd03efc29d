package config

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Fault is one thing that is wrong with the configuration, and where.
type Fault struct {
	Where   string // "gitroost.yaml:4:1", "GITROOST_LISTEN", "--listen"
	Text    string // one line
	Excerpt string // the offending lines of a file with a mark below, or ""
}

// Faults is everything that is wrong, in the order in which it was found. It is an error.
type Faults []Fault

// Error returns one paragraph for each fault.
func (f Faults) Error() string {
	var b strings.Builder
	for i, one := range f {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(one.Where + ": " + one.Text)
		if one.Excerpt != "" {
			b.WriteString("\n" + one.Excerpt)
		}
	}
	return b.String()
}

// excerpt shows line (from 1) and the one before it, and marks width characters from column.
func excerpt(lines []string, line, column, width int) string {
	if line < 1 || line > len(lines) {
		return ""
	}
	var b strings.Builder
	number := func(s string) {
		b.WriteString(strings.Repeat(" ", max(0, 4-len(s))) + s + "| ")
	}
	for n := max(1, line-1); n <= line; n++ {
		number(strconv.Itoa(n))
		text := show(lines[n-1])
		b.WriteString(text + "\n")
	}
	number("")
	b.WriteString(strings.Repeat(" ", max(0, min(column-1, maxLine))))
	b.WriteString(strings.Repeat("~", max(1, min(width, maxLine))))
	return b.String()
}

const maxLine = 120

// show makes a line of the file fit for a terminal without moving its columns.
func show(s string) string {
	s = strings.TrimRight(s, "\r")
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > maxLine {
			b.WriteString("…")
			break
		}
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}

// suggest returns `; did you mean "x"?` for the name nearest to wrong, or "".
func suggest(wrong string, names []string) string {
	best, at := "", 1+max(1, min(3, len(wrong)/3))
	for _, n := range names {
		if d := distance(wrong, n); d < at {
			best, at = n, d
		}
	}
	if best == "" {
		// "max_push" for "limits.max_push"
		i := slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, "."+wrong) })
		if i < 0 {
			return ""
		}
		best = names[i]
	}
	return "; did you mean " + strconv.Quote(best) + "?"
}

// distance counts the edits between a and b: insertions, deletions, replacements and swaps of
// neighbours. Long strings are cut: nobody mistypes 64 letters.
func distance(a, b string) int {
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	row := func() []int { return make([]int, len(b)+1) }
	older, old, cur := row(), row(), row()
	for j := range old {
		old[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(old[j]+1, cur[j-1]+1, old[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], older[j-2]+1)
			}
		}
		older, old, cur = old, cur, older
	}
	return old[len(b)]
}
