// Package wiretest reads and writes transcripts of git's HTTP protocol for tests: what stock git
// sent, byte for byte, and what was answered, in a form that a person can compare.
//
// A transcript is a text file of exchanges:
//
//	> POST git-upload-pack
//	> Content-Type: application/x-git-upload-pack-request
//	>
//	> "command=ls-refs\n"
//	> 0001
//	> 0000
//	> raw UEFDSw==
//	< 200 application/x-git-upload-pack-result
//	< "…"
//
// Every packet is a line. What follows the packets of a request is in base64. Packs in answers are
// told by their number of objects, and progress is left out: neither is the same on every machine.
package wiretest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gitroost/gitroost/internal/gitwire"
)

// An Exchange is one request and the answer to it.
type Exchange struct {
	Method string
	Path   string // below the repository, with the query: "info/refs?service=git-upload-pack"
	Header http.Header
	Body   []byte // of the request, without its content coding
	Answer string // as Describe and Answer tell it, one line each
}

// Dir returns the folder of the transcripts, seen from a package two or three levels below the
// root of the module.
func Dir() string {
	for _, d := range []string{"../../testdata/wire", "../../../testdata/wire"} {
		if st, err := os.Stat(d); err == nil && st.IsDir() {
			return d
		}
	}
	return "testdata/wire"
}

// Load reads every transcript of the folder, by its name without the extension.
func Load() (map[string][]Exchange, error) {
	files, err := filepath.Glob(filepath.Join(Dir(), "*.txt"))
	if err != nil {
		return nil, err
	}
	all := make(map[string][]Exchange)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		t, err := Parse(string(b))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".txt")] = t
	}
	return all, nil
}

// Bodies returns the bodies of all recorded requests to path, as seeds for fuzzing.
func Bodies(path string) ([][]byte, error) {
	all, err := Load()
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, t := range all {
		for _, x := range t {
			if x.Path == path {
				out = append(out, x.Body)
			}
		}
	}
	return out, nil
}

// Format writes a transcript.
func Format(t []Exchange) string {
	var b strings.Builder
	for i, x := range t {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "> %s %s\n", x.Method, x.Path)
		keys := make([]string, 0, len(x.Header))
		for k := range x.Header {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			fmt.Fprintf(&b, "> %s: %s\n", k, x.Header.Get(k))
		}
		if len(x.Body) > 0 {
			b.WriteString(">\n")
		}
		packets, rest := split(x.Body)
		for _, p := range packets {
			fmt.Fprintf(&b, "> %s\n", p)
		}
		if len(rest) > 0 {
			fmt.Fprintf(&b, "> raw %s\n", base64.StdEncoding.EncodeToString(rest))
		}
		for line := range strings.Lines(x.Answer) {
			fmt.Fprintf(&b, "< %s\n", strings.TrimSuffix(line, "\n"))
		}
	}
	return b.String()
}

// split tells b packet by packet, until something comes that is none or a pack begins.
func split(b []byte) (packets []string, rest []byte) {
	for len(b) >= 4 && !bytes.HasPrefix(b, []byte("PACK")) {
		r := gitwire.NewReader(bytes.NewReader(b), 1<<30)
		kind, data, err := r.Next()
		if err != nil {
			break
		}
		switch kind {
		case gitwire.Data:
			packets = append(packets, strconv.QuoteToASCII(string(data)))
			b = b[4+len(data):]
		default:
			packets = append(packets, fmt.Sprintf("%04d", kind-1))
			b = b[4:]
		}
	}
	return packets, b
}

// Parse reads what Format wrote.
func Parse(s string) ([]Exchange, error) {
	var out []Exchange
	var x *Exchange
	body := false
	for n, line := range strings.Split(s, "\n") {
		mark, text, _ := strings.Cut(line, " ")
		var err error
		switch {
		case line == "":
			x, body = nil, false
		case mark == ">" && x == nil:
			out = append(out, Exchange{Header: http.Header{}})
			x = &out[len(out)-1]
			x.Method, x.Path, _ = strings.Cut(text, " ")
		case x == nil:
			err = fmt.Errorf("no request")
		case mark == "<":
			x.Answer += text + "\n"
		case text == "":
			body = true
		case !body:
			k, v, _ := strings.Cut(text, ": ")
			x.Header.Set(k, v)
		default:
			x.Body, err = appendLine(x.Body, text)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
	}
	return out, nil
}

func appendLine(body []byte, text string) ([]byte, error) {
	switch {
	case text == "0000", text == "0001", text == "0002":
		return append(body, text...), nil
	case strings.HasPrefix(text, "raw "):
		b, err := base64.StdEncoding.DecodeString(text[4:])
		return append(body, b...), err
	}
	p, err := strconv.Unquote(text)
	return gitwire.AppendPacket(body, p), err
}

// Answer tells an answer line by line: its status and type, then its packets. Side-bands are
// joined; a pack is its number of objects.
func Answer(status int, contentType string, body []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s\n", status, contentType)
	if strings.HasPrefix(contentType, "text/plain") {
		b.Write(body)
		return b.String()
	}
	var pack []byte
	packets, rest := split(body)
	for _, p := range packets {
		s, err := strconv.Unquote(p)
		switch {
		case err == nil && strings.HasPrefix(s, "\x01") && (pack != nil || strings.HasPrefix(s, "\x01PACK")):
			pack = append(pack, s[1:]...)
			continue
		case err == nil && strings.HasPrefix(s, "\x02") && !strings.Contains(contentType, "receive"):
			continue
		case pack != nil:
			b.WriteString(describe(pack))
			pack = nil
		}
		b.WriteString(p + "\n")
	}
	if len(rest) > 0 {
		b.WriteString(describe(rest))
	}
	return b.String()
}

func describe(pack []byte) string {
	if len(pack) < 12 || string(pack[:4]) != "PACK" {
		return fmt.Sprintf("%d bytes that are no pack\n", len(pack))
	}
	return fmt.Sprintf("pack of %d objects\n", binary.BigEndian.Uint32(pack[8:]))
}
