package gitdir_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/gitdir"
)

// README decision 3, hardening §3.
func TestPath(t *testing.T) {
	owner := alice.Npub()
	for _, c := range []struct{ id, want string }{
		{"demo", "demo.git"},
		{"demo.git", "demo.git.git"},
		{"a-b_c.d9", "a-b_c.d9.git"},
		{".hidden", "%2ehidden.git"},
		{"-rf", "%2drf.git"},
		{"Demo", "%44emo.git"},
		{"a b", "a%20b.git"},
		{"a%20b", "a%2520b.git"},
		{"ä", "%c3%a4.git"},
		{"x..", "x...git"},
		{strings.Repeat("a", 200), strings.Repeat("a", 200) + ".git"},
		{strings.Repeat("a", 201), "%hce59e0f6f2f51d9a8a7fb3d7a5fdbf8a06c24f5b5d4dcd7ae4b7a8cf2a5b5f21.git"},
	} {
		got, err := gitdir.Path("/data", grasp.Addr{Owner: alice, ID: c.id})
		if err != nil {
			t.Errorf("%q: %v", c.id, err)
			continue
		}
		if len(c.id) > 200 { // any hash will do
			if !regexp.MustCompile(`^%h[0-9a-f]{64}\.git$`).MatchString(filepath.Base(got)) {
				t.Errorf("%q: %s", c.id, got)
			}
			continue
		}
		if want := "/data/git/" + owner + "/" + c.want; got != want {
			t.Errorf("%q: %s, want %s", c.id, got, want)
		}
		box, err := gitdir.Path("/data", grasp.Addr{Owner: alice, ID: c.id, Box: true})
		if want := "/data/prs/" + owner + "/" + c.want; err != nil || box != want {
			t.Errorf("box %q: %s, %v, want %s", c.id, box, err, want)
		}
	}
	for _, a := range []grasp.Addr{
		{}, {Owner: alice}, {ID: "x"}, {Owner: alice, ID: ".."}, {Owner: alice, ID: "."}, {Owner: alice, ID: "a/b"},
		{Owner: alice, ID: "a\\b"}, {Owner: alice, ID: "a\x00"}, {Owner: alice, ID: "a\n"}, {Owner: alice, ID: "\xff"},
		{Owner: "../../etc", ID: "x"}, {Owner: alice[:63], ID: "x"}, {Owner: grasp.PubKey(strings.ToUpper(string(alice))), ID: "x"},
		{Owner: alice, ID: strings.Repeat("a", 252)},
	} {
		if got, err := gitdir.Path("/data", a); err == nil {
			t.Errorf("%+v has the path %s", a, got)
		}
	}
}

// Two identifiers never share a folder, not even where names ignore case.
func TestEscapeIsInjective(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	alphabet := []string{"a", "A", "%", "h", "-", ".", "_", "2", "e", "/", "\x00", "ä", "Ä", "é", "e\u0301", "K", "\u212a", "%2e", "%h", "\xff"}
	safe := regexp.MustCompile(`^(%[0-9a-f]{2}|[a-z0-9_])(%[0-9a-f]{2}|[a-z0-9._-])*$|^%h[0-9a-f]{64}$`)
	seen := map[string]string{}
	for range 200_000 {
		var b strings.Builder
		n := 1 + rnd.IntN(4)
		if rnd.IntN(50) == 0 {
			n = 60 + rnd.IntN(180)
		}
		for range n {
			b.WriteString(alphabet[rnd.IntN(len(alphabet))])
		}
		id := b.String()
		e := gitdir.Escape(id)
		if other, ok := seen[e]; ok && other != id {
			t.Fatalf("%q and %q are both %s", id, other, e)
		}
		seen[e] = id
		if !safe.MatchString(e) || len(e) > 200 {
			t.Fatalf("%q is %s", id, e)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("a", "A")
	f.Add("%2e", ".")
	f.Add("%h", "h")
	f.Fuzz(func(t *testing.T, a, b string) {
		if (gitdir.Escape(a) == gitdir.Escape(b)) != (a == b) {
			t.Errorf("%q and %q", a, b)
		}
	})
}

func TestVersions(t *testing.T) {
	for v, want := range map[string]bool{
		"2.39.5": true, "2.39.4": false, "2.39": false, "2.40.0": true, "2.50.1.windows.1": true, "3.0.0": true,
		"2.39.5 (Apple Git-154)": true, "1.99.99": false, "": false, "junk": false, "2.55-rc1": true,
	} {
		if got := gitdir.AtLeast(v, 2, 39, 5); got != want {
			t.Errorf("%q: %v", v, got)
		}
	}
}

func TestHead(t *testing.T) {
	for text, want := range map[string]grasp.RefName{
		"ref: refs/heads/main\n": "refs/heads/main", "ref: refs/heads/a/b": "refs/heads/a/b", "ref:refs/heads/x\r\n": "refs/heads/x",
		"": "", "ref: \n": "", "ref: refs/tags/v1\n": "", "ref: ../../x\n": "", strings.Repeat("1", 40) + "\n": "", "ref: refs/heads/a..b\n": "",
	} {
		got, ok := gitdir.ParseHead([]byte(text))
		if ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q, %v", text, got, ok)
		}
	}
}

func FuzzHead(f *testing.F) {
	f.Add([]byte("ref: refs/heads/main\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if head, ok := gitdir.ParseHead(b); ok && !head.IsHead() {
			t.Errorf("%q", head)
		}
	})
}

const packedSample = "# pack-refs with: peeled fully-peeled sorted \n" +
	"1111111111111111111111111111111111111111 refs/heads/main\n" +
	"2222222222222222222222222222222222222222 refs/tags/v1\n^3333333333333333333333333333333333333333\n"

func reprint(b []byte) (string, int, error) {
	var out strings.Builder
	n, err := gitdir.ReprintPackedRefs(b, out.Write)
	return out.String(), n, err
}

func TestPackedRefs(t *testing.T) {
	if got, n, err := reprint([]byte(packedSample)); got != packedSample || n != 2 || err != nil {
		t.Errorf("%q, %d, %v", got, n, err)
	}
	// What others wrote without sorting is sorted.
	if got, _, err := reprint([]byte("2222222222222222222222222222222222222222 refs/heads/z\n1111111111111111111111111111111111111111 refs/heads/a\n")); err != nil ||
		!strings.HasSuffix(got, "refs/heads/a\n2222222222222222222222222222222222222222 refs/heads/z\n") {
		t.Errorf("%q, %v", got, err)
	}
	// Many, and some whose line is longer than what is read at a time; then the same from behind, each tag with what it points to.
	var sorted, backwards strings.Builder
	sorted.WriteString("# pack-refs with: peeled fully-peeled sorted \n")
	var lines []string
	for i := range 3000 {
		line := fmt.Sprintf("%040x refs/tags/%05d", i+1, i)
		if i%700 == 1 {
			line += strings.Repeat("x", 30_000*(i%9))
		}
		if i%3 == 0 {
			line += fmt.Sprintf("\n^%040x", 2*i)
		}
		lines = append(lines, line+"\n")
		sorted.WriteString(line + "\n")
	}
	for _, line := range slices.Backward(lines) {
		backwards.WriteString(line)
	}
	for what, text := range map[string]string{"sorted": sorted.String(), "backwards": backwards.String()} {
		if got, n, err := reprint([]byte(text)); got != sorted.String() || n != len(lines) || err != nil {
			t.Errorf("%s: %d refs, %d bytes, %v", what, n, len(got), err)
		}
	}
	for _, bad := range []string{
		"1111111111111111111111111111111111111111 refs/heads/main",                                      // cut off
		packedSample + "1111111111111111111111111111111111111111 refs/z" + strings.Repeat("z", 100_000), // likewise
		packedSample + "1111111111111111111111111111111111111111 refs/heads/main\n",                     // twice, and not sorted
		"^3333333333333333333333333333333333333333\n",
		"1111111111111111111111111111111111111111\trefs/heads/main\n",
		"111111111111111111111111111111111111111 refs/heads/main\n",
		"0000000000000000000000000000000000000000 refs/heads/main\n",
		"1111111111111111111111111111111111111111 \n",
		"\n",
		"1111111111111111111111111111111111111111 refs/heads/a\n^333\n",
		"1111111111111111111111111111111111111111 refs/heads/a\n1111111111111111111111111111111111111111 refs/heads/a\n",
	} {
		if _, _, err := reprint([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func FuzzPackedRefs(f *testing.F) {
	f.Add([]byte(packedSample))
	f.Add([]byte("2222222222222222222222222222222222222222 b\n1111111111111111111111111111111111111111 a\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		once, n, err := reprint(b)
		if err != nil {
			return
		}
		twice, m, err := reprint([]byte(once))
		if err != nil || once != twice || n != m {
			t.Errorf("%q, then %q, %v", once, twice, err)
		}
	})
}

func FuzzIndex(f *testing.F) {
	w := newWork(f)
	w.commit("a", "1\n")
	w.git("repack", "-adq")
	paths, _ := filepath.Glob(filepath.Join(w.dir, ".git/objects/pack/*.idx"))
	f.Add([]byte(readFile(f, paths[0])), []byte(w.tip("HEAD"))[:20])
	f.Fuzz(func(t *testing.T, data, name []byte) {
		if len(name) < 20 {
			return
		}
		gitdir.FindInIndex(data, [20]byte(name)) // does not panic
	})
}

func FuzzPackBytes(f *testing.F) {
	f.Add([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := gitdir.PackHeader(b); err == nil && len(b) < 12 {
			t.Error("a short header was read")
		}
		if n, ok := gitdir.OfsDelta(b); ok && n < 0 {
			t.Errorf("offset %d", n)
		}
	})
}

// What git says about a pack may be shown to a person: one line, no control characters, no paths.
func FuzzReason(f *testing.F) {
	f.Add("error: object 12: missingEmail\nfatal: fsck error")
	f.Add("fatal: /data/incoming/push-1/pack: cannot open")
	f.Fuzz(func(t *testing.T, s string) {
		got := gitdir.Reason(s)
		if got == "" || len(got) > 200 || strings.Contains(got, "/incoming/") || strings.ContainsFunc(got, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
			t.Errorf("%q", got)
		}
	})
}
