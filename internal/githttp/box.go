package githttp

import (
	"regexp"
	"strings"

	"github.com/gitroost/gitroost/grasp"
)

// Scripts that push to contributors' boxes tell a server without them from one that refuses by looking
// for "404" and "not found" in what git says (G06-04). So neither may come up by chance: not in a
// hexadecimal name, and not in a number.

// pushID makes the id of a push.
func (x *exchange) pushID(repo grasp.Addr) string {
	id := x.h.cfg.NewPushID()
	for try := 0; repo.Box && suspicious(id) && try < 10; try++ {
		id = x.h.cfg.NewPushID()
	}
	return id
}

func suspicious(s string) bool { return strings.Contains(s, "404") || strings.Contains(s, "not found") }

var hexName = regexp.MustCompile(`\b[0-9a-f]{7,64}\b`)

// innocent takes out of v what scripts would mistake.
func (v *verdict) innocent() {
	plain := func(s string) string {
		if suspicious(s) {
			s = hexName.ReplaceAllString(s, "…")
		}
		if suspicious(s) {
			s = strings.NewReplacer("404", "…", "not found", "missing").Replace(s)
		}
		return s
	}
	v.unpack, v.reason = plain(v.unpack), plain(v.reason)
	say := make([]string, len(v.say))
	for i, line := range v.say {
		say[i] = plain(line)
	}
	v.say = say
}
