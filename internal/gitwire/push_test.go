package gitwire_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitwire"
	"github.com/gitroost/gitroost/internal/gitwire/wiretest"
)

var (
	zero = strings.Repeat("0", 40)
	one  = strings.Repeat("1", 40)
	two  = strings.Repeat("2", 40)
	hexA = strings.Repeat("a", 40)
)

// pkts writes each argument as a packet; "0000" and "0001" are what they say.
func pkts(parts ...string) string {
	var b []byte
	for _, p := range parts {
		if p == "0000" || p == "0001" || p == "0002" {
			b = append(b, p...)
		} else {
			b = gitwire.AppendPacket(b, p)
		}
	}
	return string(b)
}

// H-244, H-253, checks 62, 77, 78; hardening §4.
func TestReadPush(t *testing.T) {
	const caps = "\x00 report-status side-band-64k"
	update := func(old, now, ref string) string { return old + " " + now + " " + ref }
	for _, c := range []struct {
		name string
		in   string
		want string // refs, then what was decided
	}{
		{"stock git", pkts(update(zero, one, "refs/heads/x")+"\x00 report-status-v2 side-band-64k quiet object-format=sha1 agent=git/2.39.5", "0000") + "PACK",
			"refs/heads/x:000>111 ok"},
		{"libgit2, line feeds", pkts(update(zero, one, "refs/heads/x")+caps+"\n", update(one, two, "refs/heads/y")+"\n", "0000"),
			"refs/heads/x:000>111 refs/heads/y:111>222 ok"},
		{"no capabilities", pkts(update(zero, one, "refs/heads/x")+"\n", "0000"), "refs/heads/x:000>111 ok"},
		{"capabilities without space", pkts(update(zero, one, "refs/heads/x")+"\x00report-status", "0000"), "refs/heads/x:000>111 ok"},
		{"shallow first, check 60", pkts("shallow "+two+"\n", update(zero, one, "refs/heads/x")+caps, "0000"), "shallow222 refs/heads/x:000>111 ok"},
		{"upper-case ids", pkts(update(strings.ToUpper(hexA), one, "refs/heads/x")+caps, "0000"), "refs/heads/x:aaa>111 ok"},
		{"no lawful name, left to the rules", pkts(update(zero, one, "HEAD")+caps, update(zero, one, "refs/heads/a..b"), update(zero, one, "refs/nostr/123"), "0000"),
			"HEAD:000>111 refs/heads/a..b:000>111 refs/nostr/123:000>111 ok"},
		{"name with a space", pkts(update(zero, one, "refs/heads/a b")+caps, "0000"), "refs/heads/a b:000>111 ok"},
		{"twice", pkts(update(zero, one, "refs/heads/x")+caps, update(zero, two, "refs/heads/x"), update(zero, two, "refs/heads/y"), "0000"),
			"refs/heads/x:000>111 refs/heads/y:000>222 refused: refs/heads/x is named twice in one push"},
		{"sha256", pkts(strings.Repeat("0", 64)+" "+strings.Repeat("1", 64)+" refs/heads/x\x00 report-status object-format=sha256", "0000"),
			"refs/heads/x:000>000 refused: only object-format sha1 is served here"},
		{"malformed id", pkts(update(zero, "main", "refs/heads/x")+caps, "0000"), "refs/heads/x:000>000 refused: malformed object id"},
		{"two parts", pkts(zero+" "+one+caps, "0000"), "refused: malformed command"},
		{"tab", pkts(zero+"\t"+one+" refs/heads/x"+caps, "0000"), "refused: malformed command"},
		{"two spaces", pkts(zero+" "+one+"  refs/heads/x"+caps, "0000"), " refs/heads/x:000>111 refused: a ref name"},
		{"two line feeds", pkts(update(zero, one, "refs/heads/x")+"\n\n", "0000"), `refs/heads/x\n:000>111 refused: a ref name`},
		{"escape in name", pkts(update(zero, one, "refs/heads/\x1b[31m")+caps, "0000"), `refs/heads/\u001b[31m:000>111 refused: a ref name`},
		{"latin-1 name", pkts(update(zero, one, "refs/heads/\xe9")+caps, "0000"), `refs/heads/\xe9:000>111 refused: a ref name`},
		{"long name", pkts(update(zero, one, strings.Repeat("x", 2000))+caps, "0000"), strings.Repeat("x", 1021) + "…:000>111 refused: a ref name"},
		{"second list", pkts(update(zero, one, "refs/heads/x")+caps, update(zero, one, "refs/heads/y")+"\x00 report-status", "0000"),
			"refs/heads/x:000>111 refs/heads/y:000>111 refused: malformed command"},
		{"shallow after a command", pkts(update(zero, one, "refs/heads/x")+caps, "shallow "+two, "0000"), "refs/heads/x:000>111 refused: malformed command"},
		{"bad shallow", pkts("shallow x", update(zero, one, "refs/heads/x")+caps, "0000"), "refs/heads/x:000>111 refused: malformed shallow"},
		{"signed push", pkts("push-cert\x00report-status", "certificate version 0.1\n", "pusher x\n", "nonce 1\n", "\n",
			update(zero, one, "refs/heads/x")+"\n", "-----BEGIN PGP SIGNATURE-----\n", "push-cert-end\n", "0000"), "refs/heads/x:000>111 refused: signed pushes"},
		{"binary capabilities", pkts(update(zero, one, "refs/heads/x")+"\x00 report-status\x07", "0000"), "refs/heads/x:000>111 refused: capability list"},
		{"endless capabilities", pkts(update(zero, one, "refs/heads/x")+"\x00"+strings.Repeat(" a", 600), "0000"), "refs/heads/x:000>111 refused: capability list"},
		{"push options, check 61", pkts(update(zero, one, "refs/heads/x")+"\x00report-status push-options", "0000", "a=b", "c\n", "0000") + "PACK",
			"refs/heads/x:000>111 options[a=b c] ok"},
		{"options cut off", pkts(update(zero, one, "refs/heads/x")+"\x00report-status push-options", "0000", "a=b"), "refs/heads/x:000>111 options[a=b] invalid"},
		{"probe, H-242", "0000", "flush ok"},
		{"shallow and nothing", pkts("shallow "+two, "0000"), "shallow222 invalid"},
		{"nothing", "", "invalid"},
		{"no flush", pkts(update(zero, one, "refs/heads/x") + caps), "refs/heads/x:000>111 invalid"},
		{"delimiter for flush", pkts(update(zero, one, "refs/heads/x")+caps, "0001"), "refs/heads/x:000>111 invalid"},
		{"response-end for flush", pkts(update(zero, one, "refs/heads/x")+caps, "0002"), "refs/heads/x:000>111 invalid"},
		{"cut off", pkts(update(zero, one, "refs/heads/x")+caps, update(zero, one, "refs/heads/y"))[:180], "refs/heads/x:000>111 invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := gitwire.ReadPush(reader(c.in), gitwire.PushLimits{})
			if got := tell(req, err); got != c.want && !strings.HasPrefix(got, c.want) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// tell says a parsed push in a line.
func tell(req *gitwire.PushRequest, err error) string {
	var s []string
	for _, o := range req.Shallow {
		s = append(s, "shallow"+string(o[:3]))
	}
	for _, u := range req.Updates {
		s = append(s, fmt.Sprintf("%s:%s>%s", u.Ref, u.Old[:3], u.New[:3]))
	}
	if len(req.Options) > 0 {
		s = append(s, fmt.Sprintf("options%v", req.Options))
	}
	if req.Flush {
		s = append(s, "flush")
	}
	var no *grasp.Refusal
	switch {
	case err == nil:
		s = append(s, "ok")
	case errors.As(err, &no):
		s = append(s, "refused: "+no.Text)
	default:
		s = append(s, fault.CodeOf(err).String())
	}
	return strings.Join(s, " ")
}

func TestReadPushLeavesThePack(t *testing.T) {
	r := reader(pkts(zero+" "+one+" refs/heads/x\x00 push-options", "0000", "o", "0000") + "PACK0000")
	req, err := gitwire.ReadPush(r, gitwire.PushLimits{})
	if err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(r.Rest()); string(rest) != "PACK0000" {
		t.Errorf("left %q", rest)
	}
	if req.DeleteOnly() {
		t.Error("a creation is no deletion")
	}
}

// H-254: one more than allowed is refused, and every ref is still named.
func TestReadPushLimits(t *testing.T) {
	var b []byte
	for i := range 10_001 {
		b = gitwire.AppendPacket(b, fmt.Sprintf("%s %s refs/heads/%d", zero, one, i))
	}
	b = gitwire.AppendFlush(b)
	req, err := gitwire.ReadPush(gitwire.NewReader(bytes.NewReader(b), gitwire.MaxPushSection), gitwire.PushLimits{})
	var no *grasp.Refusal
	if !errors.As(err, &no) || no.Text != "limit: at most 10000 refs in one push" || len(req.Updates) != 10_001 {
		t.Fatal(err, len(req.Updates))
	}
	if _, err := gitwire.ReadPush(gitwire.NewReader(bytes.NewReader(b), 100_000), gitwire.PushLimits{}); !fault.Is(err, fault.TooLarge) {
		t.Fatal(err)
	}
}

// What parses and is written anew parses to the same; nothing that parses can break a report.
func FuzzReadPush(f *testing.F) {
	bodies, err := wiretest.Bodies("git-receive-pack")
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range bodies {
		f.Add(b)
	}
	f.Add([]byte(pkts("shallow "+two+"\n", zero+" "+one+" refs/heads/x\x00 report-status push-options\n", "0000", "o=1", "0000")))
	f.Add([]byte(pkts("push-cert\x00report-status", zero+" "+one+" refs/heads/x", "0000")))
	f.Add([]byte("0000"))
	f.Fuzz(func(t *testing.T, in []byte) {
		req, err := gitwire.ReadPush(gitwire.NewReader(bytes.NewReader(in), 1<<20), gitwire.PushLimits{})
		for _, u := range req.Updates {
			if !grasp.IsHex(string(u.Old), 40) || !grasp.IsHex(string(u.New), 40) {
				t.Fatalf("ids of %q", u)
			}
			if !utf8.ValidString(string(u.Ref)) || len(u.Ref) > 1024 || strings.ContainsAny(string(u.Ref), "\x00\n\r\x1b") {
				t.Fatalf("name %q", u.Ref)
			}
		}
		if err != nil {
			return
		}
		again, err := gitwire.ReadPush(gitwire.NewReader(bytes.NewReader(req.Append(nil)), 1<<20), gitwire.PushLimits{})
		if err != nil || !reflect.DeepEqual(req, again) {
			t.Fatalf("%v\n%+v\n%+v", err, req, again)
		}
	})
}
