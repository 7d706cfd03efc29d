package render_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// large has 900 commits, about 5 MB of packed objects, 170 files, and four branches.
func large(b *testing.B) *world {
	w := newWorld(b)
	rnd := rand.New(rand.NewPCG(1, 2))
	word := func() string { return fmt.Sprintf("word%d", rnd.IntN(5000)) }
	body := func(n int) string {
		var s strings.Builder
		s.WriteString("package demo\n\n")
		for i := range n {
			fmt.Fprintf(&s, "// %s does %s with %s.\nfunc %s%d(%s int) string {\n\treturn \"%x\" + %s\n}\n\n", word(), word(), word(), word(), i, word(), rnd.Uint64(), word())
		}
		return s.String()
	}
	w.write("README.md", "# Large\n\n"+strings.Repeat("Some *text* with [a link](pkg1/f1.go).\n\n", 50))
	for i := range 170 {
		w.write(fmt.Sprintf("pkg%d/f%d.go", i%12, i), body(40))
	}
	var in strings.Builder
	w.commit("begin")
	for i := range 899 {
		data := body(20 + rnd.IntN(40))
		n := rnd.IntN(170)
		from := ""
		if i == 0 {
			from = "from refs/heads/main^0\n"
		}
		fmt.Fprintf(&in, "commit refs/heads/main\ncommitter Alice <alice@example.com> %d +0000\ndata 8\nchange x\n%sM 100644 inline pkg%d/f%d.go\ndata %d\n%s\n", 1700010000+i*60, from, n%12, n, len(data), data)
	}
	w.gitIn(in.String(), "fast-import", "--quiet")
	w.git("reset", "-q", "--hard")
	for i := range 3 {
		w.git("branch", fmt.Sprintf("old%d", i), fmt.Sprintf("main~%d", 100*(i+1)))
		w.git("tag", fmt.Sprintf("v%d", i), fmt.Sprintf("main~%d", 50*(i+1)))
	}
	w.bring()
	return w
}

func BenchmarkFull(b *testing.B) {
	w := large(b)
	for b.Loop() {
		r := w.mustPublish(b.TempDir())
		b.ReportMetric(float64(r.Bytes)/1e6, "MB")
		b.ReportMetric(float64(r.Files), "files")
	}
}

func BenchmarkOneMoreCommit(b *testing.B) {
	w := large(b)
	dir := b.TempDir()
	w.mustPublish(dir)
	n := 0
	for b.Loop() {
		b.StopTimer()
		n++
		w.write("pkg1/f1.go", fmt.Sprintf("package one\n\nconst N = %d\n", n))
		w.commit("one more")
		w.bring()
		b.StartTimer()
		r := w.mustPublish(dir)
		b.ReportMetric(float64(r.Rendered), "rendered")
	}
}
