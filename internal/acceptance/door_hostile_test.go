package acceptance_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// Hardening §4, pushes: whatever does not follow the grammar moves nothing, and is answered.
func TestDoorHostilePush(t *testing.T) {
	t.Parallel()
	h, c, alice, w := hosted(t)
	repo := h.Repo(alice, "demo")
	const main = "refs/heads/main"
	old, oid := w.Git("rev-parse", "main"), w.Commit()
	c.Must(alice.State("demo", longAgo()+1, "main="+oid))
	pack := w.Pack(oid, "^"+old)
	good := command(old, oid, main, stockCaps)
	line := old + " " + oid + " " + main
	flush := housetest.FlushPkt

	for what, body := range map[string]string{
		"a signed push": housetest.Pkt("push-cert\x00", stockCaps, "\n") + housetest.Pkt("certificate version 0.1\n") + housetest.Pkt("pusher a\n") + housetest.Pkt("\n") +
			housetest.Pkt(line, "\n") + housetest.Pkt("-----BEGIN PGP SIGNATURE-----\n") + housetest.Pkt("push-cert-end\n") + flush + pack,
		"a signed push behind a command":   good + housetest.Pkt("push-cert\x00", stockCaps, "\n") + housetest.Pkt(line, "\n") + housetest.Pkt("push-cert-end\n") + flush + pack,
		"a delimiter ends it":              good + "0001" + pack,
		"a response-end ends it":           good + "0002" + pack,
		"length 3":                         good + "0003" + flush + pack,
		"an empty packet":                  good + "0004" + flush + pack,
		"length with a sign":               "+0ac" + good[4:] + flush + pack,
		"length with a space":              " 0ac" + good[4:] + flush + pack,
		"length with 0x":                   "0x9c" + good[4:] + flush + pack,
		"length beyond the limit":          "fff1" + good[4:] + flush + pack,
		"no flush":                         good,
		"no flush, and a pack":             good + pack,
		"half a packet":                    good[:50],
		"nothing":                          "",
		"a pack alone":                     pack,
		"a flush and a pack":               flush + pack,
		"a flush and commands":             flush + good + flush + pack,
		"shallow lines only":               housetest.Pkt("shallow ", old) + flush,
		"a shallow line behind a command":  good + housetest.Pkt("shallow ", old) + flush + pack,
		"an unknown line first":            housetest.Pkt("hello\n") + good + flush + pack,
		"an unknown line behind":           good + housetest.Pkt("hello\n") + flush + pack,
		"capabilities behind the second":   good + command(zero, oid, "refs/heads/x", stockCaps) + flush + pack,
		"two NULs":                         housetest.Pkt(line, "\x00", stockCaps, "\x00x") + flush + pack,
		"a tab":                            housetest.Pkt(old, "\t", oid, " ", main, "\x00", stockCaps) + flush + pack,
		"two spaces":                       housetest.Pkt(old, "  ", oid, " ", main, "\x00", stockCaps) + flush + pack,
		"two line feeds":                   command(old, oid, main+"\n\n", stockCaps) + flush + pack,
		"a line feed within":               command(old, oid, main+"\n"+line, stockCaps) + flush + pack,
		"a carriage return":                command(old, oid, main+"\r", stockCaps) + flush + pack,
		"no name":                          command(old, oid, "", stockCaps) + flush + pack,
		"a long list":                      command(old, oid, main, stockCaps+" x="+strings.Repeat("y", 5000)) + flush + pack,
		"a list that is not printable":     command(old, oid, main, stockCaps+" \x1b[31m") + flush + pack,
		"push options that do not end":     command(old, oid, main, stockCaps+" push-options") + flush + housetest.Pkt("a=b"),
		"commands between options":         command(old, oid, main, stockCaps+" push-options") + flush + housetest.Pkt("a") + "0001" + flush + pack,
		"another ref beside the right one": good + command(zero, oid, "refs/replace/"+old, "") + flush + pack,
	} {
		t.Run(what, func(t *testing.T) {
			resp, got := h.ReceivePack(repo, body)
			if resp.StatusCode >= 500 || resp.StatusCode == 401 || resp.StatusCode/100 == 3 {
				t.Errorf("status %d: %.200q", resp.StatusCode, got)
			}
			if resp.StatusCode == 200 && !strings.Contains(got, "unpack ") && !strings.Contains(got, "ERR ") {
				t.Errorf("it is not refused: %.300q", got)
			}
			if strings.Contains(got, "unpack ok") {
				t.Errorf("it is not refused: %.300q", got)
			}
			housetest.CORS(t, what, resp.Header)
			if got := housetest.Remote(t, repo); got[main] != old || len(got) != 2 {
				t.Fatalf("refs are %v", got)
			}
		})
	}

	// check 58: H-242, in every coding
	var z bytes.Buffer
	zw := gzip.NewWriter(&z)
	_, _ = zw.Write([]byte(flush))
	zw.Close()
	for _, coding := range []string{"gzip", "x-gzip"} {
		if resp, got := h.ReceivePack(repo, z.String(), "Content-Encoding", coding); resp.StatusCode != 200 || got != "" {
			t.Errorf("a probe as %s: status %d %q", coding, resp.StatusCode, got)
		}
	}
	// An unknown capability is ignored, and never repeated.
	resp, got := h.ReceivePack(repo, command(old, oid, main, stockCaps+" x-unheard-of=1")+flush+pack)
	accepted(t, understand(t, resp, got, true), main)
	if strings.Contains(got, "unheard") {
		t.Errorf("a capability is repeated: %q", got)
	}
	// old = new is true already; elsewhere it is not.
	accepted(t, wired(t, h, repo, stockCaps, oid, oid, main, ""), main)
	if a := wired(t, h, repo, stockCaps, oid, oid, "refs/heads/other", ""); a.unpack == "ok" {
		t.Errorf("old = new for a ref that does not exist: %q", a.raw)
	}
	clean(t, h)
}

// H-254, hardening §4: too many commands are refused at once; 10,000 are not too many.
func TestDoorManyCommands(t *testing.T) {
	t.Parallel()
	h, _, alice, w := hosted(t)
	repo, oid := h.Repo(alice, "demo"), w.Git("rev-parse", "main")
	for n, want := range map[int]string{10_001: "limit:", 10_000: "unauthorised:"} {
		var b strings.Builder
		for i := range n {
			caps := ""
			if i == 0 {
				caps = stockCaps
			}
			b.WriteString(command(zero, oid, fmt.Sprintf("refs/heads/b%05d", i), caps))
		}
		began := time.Now()
		resp, body := h.ReceivePack(repo, b.String()+housetest.FlushPkt)
		a := understand(t, resp, body, true)
		if took := time.Since(began); took > housetest.Wait/2 { // a second on an idle machine
			t.Errorf("%d commands took %v", n, took)
		}
		if len(a.refs) != n {
			t.Errorf("%d commands: the report has %d lines", n, len(a.refs))
		}
		if !strings.Contains(a.refs[0], want) {
			t.Errorf("%d commands: %q, want %s", n, a.refs[0], want)
		}
	}
}

// Hardening §4, fetches.
func TestDoorHostileFetch(t *testing.T) {
	t.Parallel()
	h, _, alice, w := hosted(t, func(cfg *config.Config) { cfg.Limits.Section = 500 * time.Millisecond })
	repo, main := h.Repo(alice, "demo"), w.Git("rev-parse", "main")
	flush, done := housetest.FlushPkt, housetest.Pkt("done\n")
	v2 := func(cmd string, args ...string) string {
		b := housetest.Pkt("command=", cmd) + "0001"
		for _, a := range args {
			b += housetest.Pkt(a)
		}
		return b + flush
	}
	for what, q := range map[string]struct{ version, body string }{
		"object-info":            {"2", v2("object-info", "size", "oid "+main)},
		"no command":             {"2", "0001" + flush},
		"two commands":           {"2", housetest.Pkt("command=fetch") + housetest.Pkt("command=ls-refs") + "0001" + flush},
		"two requests":           {"2", v2("ls-refs") + v2("ls-refs")},
		"want-ref":               {"2", v2("fetch", "want-ref refs/heads/main", "done")},
		"another object format":  {"2", housetest.Pkt("command=fetch") + housetest.Pkt("object-format=sha256") + "0001" + housetest.Pkt("want "+main) + flush},
		"an unknown capability":  {"2", housetest.Pkt("command=fetch") + housetest.Pkt("evil=1") + "0001" + housetest.Pkt("want "+main) + done + flush},
		"an unknown argument":    {"2", v2("fetch", "want "+main, "packfile-uris https", "done")},
		"a v0 request as v2":     {"2", housetest.Pkt("want ", main, " side-band-64k\n") + flush + done},
		"a v2 request as v0":     {"0", v2("fetch", "want "+main, "done")},
		"an option as id":        {"0", housetest.Pkt("want --upload-pack=x\n") + flush + done},
		"an id too long":         {"0", housetest.Pkt("want ", main, "00\n") + flush + done},
		"two depths":             {"0", housetest.Pkt("want ", main, "\n") + housetest.Pkt("deepen 1") + housetest.Pkt("deepen 2") + flush + done},
		"a negative depth":       {"0", housetest.Pkt("want ", main, "\n") + housetest.Pkt("deepen -1") + flush + done},
		"an endless depth":       {"0", housetest.Pkt("want ", main, "\n") + housetest.Pkt("deepen 99999999999") + flush + done},
		"a time that is none":    {"0", housetest.Pkt("want ", main, "\n") + housetest.Pkt("deepen-since yesterday") + flush + done},
		"deepen-not an option":   {"0", housetest.Pkt("want ", main, "\n") + housetest.Pkt("deepen-not --all") + flush + done},
		"garbage behind":         {"0", housetest.Pkt("want ", main, "\n") + flush + done + "xx"},
		"lengths":                {"0", "+032want " + main + "\n" + flush + done},
		"half a packet":          {"0", housetest.Pkt("want ", main, "\n")[:20]},
		"a stray delimiter":      {"0", housetest.Pkt("want ", main, "\n") + "0001" + done},
		"push lines":             {"0", command(zero, main, "refs/heads/x", stockCaps) + flush},
		"hidden refs by deepens": {"0", housetest.Pkt("want ", main, "\n") + housetest.Pkt("deepen-not refs/../../etc/passwd") + flush + done},
	} {
		t.Run(what, func(t *testing.T) {
			resp, got := h.UploadPack(repo, q.body, "Git-Protocol", "version="+q.version)
			if resp.StatusCode >= 500 || resp.StatusCode == 401 || resp.StatusCode/100 == 3 {
				t.Errorf("status %d: %.200q", resp.StatusCode, got)
			}
			if resp.StatusCode == 200 && !strings.HasPrefix(got[min(4, len(got)):], "ERR ") {
				t.Errorf("it is answered: %.200q", got)
			}
			if strings.Contains(got, "PACK") {
				t.Error("a pack was sent")
			}
			housetest.CORS(t, what, resp.Header)
		})
	}
	// A server option changes nothing.
	resp, got := h.UploadPack(repo, housetest.Pkt("command=ls-refs")+housetest.Pkt("server-option=x")+"0001"+flush, "Git-Protocol", "version=2")
	if resp.StatusCode != 200 || !strings.Contains(got, main+" refs/heads/main\n") {
		t.Errorf("with a server option: status %d %.200q", resp.StatusCode, got)
	}
	// Many wants.
	many := housetest.Pkt("want ", main, " side-band-64k\n") + strings.Repeat(housetest.Pkt("want ", main, "\n"), 50_000) + flush + done
	if resp, got := h.UploadPack(repo, many); resp.StatusCode != 200 || !strings.HasPrefix(got[4:], "ERR ") {
		t.Errorf("50,001 wants: status %d %.100q", resp.StatusCode, got)
	}
	huge := strings.Repeat(housetest.Pkt("have ", main, "\n"), 200_000)
	if resp, got := h.UploadPack(repo, housetest.Pkt("want ", main, "\n")+flush+huge+done); resp.StatusCode != 413 {
		t.Errorf("10 MB of haves: status %d, want 413: %.100q", resp.StatusCode, got)
	}
}

// Hardening §3: .git is removed once, whatever the identifier looks like: identifier and address
// are one-to-one.
func TestDoorOneToOne(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, alice := h.Dial(), housetest.NewKey(t)
	ids := []string{"x", "x.git", "x.git.git", ".git", "x.GIT", "X", "x%2e", "x.", "-x", "info", "x é", "x%", "--upload-pack=touch x", "$(id)", "é", "e\u0301"}
	oids := make([]string, len(ids))
	for i, id := range ids {
		w := h.Served(c, alice, id, longAgo())
		oids[i] = w.Git("rev-parse", "main")
	}
	for i, id := range ids {
		resp, body := h.Get(h.Repo(alice, id) + uploadRefs)
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%q: status %d", id, resp.StatusCode)
		}
		for j, oid := range oids {
			if has := strings.Contains(body, oid); has != (i == j) {
				t.Errorf("the address of %q shows the commit of %q: %v", id, ids[j], has)
			}
		}
	}
	// The same identifier under another key is another repository.
	bob := housetest.NewKey(t)
	answered(t, h, 404, "GET", h.Repo(bob, "x")+uploadRefs)
	c.Must(h.Announcement(bob, "x", longAgo()))
	if refs := housetest.Remote(t, h.Repo(bob, "x")); len(refs) != 0 {
		t.Errorf("bob's repository has alice's refs: %v", refs)
	}
}
