package acceptance_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/housetest"
)

// The examples that are shipped: a repository that the operator trusts tests what is pushed, and publishes its
// documents from main alone, and only if the test went well.
func TestExampleInRepository(t *testing.T) {
	t.Parallel()
	sandboxed(t)
	alice := housetest.NewKey(t)
	row, err := os.ReadFile("../../deploy/examples/trust.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile("../../deploy/examples/jobs-in-a-repository.yml")
	if err != nil {
		t.Fatal(err)
	}
	named := strings.Replace(string(row), "npub1l2vyh47mk2p0qlsku7hg0vn29faehy9hy34ygaclpn66ukqp3afqutajft", alice.Npub, 1)
	h := housetest.Start(t, housetest.WithJobs("jobs_engine: {per_repo: 4, per_owner: 4}\n"+named))
	c, at, n := h.Dial(), time.Now().Unix()-1000, 0
	w := h.Served(c, alice, "demo", at)
	c.Must(serviceRequest(alice, 9843, at, self(t, h), alice, "demo"))
	shown := func() string {
		b, _ := os.ReadFile(filepath.Join(h.Data(), "checkouts", alice.Npub, "demo", "docs", "docs", "index.html"))
		return string(b)
	}
	w.CommitFile("test.sh", []byte("grep -q right docs/index.html\n"))
	w.CommitFile(".grasp/jobs.yml", file)
	w.CommitFile("docs/index.html", []byte("right, one\n"))
	pushed(t, h, c, alice, w, "demo", at+1)
	worked(t, h, &n, "test main push ok", "docs main push ok")
	if shown() != "right, one\n" {
		t.Errorf("it shows %q", shown())
	}
	w.CommitFile("docs/index.html", []byte("wrong\n"))
	pushed(t, h, c, alice, w, "demo", at+2)
	worked(t, h, &n, "test main push failed", "docs main push skipped")
	if shown() != "right, one\n" {
		t.Errorf("it shows %q", shown())
	}
	w.CommitFile("README", []byte("no documents changed\n"))
	pushed(t, h, c, alice, w, "demo", at+3)
	worked(t, h, &n, "test main push failed")
}
