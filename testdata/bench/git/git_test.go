package main

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestGoalsAreMeasured(t *testing.T) {
	plan := slices.Concat([]scenario{idle()}, readScenarios(), packScenarios(), pushScenarios())
	seen := map[string]scenario{"program": {peers: []string{ours}}}
	for _, s := range plan {
		if _, twice := seen[s.name]; twice {
			t.Errorf("%s is there twice", s.name)
		}
		seen[s.name] = s
	}
	for _, g := range goals {
		row := g.scenario
		if g.row != "" {
			row = g.row
		}
		if s, ok := seen[g.scenario]; !ok || !slices.Contains(s.peers, ours) {
			t.Errorf("goal %s %s: we are not measured", g.scenario, g)
		}
		if s, ok := seen[row]; g.peer != "" && (!ok || !slices.Contains(s.peers, g.peer)) {
			t.Errorf("goal %s %s: %s is not measured", g.scenario, g, g.peer)
		}
		if (g.scale != 0) != (g.as != "") {
			t.Errorf("goal %s %s: a scale and no name", g.scenario, g)
		}
	}
}

// The packs that we make are ones that git takes, each on the one before.
func TestPacks(t *testing.T) {
	dir := t.TempDir()
	if _, err := git("/", "init", "-q", "--bare", "--initial-branch=main", dir); err != nil {
		t.Fatal(err)
	}
	take := func(pack []byte) {
		t.Helper()
		cmd := exec.Command("git", "index-pack", "--stdin", "--strict")
		cmd.Dir, cmd.Env, cmd.Stdin = dir, gitEnv(), bytes.NewReader(pack)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	root := newObject(kindTree, nil)
	first := newObject(kindCommit, []byte("tree "+root.name+"\nauthor B <b@example.com> 1 +0000\ncommitter B <b@example.com> 1 +0000\n\nfirst\n"))
	take(packOf(0, first, root))
	w := &work{tip: first.name, name: "test"}
	for range 3 {
		pack, _ := w.next()
		take(pack)
	}
	if out, err := git(dir, "rev-list", "--objects", "--count", w.tip); err != nil || strings.TrimSpace(out) != "11" {
		t.Errorf("%q objects, %v; want 11", out, err)
	}
	if _, err := git(dir, "fsck", "--strict"); err != nil {
		t.Error(err)
	}
}

func TestWhatIsSaidOfAPush(t *testing.T) {
	band := func(s string) []byte { return []byte(pkt("\x01"+s) + flush) }
	if err := pushed(band(pkt("unpack ok\n")+pkt("ok refs/heads/main\n")+flush), "refs/heads/main"); err != nil {
		t.Error(err)
	}
	for _, bad := range [][]byte{
		nil, band(pkt("unpack ok\n") + pkt("ng refs/heads/main no\n") + flush), band(pkt("unpack index-pack failed\n") + flush),
		band(pkt("unpack ok\n") + pkt("ok refs/heads/other\n") + flush), []byte(pkt("\x03fatal") + flush), []byte("zzzz"),
	} {
		if pushed(bad, "refs/heads/main") == nil {
			t.Errorf("%q counts as a success", bad)
		}
	}
	if refused(band(pkt("unpack unauthorised\n")+pkt("ng refs/heads/main unauthorised\n")+flush)) != nil || refused(band(pkt("unpack ok\n")+flush)) == nil {
		t.Error("refusals are not told from successes")
	}
}

func TestQuantiles(t *testing.T) {
	v := []float64{5, 1, 3, 2, 4}
	if median(v) != 3 || quantile(v, 1) != 5 || quantile(v, 0) != 1 || spread(v) != 1 || median([]float64{1, 2}) != 1.5 {
		t.Errorf("median %v, spread %v", median(v), spread(v))
	}
}

func TestPagesKeepWhatIsNotOurs(t *testing.T) {
	docs := t.TempDir()
	write := func(s string) {
		if err := os.WriteFile(docs+"/performance.md", []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("# Head\n\ntext\n")
	b := &bench{samples: map[point][]float64{{"push-raw", mMS, ours}: {1, 2, 3}, {"push-raw", mMS, goCGI}: {4}}}
	r := b.report(pushScenarios())
	r.Label = "before"
	if err := r.write(docs); err != nil {
		t.Fatal(err)
	}
	page, _ := os.ReadFile(docs + "/performance.md")
	write(string(page) + "\n## Tail\n")
	r.Label = "now"
	if err := r.write(docs); err != nil {
		t.Fatal(err)
	}
	page, _ = os.ReadFile(docs + "/performance.md")
	s := string(page)
	if !strings.HasPrefix(s, "# Head\n\ntext\n\n<!--") || !strings.HasSuffix(s, "\n## Tail\n") || strings.Count(s, beginMark) != 1 || !strings.Contains(s, "| push-raw | ms (CPU ms) | 2.00 |") {
		t.Errorf("%s", s)
	}
	if !strings.Contains(s, "| push-raw | ms | ≤ 1.00 K | 0.48 | 0.48 | yes |  |") {
		t.Errorf("the older run is not beside the newer: %s", s)
	}
	for _, name := range []string{"git-before.json", "git-now.json", "git-reads.svg", "git-packs.svg", "git-pushes.svg"} {
		if st, err := os.Stat(docs + "/performance/" + name); err != nil || st.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
