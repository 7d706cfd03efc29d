package housetest

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// A Report is what the server answered to a push.
type Report struct {
	Unpack string            // "ok", or why not
	Refs   map[string]string // by name: "ok", or the reason of its ng
	Words  string            // band 2, for people
}

// OK reports whether everything was accepted.
func (r Report) OK() bool {
	for _, said := range r.Refs {
		if said != "ok" {
			return false
		}
	}
	return r.Unpack == "ok"
}

// PushRaw asks for commands, each "old new ref", with a pack or "" for none, the way stock git does,
// and reads the report. The answer must have the form of one, for these very refs (H-246, H-248).
func (h *House) PushRaw(repo, pack string, commands ...string) Report {
	h.t.Helper()
	body := ""
	for i, c := range commands {
		if i == 0 {
			c += "\x00 report-status-v2 side-band-64k object-format=sha1 agent=git/2.39.5"
		}
		body += Pkt(c)
	}
	resp, answer := h.ReceivePack(repo, body+FlushPkt+pack)
	if resp.StatusCode != http.StatusOK {
		h.t.Fatalf("push of %q: status %d: %s", commands, resp.StatusCode, answer)
	}
	packets, rest := Packets(h.t, answer)
	data, words, fatal := Bands(packets)
	words = Undotted(words)
	if rest != "" || fatal != "" || len(packets) == 0 || packets[len(packets)-1] != FlushPkt {
		h.t.Fatalf("push of %q: the answer is no report: %q", commands, answer)
	}
	lines, rest := Packets(h.t, data)
	if rest != "" || len(lines) != len(commands)+2 || lines[len(lines)-1] != FlushPkt {
		h.t.Fatalf("push of %q: the report is %q", commands, lines)
	}
	r := Report{Refs: map[string]string{}, Words: words}
	var unpacked bool
	if r.Unpack, unpacked = strings.CutPrefix(strings.TrimSuffix(lines[0], "\n"), "unpack "); !unpacked {
		h.t.Fatalf("push of %q: the report begins with %q", commands, lines[0])
	}
	r.Unpack = Undotted(r.Unpack)
	for i, c := range commands {
		ref := strings.SplitN(c, " ", 3)[2]
		line := strings.TrimSuffix(lines[i+1], "\n")
		if line == "ok "+ref {
			r.Refs[ref] = "ok"
		} else if reason, no := strings.CutPrefix(line, "ng "+ref+" "); no && reason != "" {
			r.Refs[ref] = Undotted(reason)
		} else {
			h.t.Fatalf("push of %q: the report says %q of %s", commands, line, ref)
		}
	}
	return r
}

// MustPush is PushRaw that has to be accepted.
func (h *House) MustPush(repo, pack string, commands ...string) {
	h.t.Helper()
	if r := h.PushRaw(repo, pack, commands...); !r.OK() {
		h.t.Fatalf("push of %q is refused: %+v", commands, r)
	}
}

// RefusePush is PushRaw that has to be refused as a whole: the unpack line says so, no ref is
// accepted, and one reason says want (H-246, H-251).
func (h *House) RefusePush(repo, pack, want string, commands ...string) Report {
	h.t.Helper()
	r := h.PushRaw(repo, pack, commands...)
	said := r.Unpack == want
	for ref, reason := range r.Refs {
		if reason == "ok" {
			h.t.Fatalf("push of %q: %s is accepted", commands, ref)
		}
		said = said || strings.Contains(reason, want)
	}
	if r.Unpack == "ok" || !said {
		h.t.Fatalf("push of %q: got %+v, want a refusal with %q", commands, r, want)
	}
	return r
}

// Heads returns the branch to which HEAD points as protocol 0 and as protocol 2 show it: "" where
// it is not shown. A HEAD line must come first, there may be one symref only, and both must speak
// of an advertised ref (H-202, G01-606).
func (h *House) Heads(repo string) (v0, v2 string) {
	h.t.Helper()
	_, body := h.Get(repo + "/info/refs?service=git-upload-pack")
	packets, _ := Packets(h.t, body)
	if len(packets) < 3 {
		h.t.Fatalf("%s advertises %q", repo, packets)
	}
	first, caps, _ := strings.Cut(strings.TrimSuffix(packets[2], "\n"), "\x00")
	for c := range strings.FieldsSeq(caps) {
		target, ok := strings.CutPrefix(c, "symref=HEAD:")
		if !ok {
			continue
		}
		if v0 != "" {
			h.t.Fatalf("%s has two symrefs: %q", repo, caps)
		}
		v0 = target
		oid, isHead := strings.CutSuffix(first, " HEAD")
		if !isHead || !strings.Contains(body, oid+" "+target+"\n") {
			h.t.Fatalf("%s says symref %s, and begins with %q", repo, target, first)
		}
	}
	ls := Pkt("command=ls-refs\n") + Pkt("agent=git/2.39.5") + Pkt("object-format=sha1") + "0001" +
		Pkt("peel\n") + Pkt("symrefs\n") + Pkt("unborn\n") + FlushPkt
	_, body = h.UploadPack(repo, ls, "Git-Protocol", "version=2")
	packets, _ = Packets(h.t, body)
	for _, p := range packets {
		f := strings.Fields(p)
		if len(f) < 3 || f[1] != "HEAD" || f[0] == "unborn" {
			continue
		}
		target, ok := strings.CutPrefix(f[2], "symref-target:")
		if !ok || v2 != "" || !strings.Contains(body, f[0]+" "+target+"\n") {
			h.t.Fatalf("%s lists %q", repo, packets)
		}
		v2 = target
	}
	return v0, v2
}

// HeadIs fails the test unless both protocols show HEAD at this branch.
func (h *House) HeadIs(repo, branch string) {
	h.t.Helper()
	if v0, v2 := h.Heads(repo); v0 != "refs/heads/"+branch || v2 != v0 {
		h.t.Fatalf("%s: HEAD is %q in protocol 0 and %q in protocol 2, want %s", repo, v0, v2, branch)
	}
}

// Within asks until done says yes. It fails the test after d, a bound that the rules give.
func Within(t testing.TB, d time.Duration, what string, done func() bool) {
	t.Helper()
	end := time.Now().Add(d)
	for !done() {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, d)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// PullRef is the ref under which the tip of a pull request travels.
func PullRef(id string) string { return "refs/nostr/" + id }
