package acceptance_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/housetest"
	"github.com/gitroost/gitroost/internal/jobs"
)

// S0-29, S3-14, S0-17: what jobs left of a repository that was deleted stays for as long as its data does, and
// then goes: its site, its checkouts, its logs. What others put beside them stays, and so does what is left of
// the repositories of others.
func TestRemainsOfDeleted(t *testing.T) {
	t.Parallel()
	www := t.TempDir()
	h := housetest.Start(t, housetest.WithJobs(fmt.Sprintf(`
jobs_engine: {logs: {age: 1000d}, age: 1000d, per_repo: 4, per_owner: 4}
jobs:
  - {name: site, repos: ["*/*"], on: {push: {}}, site: {}}
  - {name: page, repos: ["*/*"], on: {push: {}}, site: {}, publish: {to: %q}}
  - {name: files, repos: ["*/*"], on: {push: {}}, checkout: {to: www}}
`, www)))
	alice, bob := housetest.NewKey(t), housetest.NewKey(t)
	c := h.Dial()
	at := time.Now().Unix() - 100
	h.Served(c, alice, "demo", at)
	h.Served(c, alice, "other", at)
	h.Served(c, bob, "demo", at)
	for _, j := range h.Worked() {
		if j.State != jobs.OK {
			t.Fatalf("%+v", j)
		}
	}
	there := func(path ...string) bool { _, err := os.Lstat(filepath.Join(path...)); return err == nil }
	all := func(k *housetest.Key, id string) (places []string) {
		return []string{
			filepath.Join(h.Data(), "sites", k.Npub, id, "current", "index.html"), filepath.Join(www, k.Npub, id, "current", "index.html"),
			filepath.Join(h.Data(), "checkouts", k.Npub, id, "www"),
		}
	}
	logs := func(k *housetest.Key, id string) (n int) {
		for _, j := range h.AllJobs() {
			if list, err := h.Jobs().Logs().Attempts(string(j.ID)); err == nil && j.Repo.Owner == grasp.PubKey(k.Pub) && j.Repo.ID == id {
				n += len(list)
			}
		}
		return n
	}
	whole := func(when string, k *housetest.Key, id string) {
		t.Helper()
		for _, path := range all(k, id) {
			if !there(path) {
				t.Errorf("%s: %s is not there", when, path)
			}
		}
		if n := logs(k, id); n < 3 {
			t.Errorf("%s: %d logs of %s", when, n, id)
		}
	}
	whole("at first", alice, "demo")
	precious := filepath.Join(www, alice.Npub, "demo", "precious")
	stranger := filepath.Join(h.Data(), "sites", "notes", "precious")
	for _, path := range []string{precious, stranger} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("mine"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}

	c.Must(alice.Deletion(time.Now().Unix(), nostr.Tag{"a", housetest.Coordinate(alice, "demo")}, nostr.Tag{"k", "30617"}))
	h.Clock.Advance(80 * 24 * time.Hour)
	h.Sweep()
	whole("in the grace", alice, "demo")

	h.Clock.Advance(11 * 24 * time.Hour)
	h.Sweep()
	h.Clock.Advance(25 * time.Hour)
	housetest.Within(t, housetest.Wait, "what is left goes", func() bool {
		for _, path := range all(alice, "demo") {
			if there(path) {
				return false
			}
		}
		return logs(alice, "demo") == 0 && !there(h.Data(), "sites", alice.Npub, "demo") && !there(h.Data(), "checkouts", alice.Npub, "demo") &&
			!there(www, alice.Npub, "demo", "gen-1")
	})
	if !there(h.Data(), "sites", alice.Npub) || !there(h.Data(), "checkouts", alice.Npub) {
		t.Error("a folder too many went")
	}
	if !there(precious) || !there(stranger) || there(filepath.Dir(precious), "gen-1") {
		t.Error("a file that is not ours went, or what is beside it did not")
	}
	whole("afterwards", alice, "other")
	whole("afterwards", bob, "demo")
}
