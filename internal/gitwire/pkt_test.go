package gitwire_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitwire"
)

func reader(s string) *gitwire.Reader {
	return gitwire.NewReader(strings.NewReader(s), 8<<20)
}

// Only exact packets are packets: hardening §4.
func TestReaderIsStrict(t *testing.T) {
	for _, c := range []struct {
		in   string
		want string // what comes out: packets, then an error code or EOF
	}{
		{"", "EOF"},
		{"0000", "flush EOF"},
		{"0001", "delim EOF"},
		{"0002", "response-end EOF"},
		{"0003", "invalid"},
		{"0004", "invalid"},
		{"0005a", `data"a" EOF`},
		{"000aa bcde", `data"a bcde" EOF`},
		{"000Aa bcde", `data"a bcde" EOF`},
		{"0005", "invalid"},
		{"0006a", "invalid"},
		{"00", "invalid"},
		{"+005a", "invalid"},
		{" 005a", "invalid"},
		{"-001", "invalid"},
		{"0x05a", "invalid"},
		{"00_5a", "invalid"},
		{"fff1" + strings.Repeat("x", 65517), "invalid"},
		{"ffff" + strings.Repeat("x", 65531), "invalid"},
		{"0005a00000005b", `data"a" flush data"b" EOF`},
	} {
		t.Run(c.in[:min(len(c.in), 12)], func(t *testing.T) {
			for name, src := range map[string]io.Reader{
				"at once":      strings.NewReader(c.in),
				"byte by byte": iotest.OneByteReader(strings.NewReader(c.in)),
			} {
				var got []string
				r := gitwire.NewReader(src, 1<<20)
				for {
					kind, b, err := r.Next()
					if err == io.EOF {
						got = append(got, "EOF")
						break
					}
					if err != nil {
						got = append(got, fault.CodeOf(err).String())
						break
					}
					s := kind.String()
					if kind == gitwire.Data {
						s += `"` + string(b) + `"`
					}
					got = append(got, s)
				}
				if s := strings.Join(got, " "); s != c.want {
					t.Errorf("%s: got %s, want %s", name, s, c.want)
				}
			}
		})
	}
}

func TestReaderGreatestPacket(t *testing.T) {
	payload := strings.Repeat("x", gitwire.MaxPacket-4)
	b := gitwire.AppendPacket(nil, payload, "cut off")
	if string(b[:4]) != "fff0" || len(b) != gitwire.MaxPacket {
		t.Fatalf("%s, %d bytes", b[:4], len(b))
	}
	_, got, err := reader(string(b)).Next()
	if err != nil || string(got) != payload {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

func TestReaderLeavesTheRest(t *testing.T) {
	pack := "PACK\x00\x00\x00\x02" + strings.Repeat("0000", 40_000)
	for name, src := range map[string]io.Reader{
		"at once":      strings.NewReader("0005a0000" + pack),
		"byte by byte": iotest.OneByteReader(strings.NewReader("0005a0000" + pack)),
	} {
		r := gitwire.NewReader(src, 100)
		for range 2 {
			if _, _, err := r.Next(); err != nil {
				t.Fatal(name, err)
			}
		}
		got, err := io.ReadAll(r.Rest())
		if err != nil || string(got) != pack {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(pack), err)
		}
	}
}

func TestReaderLimit(t *testing.T) {
	r := gitwire.NewReader(strings.NewReader("0005a0005b00000005c"), 14)
	for range 3 {
		if _, _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := r.Next(); !fault.Is(err, fault.TooLarge) {
		t.Fatal(err)
	}
}

func TestReaderPassesErrorsOn(t *testing.T) {
	broken := errors.New("wire cut")
	r := gitwire.NewReader(io.MultiReader(strings.NewReader("0009ab"), iotest.ErrReader(broken)), 100)
	if _, _, err := r.Next(); !errors.Is(err, broken) {
		t.Fatal(err)
	}
}

// What is read can be written again, and nothing is read that would not be.
func FuzzReader(f *testing.F) {
	for _, s := range []string{"", "0000", "0001", "0005a", "0009done\n0000", "fff0", "0004", "zzzz"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := gitwire.NewReader(bytes.NewReader(in), int64(len(in))+gitwire.MaxPacket)
		var again []byte
		for {
			kind, b, err := r.Next()
			if err != nil {
				if fault.Is(err, fault.TooLarge) {
					t.Fatal("over a limit that was not reached")
				}
				break
			}
			switch kind {
			case gitwire.Data:
				if len(b) == 0 {
					t.Fatal("an empty packet")
				}
				again = gitwire.AppendPacket(again, string(b))
			case gitwire.Flush:
				again = gitwire.AppendFlush(again)
			case gitwire.Delim:
				again = gitwire.AppendDelim(again)
			case gitwire.ResponseEnd:
				again = append(again, "0002"...)
			}
		}
		if !strings.EqualFold(string(again), string(in[:len(again)])) {
			t.Fatalf("read %q, wrote %q", in, again)
		}
	})
}
