package acceptance_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// program writes a shell script. It is written by another process: a file that this one has open
// for writing cannot be started.
func program(t *testing.T, name, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("sh", "-c", `cat > "$1" && chmod 755 "$1"`, "sh", path)
	cmd.Stdin = strings.NewReader("#!/bin/sh\n" + script + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// noise returns n bytes that do not compress, always the same for one seed.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

func realGit(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// watched starts a house whose git notes each of its starts. calls returns them, one line each,
// since it was called last.
func watched(t *testing.T) (h *housetest.House, calls func() []string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "starts")
	git := program(t, "git", fmt.Sprintf("echo \"$*\" >> '%s'\nexec '%s' \"$@\"", log, realGit(t)))
	h = housetest.Start(t, func(cfg *config.Config) { cfg.Git.Path = git })
	return h, func() []string {
		t.Helper()
		b, err := os.ReadFile(log)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		_ = os.Truncate(log, 0)
		if len(b) == 0 {
			return nil
		}
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
}

// What can be answered from memory starts no program; a push starts few (hardening §4: spawn only
// after admission).
func TestDoorProcesses(t *testing.T) {
	t.Parallel()
	h, calls := watched(t)
	c, alice := h.Dial(), housetest.NewKey(t)
	repo, empty := h.Repo(alice, "demo"), h.Repo(alice, "empty")
	w := housetest.NewCopy(t)
	first := w.Commit()
	if got := calls(); len(got) == 0 {
		t.Fatal("not even the version was asked for; this test proves nothing")
	}
	none := func(what string) {
		t.Helper()
		if got := calls(); len(got) != 0 {
			t.Errorf("%s started git %d times: %q", what, len(got), got)
		}
	}
	c.Must(h.Announcement(alice, "demo", longAgo()), h.Announcement(alice, "empty", longAgo()), alice.State("demo", longAgo(), "main="+first))
	none("announcing")

	w.Git("push", "-q", repo, "main")
	if got := calls(); len(got) > 4 {
		t.Errorf("a push started git %d times, want at most 4: %q", len(got), got)
	}
	second := w.Commit()
	c.Must(alice.State("demo", longAgo()+1, "main="+second))
	none("a state whose commit is not here")
	w.Git("push", "-q", repo, "main")
	if got := calls(); len(got) > 4 || len(got) == 0 {
		t.Errorf("a push started git %d times, want 1 to 4: %q", len(got), got)
	}
	w.Git("push", "-q", repo, "main:refs/nostr/"+strings.Repeat("3", 64))
	if got := calls(); len(got) > 4 {
		t.Errorf("a push of a PR ref started git %d times, want at most 4: %q", len(got), got)
	}

	for _, target := range []string{repo, empty} {
		for _, refs := range []string{uploadRefs, receiveRefs} {
			answered(t, h, 200, "GET", target+refs)
			answered(t, h, 200, "GET", target+refs, "Git-Protocol", "version=2")
			answered(t, h, 200, "HEAD", target+refs)
		}
		answered(t, h, 200, "GET", target)
	}
	none("info/refs")
	for _, v := range everyProtocol {
		if out, err := housetest.Git(t, ".", "-c", "protocol.version="+v, "ls-remote", repo); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		none("ls-remote with version " + v)
		housetest.Clone(t, empty, "-c", "protocol.version="+v)
		none("a clone of an empty repository with version " + v)
	}
	w.Commit()
	w.Fails("[remote rejected]", "push", repo, "main")
	none("a refused push")
	w.Fails("[remote rejected]", "push", empty, "main")
	none("a refused push to an empty repository")
	h.ReceivePack(repo, housetest.FlushPkt)
	h.UploadPack(repo, housetest.FlushPkt)
	none("a probe")
	w.Fails("not found", "push", h.Repo(alice, "unknown"), "main")
	w.Fails("not found", "clone", h.Repo(alice, "unknown"), "x")
	for _, post := range []func(string, string, ...string) (*http.Response, string){h.UploadPack, h.ReceivePack} {
		post(h.Repo(alice, "unknown"), "garbage")
	}
	none("an unknown repository")
	h.UploadPack(repo, "garbage")
	h.ReceivePack(repo, "garbage")
	none("garbage")
	w.Git("push", "-q", repo, ":refs/heads/gone") // nothing to delete, nothing to do
	none("deleting what does not exist")
	for _, args := range [][]string{{"--depth=1"}, {"--depth=2", "--no-tags"}, {"--depth=1", "--filter=blob:none", "--no-checkout"}} {
		housetest.Clone(t, repo, args...)
		none(fmt.Sprint("a clone of the last commits, ", args))
	}

	housetest.Clone(t, repo)
	if got := calls(); len(got) != 1 || !strings.HasPrefix(got[0], "pack-objects --revs --stdout") {
		t.Errorf("a clone started %q, want one pack-objects", got)
	}
	housetest.Clone(t, repo, "-c", "protocol.version=0")
	if got := calls(); len(got) != 1 || !strings.HasPrefix(got[0], "upload-pack --stateless-rpc --strict") {
		t.Errorf("a clone in protocol 0 started %q, want one upload-pack", got)
	}
}

// check 281: H-257: when git has to think, the client still hears something. git thinks until that
// was heard: no pause is longer than a proxy would wait.
func TestDoorKeepAlive(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	// Each thinks until it is told to go on, or the test has given up.
	marks := t.TempDir()
	think := program(t, "think", `i=0; while [ ! -e '`+marks+`'/$1 ] && [ $i -lt 600 ]; do sleep 0.2; i=$((i+1)); done`)
	slow := program(t, "slow", "'"+think+"' fetch\nexec \"$@\"")
	git := program(t, "git", fmt.Sprintf(`case "$1" in
upload-pack) exec '%[1]s' -c "uploadpack.packObjectsHook=%[2]s" "$@" ;;
pack-objects) case "$*" in *--stdout*) '%[3]s' fetch2 ;; esac ;;
index-pack) if [ -e '%[2]s.push' ]; then '%[3]s' push; fi ;;
esac
exec '%[1]s' "$@"`, realGit(t), slow, think))
	h, c, alice, w := hosted(t, func(cfg *config.Config) { cfg.Git.Path = git })
	repo := h.Repo(alice, "demo")
	old, oid := w.Git("rev-parse", "main"), w.Commit()
	c.Must(alice.State("demo", longAgo()+1, "main="+oid))
	if err := os.WriteFile(slow+".push", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	pack := w.Pack(oid, "^"+old)
	for _, q := range []struct{ what, service, version, body string }{
		{"fetch", "git-upload-pack", "0", housetest.Pkt("want ", old, " side-band-64k\n") + housetest.FlushPkt + housetest.Pkt("done\n")},
		{"fetch2", "git-upload-pack", "2", housetest.Pkt("command=fetch") + "0001" + housetest.Pkt("no-progress") + housetest.Pkt("want ", old, "\n") + housetest.Pkt("done\n") + housetest.FlushPkt},
		{"push", "git-receive-pack", "0", command(old, oid, "refs/heads/main", stockCaps) + housetest.FlushPkt + pack},
	} {
		t.Run(q.what, func(t *testing.T) {
			t.Parallel()
			req, err := http.NewRequest("POST", repo+"/"+q.service, bytes.NewReader([]byte(q.body)))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-"+q.service+"-request")
			req.Header.Set("Git-Protocol", "version="+q.version)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a proxy would not wait longer
			defer cancel()
			resp, err := http.DefaultClient.Do(req.WithContext(ctx))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			buf, all, heard := make([]byte, 64<<10), "", false
			for {
				n, err := resp.Body.Read(buf)
				all += string(buf[:n])
				// An empty packet of band 1: nothing happens by it, and the connection is seen to live.
				if !heard && strings.Contains(all, "0005\x01") {
					heard = true
					if err := os.WriteFile(filepath.Join(marks, q.what), nil, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				if err != nil {
					break
				}
			}
			if !heard {
				t.Fatalf("nothing was heard while git was thinking: %d %.300q", resp.StatusCode, all)
			}
			packets, _ := housetest.Packets(t, all)
			if data, _, _ := housetest.Bands(packets); !strings.HasPrefix(data, "PACK") && !strings.Contains(data, "unpack ok") {
				t.Errorf("the answer is %.200q", all)
			}
		})
	}
}

// check 280: H-256: a large push over a slow link is refused, and the person reads why.
func TestDoorLargeRefusal(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	h, _, alice, _ := hosted(t)
	w := housetest.NewCopy(t)
	for i := range 10 {
		w.CommitFile(fmt.Sprintf("big%d.bin", i), noise(uint64(i), 5<<20))
	}
	link := h.Link(20 << 20)
	through := func(repo string) string { return strings.Replace(repo, h.URL, link.URL, 1) }
	for _, config := range [][]string{nil, {"-c", "http.postBuffer=524288000"}} {
		out := w.Fails("[remote rejected]", append(append([]string{}, config...), "push", through(h.Repo(alice, "demo")), "main:other")...)
		if !strings.Contains(out, "refs/heads/other") || !strings.Contains(out, "unauthorised:") || strings.Contains(strings.ToLower(out), "broken pipe") || strings.Contains(out, "RPC failed") {
			t.Errorf("git says:\n%s", out)
		}
	}
	out := w.Fails("not found", "push", through(h.Repo(alice, "unknown")), "main")
	if strings.Contains(strings.ToLower(out), "broken pipe") || !strings.Contains(out, "remote: No repository") {
		t.Errorf("git says:\n%s", out)
	}
	// Somebody who does not ask first.
	resp, body := h.Do("POST", through(h.Repo(alice, "unknown"))+"/git-receive-pack", strings.NewReader(string(noise(99, 50<<20))), "Content-Type", "application/x-git-receive-pack-request")
	if resp.StatusCode != 404 || !strings.Contains(body, "No repository") {
		t.Errorf("status %d %.200q, want 404", resp.StatusCode, body)
	}
}
