package acceptance_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// boxed starts a house whose contributors' boxes are open, and where owner serves "tool". p is somebody
// with a clone of it that has the branches p1 and p2.
func boxed(t *testing.T, change ...func(*config.Config)) (h *housetest.House, c *housetest.Conn, owner, p *housetest.Key, w *housetest.Copy, tips []string) {
	t.Helper()
	h, c, owner, _, _ = settled(t, append(change, housetest.WithBoxes)...)
	w, tips = contributor(t, h.Repo(owner, "tool"), "p1", "p2")
	return h, c, owner, housetest.NewKey(t), w, tips
}

// plain fails the test if a script could take what git said for a server without contributors' boxes:
// neither may come up by chance in what the server says. Addresses and names of refs, which git prints
// of its own, are the test's.
func plain(t *testing.T, said string, names ...string) {
	t.Helper()
	suspicious := func(s string) bool { return strings.Contains(s, "404") || strings.Contains(s, "not found") }
	for line := range strings.Lines(said) {
		words, server := strings.CutPrefix(line, "remote: ")
		if _, reason, ng := strings.Cut(line, " ("); ng {
			words, server = reason, true
		}
		if server && suspicious(words) {
			t.Errorf("the server says %q", words)
		}
	}
	for _, n := range names {
		said = strings.ReplaceAll(said, n, "…")
	}
	if suspicious(hexName.ReplaceAllString(address.ReplaceAllString(said, "…"), "…")) {
		t.Errorf("git said:\n%s", said)
	}
}

var (
	hexName = regexp.MustCompile(`\b[0-9a-f]{7,64}\b`)
	address = regexp.MustCompile(`http://\S+`)
)

func supported(t *testing.T, h *housetest.House) []string {
	t.Helper()
	_, body := h.Get("/", "Accept", "application/nostr+json")
	var doc struct {
		Grasps []string `json:"supported_grasps"`
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Grasps
}

// checks 224, 112, 81, 84, G06-01: closed, there is nothing below /prs/, and nobody says otherwise.
func TestBoxesClosed(t *testing.T) {
	t.Parallel()
	h, c, owner, w, _ := settled(t)
	p := housetest.NewKey(t)
	box := h.Box(p, "tool")
	for _, path := range []string{
		box, box + "/", box + "/info/refs?service=git-upload-pack", box + "/info/refs?service=git-receive-pack", box + "/git-upload-pack",
		box + "/git-receive-pack", box + "/HEAD", h.URL + "/prs/x", h.URL + "/prs/", h.URL + "/prs",
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete} {
			resp, _ := h.Do(method, path, strings.NewReader("0000"), "Content-Type", "application/x-git-receive-pack-request")
			if resp.StatusCode != http.StatusNotFound {
				t.Errorf("%s %s: %d, want 404", method, path, resp.StatusCode)
			}
			housetest.CORS(t, method+" "+path, resp.Header)
		}
		if resp, _ := h.Do(http.MethodOptions, path, nil); resp.StatusCode != http.StatusNoContent {
			t.Errorf("OPTIONS %s: %d, want 204", path, resp.StatusCode)
		}
	}
	w.Fails("pull requests at /prs/", "push", box, "main:"+housetest.PullRef(unusedID(t)))
	if got := supported(t, h); !slices.Equal(got, []string{"GRASP-01"}) {
		t.Errorf("supported_grasps: %v", got)
	}
	tip := w.Git("rev-parse", "main")
	c.Refused(p.Proposal("elsewhere", tip, h.Box(p, "elsewhere"), housetest.NewKey(t)), "blocked: ")
	c.Accepted(p.Proposal("tool", tip, box, owner))
	if got := h.BoxesOnDisk(); len(got) > 0 {
		t.Errorf("on disk: %v", got)
	}
}

// checks 225, 112, 81, 7, 8, G06-02: one spelling of a key, an identifier, .git.
func TestBoxAddresses(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, housetest.WithBoxes)
	p := housetest.NewKey(t)
	if got := supported(t, h); !slices.Equal(got, []string{"GRASP-01", "GRASP-06"}) {
		t.Errorf("supported_grasps: %v", got)
	}
	for path, status := range map[string]int{
		"/prs/" + p.Npub + "/tool.git":                             200,
		"//prs//" + p.Npub + "//tool.git":                          200,
		"/prs/" + p.Npub + "/my%20%F0%9F%9A%80%20repo.git":         200,
		"/prs/" + p.Npub + "/tool.git.git":                         200,
		"/prs/" + p.Pub + "/tool.git":                              404,
		"/prs/" + p.Npub + "/tool":                                 404,
		"/prs/" + p.Npub[:62] + "b/tool.git":                       404,
		"/prs/npub1/tool.git":                                      404,
		"/prs/" + strings.ToUpper(p.Npub) + "/tool.git":            404,
		"/prs/" + p.Npub + "/.git":                                 404,
		"/prs/" + p.Npub + "/%2e%2e.git":                           404,
		"/prs/" + p.Npub + "/a%2Fb.git":                            404,
		"/prs/" + p.Npub + "/a%ff.git":                             404,
		"/prs/" + p.Npub + "/" + strings.Repeat("a", 252) + ".git": 404,
		"/prs/prs/" + p.Npub + "/tool.git":                         404,
		"/" + p.Npub + "/tool.git":                                 404,
	} {
		for _, sub := range []string{"", "/info/refs?service=git-upload-pack", "/info/refs?service=git-receive-pack"} {
			resp, body := h.Get(path + sub)
			if resp.StatusCode != status {
				t.Errorf("%s: %d, want %d: %.200s", path+sub, resp.StatusCode, status, body)
			}
			housetest.CORS(t, path+sub, resp.Header)
		}
		for _, service := range []string{"git-upload-pack", "git-receive-pack"} { // check 58: the probe, too
			resp, body := h.Do(http.MethodPost, path+"/"+service, strings.NewReader("0000"), "Content-Type", "application/x-"+service+"-request")
			if resp.StatusCode != status || status == 200 && body != "" {
				t.Errorf("POST %s to %s: %d %q, want %d", path, service, resp.StatusCode, body, status)
			}
			housetest.CORS(t, path+" "+service, resp.Header)
		}
	}
	for _, sub := range []string{"/HEAD", "/objects/info/packs", "/git-upload-archive"} {
		if resp, _ := h.Get(h.Box(p, "tool") + sub); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", sub, resp.StatusCode)
		}
	}
	resp, body := h.Get(h.Box(p, "a <b> repo"))
	if !strings.Contains(resp.Header.Get("Content-Type"), "text/html") || strings.Contains(body, "<b>") || !strings.Contains(body, h.Box(p, "a <b> repo")) && !strings.Contains(body, "/prs/"+p.Npub+"/a%20%3Cb%3E%20repo.git") {
		t.Errorf("the page: %v\n%s", resp.Header, body)
	}
	if got := h.BoxesOnDisk(); len(got) > 0 {
		t.Errorf("on disk: %v", got)
	}
}

// check 226, G06-03: a box that nobody used is an empty repository, and looking at it leaves no trace.
func TestEmptyBox(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, housetest.WithBoxes)
	box := h.Box(housetest.NewKey(t), "never used")
	for _, version := range []string{"0", "2"} {
		for _, extra := range [][]string{nil, {"--depth=1"}, {"--filter=blob:none"}, {"--mirror"}} {
			w := housetest.Clone(t, box, append([]string{"-c", "protocol.version=" + version}, extra...)...)
			if refs := w.Git("for-each-ref"); refs != "" {
				t.Errorf("protocol %s %v: refs %q", version, extra, refs)
			}
		}
		w := housetest.NewCopy(t)
		w.Fails("couldn't find remote ref", "-c", "protocol.version="+version, "fetch", box, "refs/nostr/"+unusedID(t))
		w.Fails("fatal: ", "-c", "protocol.version="+version, "fetch", box, strings.Repeat("1", 40))
	}
	housetest.Refs(t, box)
	if v0, v2 := h.Heads(box); v0 != "" || v2 != "" {
		t.Errorf("HEAD is %q, %q", v0, v2)
	}
	if got := h.BoxesOnDisk(); len(got) > 0 {
		t.Errorf("on disk: %v", got)
	}
}

// check 227, G06-04, H-251: PR refs and nothing else, all of a push or nothing, in words that no script
// takes for a missing server.
func TestBoxTakesOnlyPullRefs(t *testing.T) {
	t.Parallel()
	h, _, _, p, w, tips := boxed(t)
	box, good := h.Box(p, "tool"), housetest.PullRef(unusedID(t))
	w.Git("branch", "fix-404", "p1")
	w.Git("tag", "-a", "-m", "one", "x", "p1")
	for _, refs := range [][]string{
		{"main:refs/heads/main"}, {"x:refs/tags/x"}, {"p1:refs/nostr/short"}, {"p1:refs/nostr/" + strings.Repeat("A", 64)},
		{"p1:refs/nostr/" + unusedID(t) + "/x"}, {"fix-404:refs/heads/fix-404"}, {"p1:refs/notes/x"},
		{"p1:" + good, "main:refs/heads/main"}, {"p1:" + good, "p2:refs/nostr/short"}, {"x:" + good},
	} {
		said := w.Fails("remote rejected", append([]string{"push", box}, refs...)...)
		plain(t, said, good, strings.TrimPrefix(good, "refs/nostr/"), "fix-404", p.Npub, refs[0], tips[0], tips[1])
		if !strings.Contains(said, "refused") {
			t.Errorf("push of %v:\n%s", refs, said)
		}
		housetest.Refs(t, box)
	}
	w.Fails("remote rejected", "push", "--mirror", box)
	h.MustPush(box, "", housetest.ZeroID+" "+housetest.ZeroID+" "+good) // what is not there is deleted already
	if got := h.BoxesOnDisk(); len(got) > 0 {
		t.Errorf("on disk: %v", got)
	}
}

// check 228, G06-05: its event says what is to be pushed.
func TestBoxOfAKnownEvent(t *testing.T) {
	t.Parallel()
	h, c, _, p, w, tips := boxed(t)
	stranger := housetest.NewKey(t)
	box := h.Box(p, "lib")
	pull := p.Proposal("lib", tips[0], box, stranger)
	ref := housetest.PullRef(pull.ID)
	c.Held(pull)
	plain(t, w.Fails("another commit", "push", box, "p2:"+ref), ref, box)
	housetest.Refs(t, box)
	plain(t, w.Fails("another commit", "push", box, "p2:"+ref, "p1:"+housetest.PullRef(unusedID(t))), ref, box)
	housetest.Refs(t, box)
	c.Hides(pull)
	w.Git("push", "-q", box, "p1:"+ref)
	c.Shows(pull)
	// Served, it still says so; nobody deletes it by pushing.
	w.Fails("another commit", "push", "-f", box, "p2:"+ref)
	w.Fails("cannot be deleted", "push", box, ":"+ref)
	w.Git("push", box, "p1:"+ref)
	housetest.Refs(t, box, ref+"="+tips[0])
	// A comment on it may follow: it is a served event like any other (G06-13).
	c.Accepted(stranger.Sign(1111, 0, "looks good", nostr.Tag{"E", pull.ID}, nostr.Tag{"K", "1618"}, nostr.Tag{"e", pull.ID}))
	update := p.Sign(grasp.KindPullUpdate, 0, "", nostr.Tag{"a", housetest.Coordinate(stranger, "lib")}, nostr.Tag{"E", pull.ID},
		nostr.Tag{"P", p.Pub}, nostr.Tag{"c", tips[1]}, nostr.Tag{"clone", box})
	w.Git("push", "-q", box, "p2:"+housetest.PullRef(update.ID))
	c.Accepted(update)
	housetest.Refs(t, box, ref+"="+tips[0], housetest.PullRef(update.ID)+"="+tips[1])
	reader := housetest.NewCopy(t)
	reader.Git("fetch", "-q", box, housetest.PullRef(update.ID))
	reader.Git("fsck", "--full", "--strict", "FETCH_HEAD")
}

// check 229, G06-05: what is not the submitter's own pull request for this identifier, naming this very
// address, is not taken.
func TestBoxOfSomebodyElse(t *testing.T) {
	t.Parallel()
	h, c, owner, p, w, tips := boxed(t)
	x := housetest.NewKey(t)
	box := h.Box(p, "tool")
	theirs := x.Proposal("tool", tips[0], h.Box(x, "tool"), owner)
	lying := x.Proposal("tool", tips[0], box, owner)
	other := p.Proposal("lib", tips[0], h.Box(p, "lib"), x)
	silent := p.Pull("tool", tips[0], owner)
	about := issue(p, owner, "tool", "broken")
	c.Held(theirs, lying, other, silent)
	c.Accepted(about)
	for what, ev := range map[string]*nostr.Event{
		"signed by somebody else": theirs, "is signed by somebody else": lying, "repository of another name": other,
		"does not name this address": silent, "is no pull request": about,
	} {
		ref := housetest.PullRef(ev.ID)
		plain(t, w.Fails(what, "push", box, "p1:"+ref), ref, box)
		housetest.Refs(t, box)
	}
	c.Hides(theirs, lying, other, silent)
	if got := h.BoxesOnDisk(); len(got) > 0 {
		t.Errorf("on disk: %v", got)
	}
	w.Git("push", "-q", h.Box(x, "tool"), "p1:"+housetest.PullRef(theirs.ID))
	c.Shows(theirs)
	w.Git("push", "-q", h.Repo(owner, "tool"), "p1:"+housetest.PullRef(silent.ID))
	c.Shows(silent)
}

// check 230, G06-06, G06-09: the commit first, the event after it.
func TestBoxBeforeItsEvent(t *testing.T) {
	t.Parallel()
	h, c, owner, p, w, tips := boxed(t)
	listener := h.Dial()
	sub := listener.Subscribe(nostr.Filter{Kinds: []int{grasp.KindPull}})
	listener.Stored(sub)
	box := h.Box(p, "tool")
	pull := p.Proposal("tool", tips[0], box, owner)
	ref, main := housetest.PullRef(pull.ID), "main="+w.Git("rev-parse", "main")
	said := w.Git("push", box, "p2:"+ref)
	if !strings.Contains(said, "waits for its event") {
		t.Errorf("git said:\n%s", said)
	}
	w.Git("push", "-q", "-f", box, "p1:"+ref) // the last one counts (G01-706)
	housetest.Refs(t, box, ref+"="+tips[0])
	housetest.Refs(t, h.Repo(owner, "tool"), main)
	listener.Silent(sub)
	c.Accepted(pull)
	housetest.Same(t, listener.Live(sub), pull)
	listener.Silent(sub)
	for _, repo := range []string{box, h.Repo(owner, "tool")} {
		reader := housetest.NewCopy(t)
		reader.Git("fetch", "-q", repo, ref)
		if got := reader.Git("rev-parse", "FETCH_HEAD"); got != tips[0] {
			t.Errorf("%s has %s, want %s", repo, got, tips[0])
		}
		reader.Git("fsck", "--full", "--strict", "FETCH_HEAD")
	}
	housetest.Refs(t, h.Repo(owner, "tool"), main, ref+"="+tips[0])
	h.Clock.Advance(time.Hour)
	h.Restart(nil)
	h.Sweep()
	housetest.Refs(t, box, ref+"="+tips[0])
	housetest.Refs(t, h.Repo(owner, "tool"), main, ref+"="+tips[0])
	h.Dial().Shows(pull)
}

// check 230, G06-06: also for a repository that lives elsewhere.
func TestBoxBeforeItsEventForElsewhere(t *testing.T) {
	t.Parallel()
	h, c, _, p, w, tips := boxed(t)
	box := h.Box(p, "my 🚀 repo")
	pull := p.Proposal("my 🚀 repo", tips[0], box, housetest.NewKey(t))
	w.Git("push", "-q", box, "p1:"+housetest.PullRef(pull.ID))
	c.Accepted(pull)
	housetest.Refs(t, box, housetest.PullRef(pull.ID)+"="+tips[0])
}

// check 231, G06-06: an event says that what was pushed under its id is something else.
func TestBoxThatItsEventDisowns(t *testing.T) {
	t.Parallel()
	h, c, owner, p, w, tips := boxed(t)
	x := housetest.NewKey(t)
	box := h.Box(p, "tool")
	for what, ev := range map[string]*nostr.Event{
		"signed by somebody else":              x.Proposal("tool", tips[0], h.Box(x, "tool"), owner),
		"by somebody else, who names this box": x.Proposal("tool", tips[0], box, x),
		"of another commit":                    p.Proposal("tool", tips[1], box, owner),
		"of another commit, for elsewhere":     p.Proposal("tool", tips[1], box, x),
		"for another name":                     p.Proposal("lib", tips[0], h.Box(p, "lib"), x),
		"for another name, related to nothing": p.Pull("lib", tips[0], x),
		"an issue":                             issue(p, owner, "tool", "broken"),
		"without a commit":                     p.Sign(grasp.KindPull, 0, "", nostr.Tag{"a", housetest.Coordinate(owner, "tool")}),
	} {
		t.Run(what, func(t *testing.T) {
			ref := housetest.PullRef(ev.ID)
			w.Git("push", "-q", box, "p1:"+ref)
			housetest.Refs(t, box, ref+"="+tips[0])
			c.Publish(ev)
			housetest.Within(t, housetest.Wait, "removal of the ref", func() bool { return len(housetest.Remote(t, box)) == 0 })
			if ev.Kind != grasp.KindIssue {
				c.Hides(ev)
			}
			if got := h.BoxesOnDisk(); len(got) > 0 {
				t.Errorf("on disk: %v", got)
			}
		})
	}
}

// check 232, G06-07: which pull requests for repositories elsewhere are taken.
func TestPullForElsewhere(t *testing.T) {
	t.Parallel()
	h, c, _, p, _, tips := boxed(t)
	x := housetest.NewKey(t)
	box := h.Box(p, "lib")
	_, port, _ := strings.Cut(h.Host, ":")
	for what, clone := range map[string]string{
		"as it is":           box,
		"an upper-case host": strings.Replace(box, h.Host, "LOCALHOST:"+port, 1),
		"a trailing slash":   box + "/",
		"percent-encoding":   strings.Replace(box, "lib.git", "%6C%69b.git", 1),
		"https":              "https" + strings.TrimPrefix(box, "http"),
	} {
		c.Held(p.Proposal("lib", tips[0], clone, x))
		t.Log(what)
	}
	for what, clone := range map[string]string{
		"a foreign host":    strings.Replace(box, h.Host, "example.com", 1),
		"another npub":      h.Box(x, "lib"),
		"another name":      h.Box(p, "tool"),
		"a query":           box + "?x",
		"an empty query":    box + "?",
		"a fragment":        box + "#x",
		"a deeper path":     box + "/info/refs",
		"two slashes":       box + "//",
		"the standard path": h.Repo(p, "lib"),
		"a hex key":         strings.Replace(box, p.Npub, p.Pub, 1),
		"no .git":           strings.TrimSuffix(box, ".git"),
		"another scheme":    "ssh" + strings.TrimPrefix(box, "http"),
	} {
		ev := p.Proposal("lib", tips[0], clone, x)
		if ok, msg := c.Publish(ev); ok || !strings.HasPrefix(msg, "blocked: ") {
			t.Errorf("%s: OK %t %q", what, ok, msg)
		}
	}
	c.Refused(p.Sign(grasp.KindPull, 0, "", nostr.Tag{"c", tips[0]}, nostr.Tag{"clone", box}), "blocked: ")
	c.Refused(p.Sign(grasp.KindPull, 0, "", nostr.Tag{"a", housetest.Coordinate(x, "lib")}, nostr.Tag{"clone", box}), "invalid: ")
	c.Refused(p.Sign(grasp.KindPatch, 0, "", nostr.Tag{"a", housetest.Coordinate(x, "lib")}, nostr.Tag{"c", tips[0]}, nostr.Tag{"clone", box}), "blocked: ")
	// check 254: a box is no home for a repository.
	c.Refused(p.Sign(grasp.KindAnnouncement, 0, "", nostr.Tag{"d", "lib"}, nostr.Tag{"clone", box}, nostr.Tag{"relays", h.RelayURL()}), "blocked: ")
}

// check 233, G06-08, G06-09: the event first, the commit after it; also what waited is invisible
// (N-045) and is let go of in the end (G01-402).
func TestEventBeforeItsBox(t *testing.T) {
	t.Parallel()
	h, c, owner, p, w, tips := boxed(t)
	listener := h.Dial()
	sub := listener.Subscribe(nostr.Filter{Kinds: []int{grasp.KindPull}})
	listener.Stored(sub)
	for _, of := range []*housetest.Key{housetest.NewKey(t), owner} {
		box := h.Box(p, "tool")
		pull := p.Proposal("tool", tips[0], box, of)
		ref := housetest.PullRef(pull.ID)
		c.Held(pull)
		c.Hides(pull)
		listener.Silent(sub)
		said := w.Git("push", box, "p1:"+ref)
		if !strings.Contains(said, "the pull request is served") {
			t.Errorf("git said:\n%s", said)
		}
		c.Shows(pull)
		housetest.Same(t, listener.Live(sub), pull)
		mirrored := housetest.Remote(t, h.Repo(owner, "tool"))[ref]
		if want := map[bool]string{true: tips[0]}[of == owner]; mirrored != want {
			t.Errorf("the repository has the ref at %q, want %q", mirrored, want)
		}
	}
	late := p.Proposal("tool", tips[1], h.Box(p, "tool"), housetest.NewKey(t))
	c.Held(late)
	h.Clock.Advance(31 * time.Minute)
	h.Sweep()
	c.Held(late) // it begins anew (G01-403)
	w.Git("push", "-q", h.Box(p, "tool"), "p2:"+housetest.PullRef(late.ID))
	c.Shows(late)
}

// check 234, G06-10, G06-11: what is pushed to a repository is in no box, and what is in a box is not
// brought to repositories that come later.
func TestNoMirrorBack(t *testing.T) {
	t.Parallel()
	h, c, owner, p, w, tips := boxed(t)
	box := h.Box(p, "tool")
	pull := p.Proposal("tool", tips[0], box, owner)
	ref := housetest.PullRef(pull.ID)
	w.Git("push", "-q", h.Repo(owner, "tool"), "p1:"+ref)
	c.Accepted(pull)
	housetest.Refs(t, box)
	second := p.Proposal("tool", tips[1], box, owner)
	c.Held(second)
	w.Git("push", "-q", h.Repo(owner, "tool"), "p2:"+housetest.PullRef(second.ID))
	c.Shows(second)
	housetest.Refs(t, box)
	if got := h.BoxesOnDisk(); len(got) > 0 {
		t.Errorf("on disk: %v", got)
	}
	w.Git("push", "-q", box, "p1:"+ref) // its author may bring it
	housetest.Refs(t, box, ref+"="+tips[0])
	// A repository that comes later.
	late := housetest.NewKey(t)
	early := p.Proposal("lib", tips[0], h.Box(p, "lib"), late)
	w.Git("push", "-q", h.Box(p, "lib"), "p1:"+housetest.PullRef(early.ID))
	c.Accepted(early)
	h.Served(c, late, "lib", past())
	next := p.Proposal("lib", tips[1], h.Box(p, "lib"), late)
	w.Git("push", "-q", h.Box(p, "lib"), "p2:"+housetest.PullRef(next.ID))
	c.Accepted(next)
	if got := housetest.Remote(t, h.Repo(late, "lib"))[housetest.PullRef(next.ID)]; got != tips[1] {
		t.Errorf("the update is not mirrored: %q", got)
	}
}

// check 278, G06-09: of the repositories that a pull request names, those that live here get it.
func TestMirrorToThoseWhoLiveHere(t *testing.T) {
	t.Parallel()
	h, c, owner, p, w, tips := boxed(t)
	x, lib := housetest.NewKey(t), housetest.NewKey(t)
	h.Served(c, x, "tool", past()) // the same name, and nobody named it
	h.Served(c, lib, "lib", past())
	box := h.Box(p, "tool")
	elsewhere := housetest.NewKey(t)
	for i, gitFirst := range []bool{true, false} {
		pull := p.Proposal("tool", tips[i], box, owner, elsewhere)
		ref := housetest.PullRef(pull.ID)
		push := func() { w.Git("push", "-q", box, []string{"p1:", "p2:"}[i]+ref) }
		if gitFirst {
			push()
			c.Accepted(pull)
		} else {
			c.Held(pull)
			push()
			c.Shows(pull)
		}
		for repo, want := range map[string]string{h.Repo(owner, "tool"): tips[i], h.Repo(x, "tool"): "", h.Repo(lib, "lib"): ""} {
			if got := housetest.Remote(t, repo)[ref]; got != want {
				t.Errorf("git first %t: %s has the ref at %q, want %q", gitFirst, repo, got, want)
			}
		}
		h.Gone(h.Repo(elsewhere, "tool"))
	}
	// Named under two names, each of which may be the box's.
	both := p.Sign(grasp.KindPull, 0, "", nostr.Tag{"c", tips[0]}, nostr.Tag{"clone", h.Box(p, "other")},
		nostr.Tag{"a", housetest.Coordinate(elsewhere, "other")}, nostr.Tag{"a", housetest.Coordinate(lib, "lib")})
	w.Git("push", "-q", h.Box(p, "other"), "p1:"+housetest.PullRef(both.ID))
	c.Accepted(both)
	if got := housetest.Remote(t, h.Repo(lib, "lib"))[housetest.PullRef(both.ID)]; got != tips[0] {
		t.Errorf("the repository of the other name has it at %q", got)
	}
}
