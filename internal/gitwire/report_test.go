package gitwire_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/gitroost/gitroost/internal/gitwire"
)

// H-246 to H-248, A3, A4, checks 64 to 69.
func TestAppendReport(t *testing.T) {
	both := gitwire.PushCaps{ReportStatus: true, SideBand64k: true}
	bare := gitwire.PushCaps{ReportStatus: true}
	const why = "unauthorised: refs/heads/main must be 1111111, push has 2222222"
	no := gitwire.Report{Unpack: "refused by policy", Say: []string{"push refused: no state event authorises it"},
		Refs: []gitwire.RefReport{{Ref: "refs/heads/main", Reason: why}}}
	ok := gitwire.Report{Refs: []gitwire.RefReport{{Ref: "refs/heads/main"}}}
	three := gitwire.Report{Refs: []gitwire.RefReport{{Ref: "refs/heads/a"}, {Ref: "refs/heads/b"}, {Ref: "refs/tags/c"}}, Say: []string{"push 7f3a"}}
	for _, c := range []struct {
		name string
		caps gitwire.PushCaps
		rep  gitwire.Report
		want string
	}{
		{"A3", both, ok, "002e\x01000eunpack ok\n0017ok refs/heads/main\n00000000"},
		{"A4", both, no, "0030\x02push refused: no state event authorises it\n" +
			pkts("\x01"+"001dunpack refused by policy\n0057ng refs/heads/main "+why+"\n0000", "0000")},
		{"v2 status", gitwire.PushCaps{ReportStatusV2: true, SideBand64k: true}, ok, "002e\x01000eunpack ok\n0017ok refs/heads/main\n00000000"},
		{"bare, check 67", bare, no, "001dunpack refused by policy\n0057ng refs/heads/main " + why + "\n0000"},
		{"bare ok", bare, three, "000eunpack ok\n0014ok refs/heads/a\n0014ok refs/heads/b\n0013ok refs/tags/c\n0000"},
		{"three, check 69", both, three, "000f\x02push 7f3a\n" + pkts("\x01000eunpack ok\n0014ok refs/heads/a\n0014ok refs/heads/b\n0013ok refs/tags/c\n0000", "0000")},
		{"band only, H-247", gitwire.PushCaps{SideBand64k: true}, no, pkts("\x03"+why+"\n", "0000")},
		{"band only, ok", gitwire.PushCaps{SideBand64k: true}, three, "000f\x02push 7f3a\n0000"},
		{"nothing, H-247, check 68", gitwire.PushCaps{}, no, pkts("ERR " + why)},
		{"nothing, ok", gitwire.PushCaps{}, ok, ""},
	} {
		if got := gitwire.AppendReport(nil, c.caps, c.rep); string(got) != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

// A report may be longer than a packet, and side-band packets are short.
func TestLongReport(t *testing.T) {
	var rep gitwire.Report
	for i := range 5000 {
		rep.Refs = append(rep.Refs, gitwire.RefReport{Ref: fmt.Sprintf("refs/heads/%d", i)})
	}
	bare := gitwire.AppendReport(nil, gitwire.PushCaps{ReportStatus: true}, rep)
	for limit, caps := range map[int]gitwire.PushCaps{
		1000:              {ReportStatus: true, SideBand: true},
		gitwire.MaxPacket: {ReportStatus: true, SideBand64k: true},
	} {
		var joined []byte
		r := gitwire.NewReader(bytes.NewReader(gitwire.AppendReport(nil, caps, rep)), 1<<20)
		for {
			kind, b, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if kind == gitwire.Flush {
				break
			}
			if len(b)+4 > limit || b[0] != 1 {
				t.Fatalf("packet of %d bytes in band %d", len(b)+4, b[0])
			}
			joined = append(joined, b[1:]...)
		}
		if !bytes.Equal(joined, bare) {
			t.Errorf("limit %d: the report was changed", limit)
		}
	}
}

// H-246: one line, short, valid, and without the words that scripts classify on.
func TestReason(t *testing.T) {
	for in, want := range map[string]string{
		"unauthorised: x":           "unauthorised: x",
		"a\nb\tc\r":                 `a\nb c\u000d`,
		"\x1b[31mred":               `\u001b[31mred`,
		"evil\u202etxt":             `evil\u202etxt`,
		"zero\u200bwidth":           `zero\u200bwidth`,
		"\xff":                      `\xff`,
		"héllo 🚀":                   "héllo 🚀",
		"object Not Found here":     "object missing here",
		"state 40404a4":             "state 4·04·04a4",
		"":                          "refused: no reason given",
		strings.Repeat("é", 200):    strings.Repeat("é", 98) + "…",
		strings.Repeat("x", 200):    strings.Repeat("x", 200),
		strings.Repeat("\x01", 200): strings.Repeat(`\u0001`, 32) + "…",
	} {
		if got := gitwire.Reason(in); got != want {
			t.Errorf("%q:\n got %q\nwant %q", in, got, want)
		}
	}
}

func FuzzReason(f *testing.F) {
	f.Add("not found 404")
	f.Add("nnot foundot found 4404004")
	f.Fuzz(func(t *testing.T, in string) {
		got := gitwire.Reason(in)
		if len(got) == 0 || len(got) > gitwire.MaxReason || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\x00\x1b\u202e") ||
			strings.Contains(got, "404") || strings.Contains(strings.ToLower(got), "not found") {
			t.Fatalf("%q becomes %q", in, got)
		}
	})
}

func TestBands(t *testing.T) {
	var out bytes.Buffer
	b := gitwire.NewBands(&out, gitwire.PushCaps{SideBand64k: true})
	b.Say("checking\nobjects")
	b.KeepAlive()
	b.Close()
	b.Say("too late")
	if want := pkts("\x02checking\\nobjects\n") + "0005\x01"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	out.Reset()
	gitwire.NewBands(&out, gitwire.PushCaps{ReportStatus: true}).KeepAlive()
	if out.Len() != 0 {
		t.Errorf("a pusher without side-band got %q", out.String())
	}
}

func TestBandsTogether(t *testing.T) {
	var out bytes.Buffer
	b := gitwire.NewBands(&out, gitwire.PushCaps{SideBand64k: true})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				b.Say("line")
				b.KeepAlive()
			}
		})
	}
	wg.Wait()
	r := gitwire.NewReader(&out, 1<<20)
	for n := range 1600 {
		if _, _, err := r.Next(); err != nil {
			t.Fatalf("packet %d: %v", n, err)
		}
	}
}
