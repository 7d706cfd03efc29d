package gitwire_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitwire"
	"github.com/gitroost/gitroost/internal/gitwire/wiretest"
)

// outcome says how parsing ended: "", the text of a refusal, or a fault's code.
func outcome(err error) string {
	var no *grasp.Refusal
	switch {
	case err == nil:
		return ""
	case errors.As(err, &no):
		return no.Text
	}
	return fault.CodeOf(err).String()
}

// H-221 to H-227: each request and what git is given for it.
func TestReadFetch(t *testing.T) {
	for _, c := range []struct {
		name, in string
		git      string // what is written anew
		err      string // or how it is refused
	}{
		{name: "flush, check 53", in: "0000", git: "0000"},
		{name: "nothing", in: "", git: "0000"},
		{name: "stock clone", in: pkts("want "+one+" multi_ack_detailed no-done side-band-64k thin-pack no-progress ofs-delta deepen-since deepen-not agent=git/2.39.5\n", "want "+two+"\n", "0000", "done\n"),
			git: pkts("want "+one+" multi_ack_detailed no-done side-band-64k thin-pack ofs-delta no-progress\n", "want "+two+"\n", "0000", "done\n")},
		{name: "browser, H-227, A6", in: pkts("want "+one+" multi_ack_detailed side-band-64k ofs-delta no-progress filter agent=x/1\n", "deepen 1\n", "filter blob:none\n", "0000", "done\n"),
			git: pkts("want "+one+" multi_ack_detailed side-band-64k ofs-delta no-progress filter\n", "deepen 1\n", "filter blob:none\n", "0000", "done\n")},
		{name: "trailing flush", in: pkts("want "+one+"\n", "0000", "done\n", "0000"), git: pkts("want "+one+"\n", "0000", "done\n")},
		{name: "no line feeds", in: pkts("want "+one, "0000", "have "+two, "done"), git: pkts("want "+one+"\n", "0000", "have "+two+"\n", "done\n")},
		{name: "a round", in: pkts("want "+one+" multi_ack_detailed\n", "0000", "have "+two+"\n", "0000"), git: pkts("want "+one+" multi_ack_detailed\n", "0000", "have "+two+"\n", "0000")},
		{name: "shallow list only", in: pkts("want "+one+" shallow\n", "shallow "+two+"\n", "deepen 2\n", "0000"), git: pkts("want "+one+"\n", "shallow "+two+"\n", "deepen 2\n", "0000")},
		{name: "since and not", in: pkts("want "+one+" deepen-relative\n", "deepen-since 1700000000\n", "deepen-not v1.0\n", "deepen-not refs/heads/x\n", "0000", "done\n"),
			git: pkts("want "+one+" deepen-relative\n", "deepen-since 1700000000\n", "deepen-not v1.0\n", "deepen-not refs/heads/x\n", "0000", "done\n")},
		{name: "upper case", in: pkts("want "+strings.ToUpper(hexA)+"\n", "0000", "done\n"), git: pkts("want "+hexA+"\n", "0000", "done\n")},
		{name: "limit filter", in: pkts("want "+one+" filter\n", "filter blob:limit=10K\n", "0000", "done\n"), git: pkts("want "+one+" filter\n", "filter blob:limit=10k\n", "0000", "done\n")},

		{name: "filter, check 48", in: pkts("want "+one+" filter\n", "filter nonsense:1\n", "0000", "done\n"), err: "upload-pack: filter 'nonsense:1' not supported"},
		{name: "two filters", in: pkts("want "+one+" filter\n", "filter tree:0\n", "filter tree:0\n", "0000"), err: "upload-pack: filter"},
		{name: "deep tree", in: pkts("want "+one+" filter\n", "filter tree:2\n", "0000"), err: "upload-pack: filter"},
		{name: "sparse", in: pkts("want "+one+" filter\n", "filter sparse:oid="+one+"\n", "0000"), err: "upload-pack: filter"},
		{name: "combine", in: pkts("want "+one+" filter\n", "filter combine:tree:0+blob:none\n", "0000"), err: "upload-pack: filter"},
		{name: "sha256", in: pkts("want "+one+" object-format=sha256\n", "0000"), err: "upload-pack: only object-format sha1"},
		{name: "bad id", in: pkts("want main\n", "0000"), err: "upload-pack: malformed object id"},
		{name: "capabilities later", in: pkts("want "+one+"\n", "want "+two+" thin-pack\n", "0000"), err: "upload-pack: malformed object id"},
		{name: "depth 0", in: pkts("want "+one+"\n", "deepen 0\n", "0000"), err: "upload-pack: unexpected line"},
		{name: "depth -1", in: pkts("want "+one+"\n", "deepen -1\n", "0000"), err: "upload-pack: unexpected line"},
		{name: "depth too great", in: pkts("want "+one+"\n", "deepen 99999999999\n", "0000"), err: "upload-pack: unexpected line"},
		{name: "depth twice", in: pkts("want "+one+"\n", "deepen 1\n", "deepen 1\n", "0000"), err: "upload-pack: unexpected line"},
		{name: "depth and since", in: pkts("want "+one+"\n", "deepen-since 5\n", "deepen 1\n", "0000"), err: "upload-pack: deepen and deepen-since"},
		{name: "not an option", in: pkts("want "+one+"\n", "deepen-not --all\n", "0000"), err: "upload-pack: unexpected line"},
		{name: "not a revision", in: pkts("want "+one+"\n", "deepen-not main~3\n", "0000"), err: "upload-pack: unexpected line"},
		{name: "no wants", in: pkts("shallow "+one+"\n", "0000"), err: "upload-pack: nothing is wanted"},
		{name: "haves first", in: pkts("have "+one+"\n", "0000"), err: "upload-pack: unexpected line"},
		{name: "wants later", in: pkts("want "+one+"\n", "0000", "want "+two+"\n", "0000"), err: "upload-pack: unexpected line"},
		{name: "v2 in v0", in: pkts("command=fetch", "0001", "want "+one, "0000"), err: "upload-pack: unexpected line 'command=fetch'"},
		{name: "delim", in: pkts("want "+one+"\n", "0001"), err: "invalid"},
		{name: "no flush", in: pkts("want " + one + "\n"), err: "invalid"},
		{name: "rest after done", in: pkts("want "+one+"\n", "0000", "done\n", "have "+one), err: "invalid"},
		{name: "rest after flush", in: pkts("want "+one+"\n", "0000", "have "+two, "0000", "done\n"), err: "invalid"},
		{name: "rest after nothing", in: "0000x", err: "invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := gitwire.ReadFetch(reader(c.in))
			if got := outcome(err); !strings.HasPrefix(got, c.err) || (c.err == "") != (got == "") {
				t.Fatalf("ended with %q, want %q", got, c.err)
			}
			if err == nil && string(f.Append(nil)) != c.git {
				t.Errorf("git is given %q\nwant %q", f.Append(nil), c.git)
			}
		})
	}
}

// H-206, hardening §4: one command, known lines.
func TestReadV2(t *testing.T) {
	for _, c := range []struct {
		name, in string
		again    string
		err      string
	}{
		{name: "flush", in: "0000"},
		{name: "nothing", in: ""},
		{name: "stock ls-refs", in: pkts("command=ls-refs\n", "agent=git/2.39.5", "object-format=sha1", "0001", "peel\n", "symrefs\n", "unborn\n", "ref-prefix refs/heads/\n", "0000"),
			again: pkts("command=ls-refs\n", "0001", "peel\n", "symrefs\n", "unborn\n", "ref-prefix refs/heads/\n", "0000")},
		{name: "without arguments", in: pkts("command=ls-refs", "0000"), again: pkts("command=ls-refs\n", "0001", "0000")},
		{name: "server option", in: pkts("command=ls-refs", "server-option=x", "0000"), again: pkts("command=ls-refs\n", "0001", "0000")},
		{name: "stock fetch", in: pkts("command=fetch", "agent=git/2.39.5", "object-format=sha1", "0001", "thin-pack", "no-progress", "include-tag", "ofs-delta", "deepen 1\n", "filter blob:none", "want "+one+"\n", "have "+two+"\n", "done\n", "0000"),
			again: pkts("command=fetch\n", "0001", "thin-pack\n", "ofs-delta\n", "no-progress\n", "include-tag\n", "deepen 1\n", "filter blob:none\n", "want "+one+"\n", "have "+two+"\n", "done\n", "0000")},
		{name: "wait", in: pkts("command=fetch", "0001", "wait-for-done", "deepen-relative", "want "+one, "0000"),
			again: pkts("command=fetch\n", "0001", "wait-for-done\n", "deepen-relative\n", "want "+one+"\n", "0000")},

		{name: "two commands", in: pkts("command=ls-refs", "command=fetch", "0000"), err: "more than one command"},
		{name: "no command", in: pkts("agent=x", "0000"), err: "no command requested"},
		{name: "other command", in: pkts("command=object-info", "0001", "size", "0000"), err: "invalid command 'object-info'"},
		{name: "other capability", in: pkts("command=fetch", "packfile-uris=1", "0000"), err: "unknown capability"},
		{name: "sha256", in: pkts("command=fetch", "object-format=sha256", "0000"), err: "only object-format sha1"},
		{name: "want-ref", in: pkts("command=fetch", "0001", "want-ref refs/heads/x", "0000"), err: "upload-pack: unexpected line 'want-ref"},
		{name: "sideband-all", in: pkts("command=fetch", "0001", "sideband-all", "0000"), err: "upload-pack: unexpected line"},
		{name: "v0 capability", in: pkts("command=fetch", "0001", "multi_ack", "0000"), err: "upload-pack: unexpected line"},
		{name: "ls-refs argument", in: pkts("command=ls-refs", "0001", "want "+one, "0000"), err: "ls-refs: unexpected line"},
		{name: "filter", in: pkts("command=fetch", "0001", "filter tree:9", "0000"), err: "upload-pack: filter 'tree:9' not supported"},
		{name: "v0 in v2", in: pkts("want "+one+"\n", "0000", "done\n"), err: "unknown capability 'want "},
		{name: "two requests", in: pkts("command=ls-refs", "0001", "0000", "command=fetch", "0000"), err: "invalid"},
		{name: "response-end", in: pkts("command=ls-refs", "0002"), err: "invalid"},
		{name: "second delim", in: pkts("command=ls-refs", "0001", "peel", "0001", "0000"), err: "invalid"},
		{name: "cut off", in: pkts("command=ls-refs", "0001", "peel"), err: "invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := gitwire.ReadV2(reader(c.in))
			if got := outcome(err); !strings.HasPrefix(got, c.err) || (c.err == "") != (got == "") {
				t.Fatalf("ended with %q, want %q", got, c.err)
			}
			if err == nil && string(writeV2(v)) != c.again {
				t.Errorf("written anew: %q\nwant %q", writeV2(v), c.again)
			}
		})
	}
}

func writeV2(v *gitwire.V2Request) []byte {
	switch {
	case v.LsRefs != nil:
		return v.LsRefs.Append(nil)
	case v.Fetch != nil:
		return v.Fetch.Append(nil)
	}
	return nil
}

// Decision 8.
func TestParseFilter(t *testing.T) {
	for in, want := range map[string]string{
		"blob:none": "blob:none", "tree:0": "tree:0", "tree:1": "tree:1",
		"blob:limit=0": "blob:limit=0", "blob:limit=0k": "blob:limit=0k", "blob:limit=1024": "blob:limit=1024",
		"blob:limit=1M": "blob:limit=1m", "blob:limit=2g": "blob:limit=2g", "blob:limit=9999999999": "blob:limit=9999999999",
		"object:type=tag": "object:type=tag", "object:type=commit": "object:type=commit",
		"": "", "blob": "", "blob:limit=": "", "blob:limit=k": "", "blob:limit=-1": "", "blob:limit=01": "", "blob:limit=1t": "",
		"blob:limit=1kk": "", "blob:limit= 1": "", "blob:limit=99999999999g": "", "blob:limit=99999999999999999999": "",
		"tree:2": "", "tree:00": "", "tree:": "", "object:type=x": "", "sparse:path=x": "", "Blob:none": "", "blob:none ": "",
	} {
		if got, ok := gitwire.ParseFilter(in); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", in, got, ok)
		}
	}
}

func TestFetchLimits(t *testing.T) {
	var b []byte
	for range 50_001 {
		b = gitwire.AppendPacket(b, "want ", one, "\n")
	}
	if _, err := gitwire.ReadFetch(gitwire.NewReader(bytes.NewReader(b), gitwire.MaxFetch)); !strings.Contains(outcome(err), "limit: at most 50000 wants") {
		t.Error(err)
	}
	b = gitwire.AppendFlush(gitwire.AppendPacket(nil, "want ", one, "\n"))
	for len(b) < gitwire.MaxFetch {
		b = gitwire.AppendPacket(b, "have ", one, "\n")
	}
	if _, err := gitwire.ReadFetch(gitwire.NewReader(bytes.NewReader(b), gitwire.MaxFetch)); !fault.Is(err, fault.TooLarge) {
		t.Error(err)
	}
}

// H-206, checks 31 to 33.
func TestProtocolVersion(t *testing.T) {
	for in, want := range map[string]int{
		"": 0, "version=0": 0, "version=1": 1, "version=2": 2, "version=3": 0, "version=2:evil;$(id)": 2,
		"version=1:version=2": 2, "version=2:version=1": 2, "x=y:version=1": 1, "version=2 ": 0, "VERSION=2": 0,
		"version=" + strings.Repeat("2", 5000): 0,
	} {
		if got := gitwire.ProtocolVersion([]string{in}); got != want {
			t.Errorf("%q: %d, want %d", in, got, want)
		}
	}
	if got := gitwire.ProtocolVersion([]string{"version=1", "version=2"}); got != 2 {
		t.Errorf("two headers: %d", got)
	}
}

func seed(f *testing.F, more ...string) {
	bodies, err := wiretest.Bodies("git-upload-pack")
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range bodies {
		f.Add(b)
	}
	for _, s := range more {
		f.Add([]byte(s))
	}
}

// What parses and is written anew parses to the same.
func FuzzReadFetch(f *testing.F) {
	seed(f, "0000", pkts("want "+one+" thin-pack filter\n", "shallow "+two, "deepen-since 5\n", "deepen-not x", "filter blob:limit=1K\n", "0000", "have "+two, "done"),
		pkts("want "+one+" deepen-relative\n", "deepen 3", "0000", "have "+two, "0000"))
	f.Fuzz(func(t *testing.T, in []byte) {
		req, err := gitwire.ReadFetch(gitwire.NewReader(bytes.NewReader(in), 1<<20))
		if err != nil {
			return
		}
		again, err := gitwire.ReadFetch(gitwire.NewReader(bytes.NewReader(req.Append(nil)), 1<<20))
		if err != nil || !reflect.DeepEqual(req, again) {
			t.Fatalf("%v\n%+v\n%+v", err, req, again)
		}
	})
}

func FuzzReadV2(f *testing.F) {
	seed(f, pkts("command=fetch", "0001", "wait-for-done", "deepen 1", "filter tree:0", "want "+one, "done", "0000"),
		pkts("command=ls-refs", "0001", "peel", "ref-prefix HEAD", "ref-prefix ", "0000"))
	f.Fuzz(func(t *testing.T, in []byte) {
		req, err := gitwire.ReadV2(gitwire.NewReader(bytes.NewReader(in), 1<<20))
		if err != nil || req.LsRefs == nil && req.Fetch == nil {
			return
		}
		again, err := gitwire.ReadV2(gitwire.NewReader(bytes.NewReader(writeV2(req)), 1<<20))
		if err != nil || !reflect.DeepEqual(req, again) {
			t.Fatalf("%v\n%+v\n%+v", err, req, again)
		}
	})
}

// The answer to ls-refs is what a walk over every ref and every prefix would find.
func FuzzLsRefs(f *testing.F) {
	f.Add("refs/heads/ HEAD", true, true)
	f.Add("refs/tags/v refs/tags/ refs", false, true)
	f.Add("", true, false)
	f.Fuzz(func(t *testing.T, prefixes string, peel, unborn bool) {
		q := &gitwire.LsRefs{Peel: peel, Unborn: unborn, Symrefs: true, Prefixes: strings.Fields(prefixes)}
		got := map[string]bool{}
		r := gitwire.NewReader(bytes.NewReader(q.Answer(sample).Append(nil)), 1<<20)
		for {
			kind, b, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if kind == gitwire.Flush {
				break
			}
			got[strings.Fields(string(b))[1]] = true
		}
		want := func(name string) bool {
			if len(q.Prefixes) == 0 {
				return true
			}
			for _, p := range q.Prefixes {
				if strings.HasPrefix(name, p) {
					return true
				}
			}
			return false
		}
		for n := range sample.Refs.Map() {
			if got[string(n)] != (n.Visible() && want(string(n))) {
				t.Fatalf("%s with %q", n, q.Prefixes)
			}
		}
		if got["HEAD"] != want("HEAD") {
			t.Fatalf("HEAD with %q", q.Prefixes)
		}
	})
}
