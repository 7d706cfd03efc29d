package web_test

import (
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/web"
)

// G06-03, H-109: the page of a contributor's box says what it is for, and what is in it.
func TestBox(t *testing.T) {
	box := grasp.Addr{Owner: alice, ID: "<b>tool</b> 🚀", Box: true}
	id := grasp.EventID(strings.Repeat("9f", 32))
	url := base + "/prs/" + alice.Npub() + "/%3Cb%3Etool%3C%2Fb%3E%20%F0%9F%9A%80.git"
	w, _ := newWeb(source{pages: map[grasp.Addr]web.Page{box: {Addr: box}}}, base)
	rec := get(repo(w, box), "GET", "/")
	if seen := text(t, rec.Body.String()); rec.Code != 200 || !strings.Contains(seen, "Nothing is proposed here") || !strings.Contains(seen, "git push "+url) || strings.Contains(seen, "git fetch") {
		t.Errorf("an empty box: %d %s", rec.Code, seen)
	}
	if strings.Contains(rec.Body.String(), "<b>") {
		t.Error("the identifier is not escaped")
	}
	full := web.Page{Addr: box, RefCount: web.MaxRefs + 7}
	for range web.MaxRefs {
		full.Refs = append(full.Refs, web.Ref{Name: grasp.PullRef(id), Disk: grasp.OID(strings.Repeat("4", 40))})
	}
	w, _ = newWeb(source{pages: map[grasp.Addr]web.Page{box: full}}, base)
	rec = get(repo(w, box), "GET", "/")
	for _, want := range []string{"git fetch " + url + " " + string(grasp.PullRef(id)), "7 more are not shown", id.Short(), "4444444"} {
		if !strings.Contains(text(t, rec.Body.String()), want) {
			t.Errorf("no %q in %.500s", want, text(t, rec.Body.String()))
		}
	}
}
