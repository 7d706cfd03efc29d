package acceptance_test

import (
	"bufio"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/conformance.md")

const (
	root            = "../.."
	conformancePage = "docs/conformance.md"
)

var (
	citation = regexp.MustCompile(`\b[Cc]hecks? (\d{1,3}(?:(?:, ?| and |[–-])\d{1,3})*)`)
	testFunc = regexp.MustCompile(`^func ((?:Test|Benchmark|Fuzz)\w*)\(`)
)

// docs/conformance.md says for every check of the protocol which tests cite it, or why none does.
// It is written from the tests themselves; -update rewrites it.
func TestConformancePage(t *testing.T) {
	checks, order := readChecks(t)
	cited := map[int]map[string]struct{}{}
	citations(t, cited, func(line string) []int {
		var list []int
		for _, m := range citation.FindAllStringSubmatch(line, -1) {
			list = append(list, numbers(m[1])...)
		}
		return list
	})
	reasons := leftOut(t)
	for n := range cited {
		if _, ok := checks[n]; !ok {
			t.Errorf("check %d is cited in %s, but there is no such check", n, strings.Join(slices.Sorted(maps.Keys(cited[n])), ", "))
		}
	}
	var page strings.Builder
	page.WriteString("# Conformance\n\nEvery acceptance check of the protocol, and the tests that cite it; [below](#jobs) the same for jobs, hooks and mirrors. This page is written from the tests:\n" +
		"`go test ./internal/acceptance -run TestConformancePage -update`.\n\n| check | requirement | what must be seen | tests |\n|---|---|---|---|\n")
	covered := 0
	for _, n := range order {
		tests := slices.Sorted(maps.Keys(cited[n]))
		reason := reasons[n]
		switch {
		case len(tests) == 0 && reason == "":
			t.Errorf("check %d (%s) is cited by no test and testdata/spec/left-out.tsv has no reason", n, checks[n].requirement)
		case len(tests) > 0 && reason != "":
			t.Errorf("check %d is cited by %s, and testdata/spec/left-out.tsv says it is left out", n, tests[0])
		}
		cell := "*not covered:* " + reason
		if len(tests) > 0 {
			covered++
			cell = strings.Join(tests, "<br>")
		}
		fmt.Fprintf(&page, "| %d | %s | %s | %s |\n", n, checks[n].requirement, escapeCell(checks[n].text), cell)
	}
	fmt.Fprintf(&page, "\n%d of %d checks are cited by tests.\n", covered, len(order))
	writeCatalogue(t, &page)
	path := filepath.Join(root, conformancePage)
	if *update {
		if err := os.WriteFile(path, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(path)
	if err != nil || string(have) != page.String() {
		t.Errorf("%s is stale (%v): run go test ./internal/acceptance -run TestConformancePage -update", conformancePage, err)
	}
}

func escapeCell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

type check struct{ requirement, text string }

func readChecks(t *testing.T) (map[int]check, []int) {
	t.Helper()
	checks, order := map[int]check{}, []int{}
	for _, f := range rows(t, "checks.tsv", 3) {
		n, err := strconv.Atoi(f[0])
		if err != nil {
			t.Fatalf("checks.tsv: %v", err)
		}
		checks[n] = check{f[1], f[2]}
		order = append(order, n)
	}
	return checks, order
}

func leftOut(t *testing.T) map[int]string {
	t.Helper()
	out := map[int]string{}
	for _, f := range rows(t, "left-out.tsv", 2) {
		for _, n := range numbers(f[0]) {
			out[n] = f[1]
		}
	}
	return out
}

func rows(t *testing.T, name string, columns int) [][]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "testdata", "spec", name))
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.SplitN(line, "\t", columns)
		if len(f) != columns {
			t.Fatalf("%s: %q has no %d columns", name, line, columns)
		}
		out = append(out, f)
	}
	return out
}

// numbers reads "12", "12, 14", "12–15", "12-15 and 20".
func numbers(s string) []int {
	var out []int
	s = strings.NewReplacer("–", "-", " and ", ",", " ", "").Replace(s)
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		a, err := strconv.Atoi(from)
		if err != nil {
			continue
		}
		b := a
		if isRange {
			if b, err = strconv.Atoi(to); err != nil {
				continue
			}
		}
		for n := a; n <= b && n-a < 300; n++ {
			out = append(out, n)
		}
	}
	return out
}

// citations adds to out whatever find finds in the lines of tests and stories, with where.
func citations[K comparable](t *testing.T, out map[K]map[string]struct{}, find func(line string) []K) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); path != root && strings.HasPrefix(n, ".") || n == "node_modules" {
				return filepath.SkipDir
			}
			return nil
		}
		rel, _ := filepath.Rel(root, path)
		if !isTest(rel) || strings.HasPrefix(d.Name(), "conformance_") {
			return nil
		}
		return scan(path, filepath.ToSlash(rel), out, find)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// isTest says whether path is a test, a story, or a suite that tests of other packages run.
func isTest(path string) bool {
	for _, end := range []string{"_test.go", ".txtar", ".test.mjs", "test/suite.go"} {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return false
}

// scan adds the citations of one file. What stands above a function belongs to it.
func scan[K comparable](path, rel string, out map[K]map[string]struct{}, find func(line string) []K) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	where := rel
	var pending []K
	note := func(list []K) {
		for _, n := range list {
			if out[n] == nil {
				out[n] = map[string]struct{}{}
			}
			out[n][where] = struct{}{}
		}
	}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if m := testFunc.FindStringSubmatch(line); m != nil {
			where = filepath.ToSlash(filepath.Dir(rel)) + "." + m[1]
			note(pending)
			pending = nil
		}
		list := find(line)
		if strings.HasPrefix(line, "//") {
			pending = append(pending, list...)
			continue
		}
		note(list)
		if line != "" && !strings.HasPrefix(line, "func ") {
			continue
		}
		if line == "" {
			note(pending) // a comment that stands by itself belongs to what came before
			pending = nil
		}
	}
	note(pending)
	return lines.Err()
}
