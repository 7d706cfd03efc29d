package acceptance_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A row of the catalogue of jobs, or several: S0-17, S3-45…S3-50.
var rowCitation = regexp.MustCompile(`\bS([03])-(\d{2})\b(?:(?:…|–)S([03])-(\d{2})\b)?`)

// lastRow is how many rows each part of the catalogue has.
var lastRow = map[string]int{"0": 41, "3": 54}

// rowsIn returns the rows that line names, in order.
func rowsIn(line string) []string {
	var out []string
	for _, m := range rowCitation.FindAllStringSubmatch(line, -1) {
		from, _ := strconv.Atoi(m[2])
		to := from
		if m[3] == m[1] {
			to, _ = strconv.Atoi(m[4])
		}
		for n := from; n <= to; n++ {
			out = append(out, fmt.Sprintf("S%s-%02d", m[1], n))
		}
	}
	return out
}

func TestRowsIn(t *testing.T) {
	for line, want := range map[string]string{
		"// S0-17: a site":               "S0-17",
		"S0-15 S0-17, S3-03":             "S0-15 S0-17 S3-03",
		`{"TwoInOneSecond/S0-07", two},`: "S0-07",
		"webhooks (S3-45…S3-48)":         "S3-45 S3-46 S3-47 S3-48",
		"S3-49–S3-50.":                   "S3-49 S3-50",
		"S0-171 XS0-17 S1-02 S0-1 S4-31": "",
	} {
		if got := strings.Join(rowsIn(line), " "); got != want {
			t.Errorf("%q names %q, not %q", line, got, want)
		}
	}
}

// writeCatalogue adds the rows of the catalogue of jobs to page: for each the tests that cite it, or why
// there are none. A row with neither is an error, and so is one with both.
func writeCatalogue(t *testing.T, page *strings.Builder) {
	t.Helper()
	cited := map[string]map[string]struct{}{}
	citations(t, cited, rowsIn)
	for id, where := range cited {
		if n, _ := strconv.Atoi(id[3:]); n < 1 || n > lastRow[id[1:2]] {
			t.Errorf("%s is cited in %s, but there is no such row", id, strings.Join(slices.Sorted(maps.Keys(where)), ", "))
		}
	}
	reasons := map[string]string{}
	for _, f := range rows(t, "left-out.tsv", 2) {
		for _, id := range rowsIn(f[0]) {
			reasons[id] = f[1]
		}
	}
	page.WriteString("\n## Jobs\n\nEvery row of the catalogue of jobs, hooks and mirrors, and the tests that cite it.\n\n" +
		"| row | what | tests |\n|---|---|---|\n")
	covered, known := 0, map[string]bool{}
	for _, f := range rows(t, "rows.tsv", 2) {
		id, text := f[0], f[1]
		if known[id] || len(rowsIn(id)) != 1 {
			t.Errorf("testdata/spec/rows.tsv: %q is there twice, or is no row", id)
		}
		known[id] = true
		tests, reason := slices.Sorted(maps.Keys(cited[id])), reasons[id]
		cell := "*not covered:* " + escapeCell(reason)
		switch {
		case len(tests) == 0 && reason == "":
			t.Errorf("%s (%s) is cited by no test and testdata/spec/left-out.tsv has no reason", id, text)
		case len(tests) > 0 && reason != "":
			t.Errorf("%s is cited by %s, and testdata/spec/left-out.tsv says it is left out", id, tests[0])
		}
		if len(tests) > 0 {
			covered++
			cell = strings.Join(tests, "<br>")
		}
		fmt.Fprintf(page, "| %s | %s | %s |\n", id, escapeCell(text), cell)
	}
	for id := range reasons {
		if !known[id] {
			t.Errorf("testdata/spec/left-out.tsv: there is no row %s in rows.tsv", id)
		}
	}
	fmt.Fprintf(page, "\n%d of %d rows are cited by tests.\n", covered, len(known))
}
