package manage_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/manage"
)

// G01-109: the operator is told the numbers that refusals name, in the same words.
func TestQuotaInWords(t *testing.T) {
	d := &desk{}
	h := open(d)
	bob := grasp.PubKey(strings.Repeat("cd", 32))
	for _, c := range []struct{ about, want string }{
		{"", "3.0 MiB in all, of which pull requests brought 1 KiB\nnpub1a  2 MiB and 1 KiB of pull requests  2 repositories, 1 box\nnpub1b  1 MiB  1 repository"},
		{alice.Npub(), alice.Npub() + "\n  2 of 1000 repositories, 48 MiB"},
		{string(alice), alice.Npub() + "\n  2 of 1000 repositories, 48 MiB"},
		{bob.Npub(), bob.Npub() + "\n  2 of 1000 repositories, 48 MiB of 512 MiB\n  pull requests to them: 3 MiB\n" +
			"  deleted and kept for now: 1 repository, 5 bytes\n  pull requests of its own under /prs/: 1 of 100 repositories, 3 of 1000 refs, 1 MiB of 1 GiB"},
	} {
		if got, err := types(t, h, manage.MethodQuota, manage.Question{About: c.about}); err != nil || got != c.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.about, err, got, c.want)
		}
	}
	for _, bad := range []string{"alice", "npub1", strings.Repeat("g", 64)} {
		if _, err := types(t, h, manage.MethodQuota, manage.Question{About: bad}); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "no public key") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	d.fail = errors.New("broken")
	for _, about := range []string{"", alice.Npub()} {
		if _, err := types(t, h, manage.MethodQuota, manage.Question{About: about}); err == nil {
			t.Errorf("%q: no error", about)
		}
	}
}
