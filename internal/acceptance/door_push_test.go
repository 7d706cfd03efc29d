package acceptance_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// The capability lists of three clients, as they send them behind the NUL.
const (
	stockCaps   = " report-status-v2 side-band-64k object-format=sha1 agent=git/2.39.5"
	libgit2Caps = " report-status side-band-64k"
	isoCaps     = " report-status side-band-64k agent=git/isomorphic-git@1.44.11"
	browserCaps = " report-status delete-refs"
)

var zero = housetest.ZeroID

// An answer is what a pusher understands of the reply.
type answer struct {
	unpack string   // the first line of the report, without "unpack "
	refs   []string // the others
	words  string   // band 2
	fatal  string   // band 3
	raw    string
}

// understand reads an answer to a push; banded says whether side-band was negotiated.
func understand(t *testing.T, resp *http.Response, body string, banded bool) (a answer) {
	t.Helper()
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != receiveResult {
		t.Fatalf("push: status %d %s: %.300q", resp.StatusCode, resp.Header.Get("Content-Type"), body)
	}
	housetest.CORS(t, "push", resp.Header)
	a.raw = body
	packets, rest := housetest.Packets(t, body)
	if rest != "" {
		t.Fatalf("push: %q follows the packets", rest)
	}
	if banded {
		if len(packets) == 0 || packets[len(packets)-1] != housetest.FlushPkt {
			t.Fatalf("push: the side-bands do not end in a flush: %q", body)
		}
		var data string
		data, a.words, a.fatal = housetest.Bands(packets)
		packets, rest = housetest.Packets(t, data)
		if rest != "" {
			t.Fatalf("push: %q follows the report", rest)
		}
	}
	for i, p := range packets {
		p = strings.TrimSuffix(p, "\n")
		switch {
		case i == 0 && strings.HasPrefix(p, "unpack "):
			a.unpack = strings.TrimPrefix(p, "unpack ")
		case i == len(packets)-1 && p == housetest.FlushPkt:
		default:
			a.refs = append(a.refs, p)
		}
	}
	return a
}

// command is one line of a push; the first of them has a capability list.
func command(old, now, ref, caps string) string {
	if caps != "" {
		caps = "\x00" + caps
	}
	return housetest.Pkt(old, " ", now, " ", ref, caps)
}

// wired pushes one ref by hand, with everything reachable from now as the pack.
func wired(t *testing.T, h *housetest.House, repo, caps, old, now, ref, pack string) answer {
	t.Helper()
	resp, body := h.ReceivePack(repo, command(old, now, ref, caps)+housetest.FlushPkt+pack)
	return understand(t, resp, body, strings.Contains(caps, "side-band"))
}

func refused(t *testing.T, a answer, refs ...string) {
	t.Helper()
	if a.unpack == "" || a.unpack == "ok" {
		t.Errorf("unpack %q, want a reason: %q", a.unpack, a.raw)
	}
	for i, ref := range refs {
		if i >= len(a.refs) || !strings.HasPrefix(a.refs[i], "ng "+ref+" ") {
			t.Errorf("report %q, want ng for each of %v", a.refs, refs)
			return
		}
		reason := strings.TrimPrefix(a.refs[i], "ng "+ref+" ")
		if len(reason) > 200 || strings.Contains(reason, "404") || strings.Contains(strings.ToLower(reason), "not found") {
			t.Errorf("the reason %q does not do (H-246)", reason)
		}
		word, _, _ := strings.Cut(reason, ":")
		if !slices.Contains([]string{"unauthorised", "refused", "limit"}, word) {
			t.Errorf("the reason %q begins with no stable word (H-246)", reason)
		}
	}
	if len(a.refs) != len(refs) {
		t.Errorf("report %q, want one line for each of %v", a.refs, refs)
	}
}

func accepted(t *testing.T, a answer, refs ...string) {
	t.Helper()
	want := make([]string, len(refs))
	for i, r := range refs {
		want[i] = "ok " + r
	}
	if a.unpack != "ok" || !slices.Equal(a.refs, want) {
		t.Errorf("unpack %q and %q, want ok for %v", a.unpack, a.refs, refs)
	}
}

// states returns the served states of a key.
func states(c *housetest.Conn, k *housetest.Key) []*nostr.Event {
	return c.Query(nostr.Filter{Kinds: []int{30618}, Authors: []string{k.Pub}})
}

// clean fails the test if something of a push was left in the data folder.
func clean(t *testing.T, h *housetest.House) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(h.Data(), "incoming"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			t.Errorf("a push left incoming/%s", e.Name())
		}
	}
}

// The requests and answers of a push, by hand.
func TestDoorPushByHand(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, alice := h.Dial(), housetest.NewKey(t)
	c.Must(h.Announcement(alice, "demo", longAgo()))
	repo := h.Repo(alice, "demo")
	w := housetest.NewCopy(t)
	first := w.Commit()
	const main = "refs/heads/main"

	t.Run("check 57: H-241", func(t *testing.T) {
		for _, ct := range []string{"", "text/plain", "application/x-git-upload-pack-request", "application/x-git-receive-pack-result", "application/x-www-form-urlencoded", "garbage;;"} {
			resp, body := h.Do("POST", repo+"/git-receive-pack", strings.NewReader(housetest.FlushPkt), "Content-Type", ct)
			if resp.StatusCode != 415 {
				t.Errorf("%q: status %d, want 415: %s", ct, resp.StatusCode, body)
			}
			housetest.CORS(t, ct, resp.Header)
		}
	})
	t.Run("check 58: H-242", func(t *testing.T) { // there is no state yet
		for _, header := range [][]string{nil, {"Content-Encoding", "identity"}, {"Authorization", "x"}} {
			resp, body := h.ReceivePack(repo, housetest.FlushPkt, header...)
			if resp.StatusCode != 200 || body != "" || resp.Header.Get("Content-Type") != receiveResult {
				t.Errorf("probe: status %d %s %q", resp.StatusCode, resp.Header.Get("Content-Type"), body)
			}
		}
	})
	t.Run("check 72: H-249", func(t *testing.T) { // there is no state yet
		accepted(t, wired(t, h, repo, stockCaps, zero, zero, main, ""), main)
		resp, body := h.ReceivePack(repo, command(first, zero, "refs/tags/gone", stockCaps)+command(zero, zero, main, "")+housetest.FlushPkt)
		accepted(t, understand(t, resp, body, true), "refs/tags/gone", main)
	})

	pack := w.Pack(first)
	t.Run("check 65: H-246", func(t *testing.T) {
		// As isomorphic-git sends it: a line feed behind each command, and the list with its space.
		resp, body := h.ReceivePack(repo, housetest.Pkt(zero, " ", first, " ", main, "\x00", isoCaps, "\n")+housetest.FlushPkt+pack,
			"Accept", "application/x-git-receive-pack-result")
		a := understand(t, resp, body, true)
		refused(t, a, main)
		if !strings.Contains(a.refs[0], "30618") && !strings.Contains(a.words, "30618") {
			t.Errorf("nobody learns that an event of kind 30618 is missing: %q", a.raw)
		}
	})
	t.Run("check 66: H-246", func(t *testing.T) {
		// As libgit2 sends it: chunked, with its short list.
		req, err := http.NewRequest("POST", repo+"/git-receive-pack", &onlyReader{strings.NewReader(housetest.Pkt(zero, " ", first, " ", main, "\x00", libgit2Caps, "\n") + housetest.FlushPkt + pack)})
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-git-receive-pack-request")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body := readAll(t, resp.Body)
		refused(t, understand(t, resp, body, true), main) // unpack not ok is what makes its push fail
	})
	t.Run("check 67: H-246", func(t *testing.T) {
		for _, caps := range []string{" report-status", browserCaps, "report-status-v2 delete-refs"} {
			refused(t, wired(t, h, repo, caps, zero, first, main, pack), main)
		}
	})
	t.Run("check 68: H-247", func(t *testing.T) {
		resp, body := h.ReceivePack(repo, command(zero, first, main, "")+housetest.FlushPkt+pack)
		packets, _ := housetest.Packets(t, body)
		if resp.StatusCode != 200 || len(packets) != 1 || !strings.HasPrefix(packets[0], "ERR ") || strings.HasSuffix(packets[0], "\n") {
			t.Errorf("status %d %q, want one ERR packet", resp.StatusCode, body)
		}
		a := wired(t, h, repo, " side-band-64k", zero, first, main, pack)
		if a.fatal == "" || a.unpack != "" {
			t.Errorf("with side-band only: %q, want band 3", a.raw)
		}
	})
	t.Run("check 62: H-244", func(t *testing.T) {
		for i, v := range []struct{ tail, caps string }{
			{"", stockCaps}, {"\n", stockCaps}, {"", "report-status side-band-64k"}, {"\n", isoCaps}, {"", ""}, {"\n", ""}, {"", " "}, {"\n", libgit2Caps}, {"", " report-status\n"},
		} {
			id := fmt.Sprintf("v%d", i)
			c.Must(h.Announcement(alice, id, longAgo()), alice.State(id, longAgo(), "main="+first, "dev="+first))
			list := ""
			if v.caps != "" {
				list = "\x00" + v.caps
			}
			resp, body := h.ReceivePack(h.Repo(alice, id), housetest.Pkt(zero, " ", first, " refs/heads/main", list, v.tail)+housetest.Pkt(zero, " ", first, " refs/heads/dev", v.tail)+housetest.FlushPkt+pack)
			if strings.Contains(v.caps, "report-status") {
				accepted(t, understand(t, resp, body, strings.Contains(v.caps, "side-band")), main, "refs/heads/dev")
			} else if resp.StatusCode != 200 || body != "" {
				t.Errorf("%q: status %d %q", v.caps, resp.StatusCode, body)
			}
			refs := housetest.Remote(t, h.Repo(alice, id))
			if refs[main] != first || refs["refs/heads/dev"] != first {
				t.Errorf("%+v: refs are %v", v, refs)
			}
		}
	})
	t.Run("check 63: H-245", func(t *testing.T) {
		c.Must(alice.State("demo", longAgo(), "main="+first))
		accepted(t, wired(t, h, repo, stockCaps, zero, first, main, pack), main)
		second := w.Commit()
		refused(t, wired(t, h, repo, stockCaps, first, second, main, w.Pack(second, "^"+first)), main)
		st := alice.State("demo", longAgo()+1, "main="+second)
		if ok, msg := c.Publish(st); !ok || msg != "purgatory: won't be served until git data arrives" {
			t.Errorf("state: OK %v %q", ok, msg)
		}
		if evs := c.Query(nostr.Filter{IDs: []string{st.ID}}); len(evs) != 0 {
			t.Error("the state is served although its commit was refused")
		}
		if resp, body := h.UploadPack(repo, housetest.Pkt("want ", second, " side-band-64k\n")+housetest.FlushPkt+housetest.Pkt("done\n")); !strings.Contains(body, "not our ref") {
			t.Errorf("the refused commit can be fetched: %d %.100q", resp.StatusCode, body)
		}
		// check 76: H-253: a pack that lacks a parent
		third := w.Commit()
		hole := w.GitInput(third+"\n"+w.Git("rev-parse", third+"^{tree}")+"\n"+w.Git("rev-parse", third+":file3.txt")+"\n", "pack-objects", "-q", "--stdout")
		c.Must(alice.State("demo", longAgo()+2, "main="+third))
		refused(t, wired(t, h, repo, stockCaps, first, third, main, hole), main)
		for what, broken := range map[string]string{"none": "", "garbage": "garbage", "half": w.Pack(third, "^"+first)[:60], "empty": w.GitInput("", "pack-objects", "-q", "--stdout")} {
			t.Log(what)
			refused(t, wired(t, h, repo, stockCaps, first, third, main, broken), main)
		}
		if got := housetest.Remote(t, repo)[main]; got != first {
			t.Errorf("main is %s, want %s", got, first)
		}
		if evs := states(c, alice); slices.ContainsFunc(evs, func(e *nostr.Event) bool { return e.CreatedAt > nostr.Timestamp(longAgo()) && e.Tags.GetD() == "demo" }) {
			t.Error("a state was released without its data")
		}
		clean(t, h)
		accepted(t, wired(t, h, repo, stockCaps, first, third, main, w.Pack(third, "^"+first)), main)
		// A thin pack is completed: the blob is a delta against one that is here.
		fourth := w.CommitFile("file1.txt", []byte(w.Git("show", third+":file1.txt")+"\nmore\n"))
		c.Must(alice.State("demo", longAgo()+3, "main="+fourth))
		thin := w.GitInput(fourth+"\n^"+third+"\n", "pack-objects", "-q", "--stdout", "--revs", "--thin")
		accepted(t, wired(t, h, repo, stockCaps, third, fourth, main, thin), main)
	})
	t.Run("checks 77, 78: H-253", func(t *testing.T) {
		now := housetest.Remote(t, repo)[main]
		next := w.Commit()
		c.Must(alice.State("demo", longAgo()+4, "main="+next))
		pack := w.Pack(next, "^"+now)
		for what, body := range map[string]string{
			"twice":             command(now, next, main, stockCaps) + command(now, next, main, ""),
			"twice, not alike":  command(now, next, main, stockCaps) + command(next, now, main, ""),
			"sha256":            command(now, next, main, strings.Replace(stockCaps, "sha1", "sha256", 1)),
			"an id of sha256":   command(now+strings.Repeat("0", 24), next+strings.Repeat("0", 24), main, stockCaps),
			"an id too short":   command(now, next[:39], main, stockCaps),
			"no id":             command(now, strings.Repeat("g", 40), main, stockCaps),
			"a name with dots":  command(now, next, main+"/../x", stockCaps),
			"a name with lock":  command(now, next, main+".lock", stockCaps),
			"a name with space": command(now, next, main+" x", stockCaps),
			"a name of one":     command(now, next, "main", stockCaps),
		} {
			resp, got := h.ReceivePack(repo, body+housetest.FlushPkt+pack)
			a := understand(t, resp, got, true)
			if a.unpack == "ok" || a.unpack == "" || len(a.refs) == 0 || slices.ContainsFunc(a.refs, func(l string) bool { return !strings.HasPrefix(l, "ng ") }) {
				t.Errorf("%s: unpack %q, %q", what, a.unpack, a.refs)
			}
			if got := housetest.Remote(t, repo)[main]; got != now {
				t.Errorf("%s: main is %s", what, got)
			}
		}
		accepted(t, wired(t, h, repo, stockCaps, now, next, main, pack), main)
		accepted(t, wired(t, h, repo, stockCaps, strings.ToUpper(now), strings.ToUpper(next), main, pack), main) // hardening §4
	})
	t.Run("check 70: H-249", func(t *testing.T) {
		c0 := housetest.Remote(t, repo)[main]
		c1, c2 := w.Commit(), w.Commit()
		c.Must(alice.State("demo", longAgo()+5, "main="+c1, "dev="+c2))
		w.Git("push", "-q", repo, c1+":"+main, c2+":refs/heads/dev")
		c.Must(alice.State("demo", longAgo()+6, "main="+c2, "dev="+c2))
		if got := housetest.Remote(t, repo)[main]; got != c2 {
			t.Fatalf("the state did not move main: %s", got)
		}
		accepted(t, wired(t, h, repo, stockCaps, c0, c2, main, w.Pack(c2, "^"+c0)), main)
		refusedFetchFirst := wired(t, h, repo, stockCaps, c0, c1, main, w.GitInput("", "pack-objects", "-q", "--stdout"))
		if refusedFetchFirst.unpack == "ok" {
			t.Errorf("a move that nothing authorises: %q (H-250)", refusedFetchFirst.raw)
		}
	})
	t.Run("check 71: H-249", func(t *testing.T) {
		c2 := housetest.Remote(t, repo)[main]
		c.Must(alice.State("demo", longAgo()+7, "main="+c2))
		if got, there := housetest.Remote(t, repo)["refs/heads/dev"]; there {
			t.Fatalf("the state did not delete dev: %s", got)
		}
		accepted(t, wired(t, h, repo, stockCaps, c2, zero, "refs/heads/dev", ""), "refs/heads/dev")
	})
	clean(t, h)
}

// Pushing with stock git.
func TestDoorStockPush(t *testing.T) {
	t.Parallel()
	h, c, alice, w := hosted(t)
	repo := h.Repo(alice, "demo")
	at := longAgo()
	state := func(refs ...string) *nostr.Event {
		t.Helper()
		at++
		st := alice.State("demo", at, refs...)
		c.Must(st)
		return st
	}
	noise := rand.NewChaCha8([32]byte{59})
	big := func(n int) string {
		b := make([]byte, n)
		_, _ = noise.Read(b)
		return w.CommitFile("big.bin", b)
	}

	t.Run("check 59: H-243", func(t *testing.T) {
		for _, config := range [][]string{nil, {"-c", "http.postBuffer=524288000"}, {"-c", "http.postBuffer=65536"}} {
			oid := big(5 << 20)
			state("main=" + oid)
			link := h.Link(0)
			w.Git(append(append([]string{}, config...), "push", "-q", strings.Replace(repo, h.URL, link.URL, 1), "main")...)
			if got := housetest.Remote(t, repo)["refs/heads/main"]; got != oid {
				t.Errorf("%v: main is %s, want %s", config, got, oid)
			}
			chunked, whole := strings.Contains(link.Sent(), "chunked"), len(config) > 0 && strings.HasSuffix(config[1], "4288000")
			if chunked == whole {
				t.Errorf("%v: chunked is %v: this test proves nothing", config, chunked)
			}
		}
	})
	t.Run("check 60: H-244", func(t *testing.T) {
		shallow := housetest.Clone(t, repo, "--depth", "1")
		if got := shallow.Git("rev-parse", "--is-shallow-repository"); got != "true" {
			t.Fatal("the clone is not shallow; this test proves nothing")
		}
		oid := shallow.Commit()
		state("main=" + oid)
		link := h.Link(0)
		shallow.Git("push", "-q", strings.Replace(repo, h.URL, link.URL, 1), "HEAD:main")
		if !strings.Contains(link.Sent(), "0034shallow ") && !strings.Contains(link.Sent(), "0035shallow ") {
			t.Error("no shallow line was sent; this test proves nothing")
		}
		full := housetest.Clone(t, repo)
		if got := full.Git("rev-parse", "HEAD", "--is-shallow-repository"); got != oid+"\nfalse" {
			t.Errorf("a clone has %q", got)
		}
		full.Git("fsck", "--full")
		w.Git("pull", "-q", repo, "main")
	})
	t.Run("check 61: H-244", func(t *testing.T) {
		oid := w.Commit()
		state("main=" + oid)
		w.Git("push", "-q", "-o", "key=value", "-o", "ci.skip", repo, "main")
		if got := housetest.Remote(t, repo)["refs/heads/main"]; got != oid {
			t.Errorf("main is %s, want %s", got, oid)
		}
	})
	t.Run("check 64: H-246", func(t *testing.T) {
		evil := housetest.Clone(t, repo)
		evil.Commit()
		for _, args := range [][]string{{"push", repo, "HEAD:main"}, {"push", "--atomic", repo, "HEAD:main"}, {"push", "-f", repo, "HEAD:main"}, {"-c", "http.postBuffer=1", "push", repo, "HEAD:main"}} {
			out := evil.Fails("[remote rejected]", args...)
			if !strings.Contains(out, "refs/heads/main") || !strings.Contains(out, "unauthorised:") || !strings.Contains(out, "remote: ") || strings.Contains(out, "bad band") {
				t.Errorf("git %v says:\n%s", args, out)
			}
		}
	})
	t.Run("check 69: H-248", func(t *testing.T) {
		oid := w.Commit()
		w.Git("tag", "-a", "-m", "x", "v1")
		st := state("main="+oid, "dev="+oid, "refs/tags/v1="+w.Git("rev-parse", "v1"))
		now := housetest.Remote(t, repo)["refs/heads/main"]
		resp, body := h.ReceivePack(repo, command(now, oid, "refs/heads/main", stockCaps)+command(zero, oid, "refs/heads/dev", "")+command(zero, w.Git("rev-parse", "v1"), "refs/tags/v1", "")+
			housetest.FlushPkt+w.Pack(oid, "v1", "^"+now))
		if evs := c.Query(nostr.Filter{IDs: []string{st.ID}}); len(evs) != 1 {
			t.Error("the state is not served when the push has returned")
		}
		accepted(t, understand(t, resp, body, true), "refs/heads/main", "refs/heads/dev", "refs/tags/v1")
	})
	t.Run("check 74: H-251", func(t *testing.T) {
		before := housetest.Remote(t, repo)
		oid := w.Commit()
		state("main="+oid, "dev="+before["refs/heads/dev"], "refs/tags/v1="+before["refs/tags/v1"])
		for _, args := range [][]string{{"push", repo, "main", "main:bad"}, {"push", "--atomic", repo, "main", "main:bad"}, {"push", repo, "main:bad", "main"}} {
			out := w.Fails("main -> bad (", args...)
			if n := strings.Count(out, "[remote rejected]"); n != 2 {
				t.Errorf("git %v: %d refs are rejected, want 2:\n%s", args, n, out)
			}
			after := housetest.Remote(t, repo)
			if fmt.Sprint(before) != fmt.Sprint(after) {
				t.Errorf("git %v: refs are %v, were %v", args, after, before)
			}
		}
		w.Git("push", "-q", repo, "main")
	})
	t.Run("check 75: H-252", func(t *testing.T) {
		w.Git("reset", "-q", "--hard", "HEAD~1")
		oid := w.Commit()
		w.Git("branch", "-f", "dev")
		state("dev="+oid, "main="+oid, "HEAD=main")
		w.Git("push", "-q", "-f", repo, "main", "dev")
		refs := housetest.Remote(t, repo)
		if refs["refs/heads/main"] != oid || refs["refs/heads/dev"] != oid {
			t.Errorf("refs are %v, want %s", refs, oid)
		}
		if _, there := refs["refs/tags/v1"]; there { // the state said so, nobody had to push it
			t.Error("the tag is still there")
		}
		// The state moves HEAD and names a commit that is not here, so that the deletion of the branch
		// that HEAD was on, and of a tag, come with the push.
		w.Git("tag", "light")
		state("dev="+oid, "main="+oid, "refs/tags/light="+oid, "HEAD=main")
		next := w.Commit()
		state("dev="+next, "HEAD=dev")
		w.Git("push", "-q", repo, "HEAD:dev", ":main", ":refs/tags/light")
		if got := housetest.Remote(t, repo); len(got) != 2 || got["refs/heads/dev"] != next || got["HEAD"] != next {
			t.Errorf("refs are %v, want dev and HEAD at %s", got, next)
		}
	})
	clean(t, h)
}

// check 73: H-250: two maintainers push at the same time what each of them has signed.
func TestDoorPushRace(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, alice, bob := h.Dial(), housetest.NewKey(t), housetest.NewKey(t)
	repo := h.Repo(alice, "demo")
	base := housetest.NewCopy(t)
	c.Must(h.Announcement(alice, "demo", longAgo(), housetest.Maintainers(bob)), alice.State("demo", longAgo(), "main="+base.Commit()))
	base.Git("push", "-q", repo, "main")
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		at := longAgo() + int64(10*round) + 1
		keys, oids := []*housetest.Key{alice, bob}, map[*housetest.Key]string{}
		copies := []*housetest.Copy{housetest.Clone(t, repo, "-b", "main"), housetest.Clone(t, repo, "-b", "main")}
		newer := keys[round%2]
		for i, k := range keys {
			oids[k] = copies[i].Commit()
			when := at
			if k == newer {
				when++
			}
			c.Must(k.State("demo", when, "main="+oids[k], "dev="+oids[k]))
		}
		var both sync.WaitGroup
		for _, w := range copies {
			both.Go(func() {
				_, _ = housetest.Git(t, w.Dir, "push", "-q", "-f", repo, "HEAD:main", "HEAD:dev") // one of them may come second
			})
		}
		both.Wait()
		refs := housetest.Remote(t, repo)
		if main, dev := refs["refs/heads/main"], refs["refs/heads/dev"]; main != dev || main != oids[alice] && main != oids[bob] {
			t.Fatalf("round %d: main and dev are %s and %s, want both at one of %v", round, main, dev, oids)
		}
		// Whoever came second tries again: in the end the newest state holds.
		for _, w := range copies {
			_, _ = housetest.Git(t, w.Dir, "push", "-q", "-f", repo, "HEAD:main", "HEAD:dev")
		}
		refs = housetest.Remote(t, repo)
		if main, dev := refs["refs/heads/main"], refs["refs/heads/dev"]; main != oids[newer] || dev != main {
			t.Fatalf("round %d: main and dev are %s and %s, want both at %s, the newest", round, main, dev, oids[newer])
		}
	}
	housetest.Clone(t, repo).Git("fsck", "--full")
}

// check 79: H-254: more than is allowed, announced and not announced.
func TestDoorPushTooLarge(t *testing.T) {
	t.Parallel()
	h, c, alice, w := hosted(t, func(cfg *config.Config) { cfg.Limits.MaxPush, cfg.Limits.MaxPRPush = 1<<20, 256<<10 })
	repo := h.Repo(alice, "demo")
	old := w.Git("rev-parse", "main")
	b := make([]byte, 3<<20)
	_, _ = rand.NewChaCha8([32]byte{79}).Read(b)
	oid := w.CommitFile("big.bin", b)
	c.Must(alice.State("demo", longAgo()+1, "main="+oid))
	body := command(old, oid, "refs/heads/main", stockCaps) + housetest.FlushPkt + w.Pack(oid, "^"+old)
	resp, got := h.ReceivePack(repo, body)
	if resp.StatusCode != 413 {
		t.Errorf("with a length: status %d, want 413: %.200q", resp.StatusCode, got)
	}
	housetest.CORS(t, "413", resp.Header)
	out := w.Fails("limit: at most 1 MiB", "push", repo, "main") // chunked: it is larger than git's buffer
	if !strings.Contains(out, "[remote rejected]") {
		t.Errorf("git says:\n%s", out)
	}
	w.Fails("413", "-c", "http.postBuffer=524288000", "push", repo, "main")
	// PR refs have a limit of their own.
	small := make([]byte, 300<<10)
	_, _ = rand.NewChaCha8([32]byte{80}).Read(small)
	w.Git("reset", "-q", "--hard", old)
	w.CommitFile("small.bin", small)
	w.Fails("limit: at most 256 KiB", "-c", "http.postBuffer=1", "push", repo, "HEAD:refs/nostr/"+strings.Repeat("7", 64))
	if got := housetest.Remote(t, repo); got["refs/heads/main"] != old || len(got) != 2 {
		t.Errorf("refs are %v", got)
	}
	clean(t, h)
}

// checks 36, 80: H-208, H-255: what the host says to its own git does not matter here.
func TestDoorHostConfiguration(t *testing.T) {
	home := t.TempDir()
	marker := filepath.Join(home, "ran")
	hook := "#!/bin/sh\ntouch " + marker + "\nexit 1\n"
	for _, name := range []string{"pre-receive", "update", "post-receive", "reference-transaction", "post-update", "proc-receive"} {
		if err := os.MkdirAll(filepath.Join(home, "hooks"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, "hooks", name), []byte(hook), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(home, ".gitconfig")
	if err := os.WriteFile(config, []byte("[receive]\n\tdenyDeletes = true\n\tdenyNonFastForwards = true\n\tdenyCurrentBranch = refuse\n\tunpackLimit = 100\n[core]\n\thooksPath = "+
		filepath.Join(home, "hooks")+"\n[init]\n\tdefaultBranch = main\n[uploadpack]\n\thideRefs = refs/heads\n\tallowFilter = false\n[transfer]\n\thideRefs = refs\n[uploadpack]\n\tpackObjectsHook = touch "+marker+";\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{
		"HOME": home, "XDG_CONFIG_HOME": home, "GIT_CONFIG_GLOBAL": config, "GIT_CONFIG_SYSTEM": config, "GIT_DIR": home, "GIT_OBJECT_DIRECTORY": home,
		"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "receive.denyDeletes", "GIT_CONFIG_VALUE_0": "true", "GIT_TRACE": filepath.Join(home, "trace"), "GIT_ALTERNATE_OBJECT_DIRECTORIES": home,
		"GIT_CONFIG_PARAMETERS": "'core.hooksPath'='" + filepath.Join(home, "hooks") + "'", "GIT_NAMESPACE": "x", "GIT_PROTOCOL": "version=1",
	} {
		t.Setenv(k, v)
	}
	h, c, alice, w := hosted(t)
	repo := h.Repo(alice, "demo")
	oid := w.Commit()
	c.Must(alice.State("demo", longAgo()+1, "main="+oid, "dev="+oid))
	w.Git("push", "-q", repo, "main", "main:dev")
	w.Git("reset", "-q", "--hard", "HEAD~1")
	next := w.Commit()
	c.Must(alice.State("demo", longAgo()+2, "main="+next))
	w.Git("push", "-q", "-f", repo, "main", ":dev")
	if got := housetest.Remote(t, repo); len(got) != 2 || got["refs/heads/main"] != next {
		t.Errorf("refs are %v, want main at %s", got, next)
	}
	clone := housetest.Clone(t, repo, "--filter=blob:none")
	if got := clone.Git("rev-parse", "HEAD"); got != next {
		t.Errorf("a clone has %s, want %s", got, next)
	}
	c.Must(h.Announcement(alice, "empty", longAgo()))
	if _, body := h.UploadPack(h.Repo(alice, "empty"), lsRefs(), "Git-Protocol", "version=2"); !strings.Contains(body, "unborn HEAD symref-target:refs/heads/master\n") {
		t.Errorf("ls-refs of an empty repository says %q", body)
	}
	for _, name := range []string{"ran", "trace"} {
		if _, err := os.Stat(filepath.Join(home, name)); err == nil {
			t.Errorf("the host's configuration had an effect: %s", name)
		}
	}
}

// onlyReader hides the length of what it reads, so that it is sent in chunks.
type onlyReader struct{ io.Reader }

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
