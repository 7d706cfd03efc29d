package checkout_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gitroost/gitroost/internal/jobs"
)

// S3-40: a submodule is an empty folder, and nobody is asked for it, whatever .gitmodules says.
func TestCheckoutWithSubmodule(t *testing.T) {
	var asked atomic.Int64
	there := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer there.Close()
	s := newShop(t)
	one := s.Commit("one")
	s.Write(".gitmodules", "[submodule \"a\"]\n\tpath = a\n\turl = "+there.URL+"/a.git\n[submodule \"b\"]\n\tpath = b\n\turl = file:///etc\n")
	s.Git("add", ".gitmodules")
	for _, name := range []string{"a", "b"} {
		s.Git("update-index", "--add", "--cacheinfo", "160000,"+string(one)+","+name)
	}
	s.Git("commit", "-q", "-m", "submodules")
	s.Bring()
	res, log := s.Run("checkout", s.spec())
	if res.State != jobs.OK || s.read("index.html") != "one" || !strings.Contains(s.read(".gitmodules"), "submodule") {
		t.Fatalf("%+v %s", res, log)
	}
	if !strings.Contains(log.String(), "submodule") {
		t.Errorf("the log does not tell: %s", log)
	}
	for _, name := range []string{"a", "b"} {
		if list := names(filepath.Join(s.link(), name)); len(list) != 0 {
			t.Errorf("in %s is %v", name, list)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the other server was asked %d times", n)
	}
}
