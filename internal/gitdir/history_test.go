package gitdir_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
)

// What a push brought is told whole: its commits, newest first, and whether any are lost.
func TestHistory(t *testing.T) {
	h, w := open(t), newWork(t)
	var all []grasp.OID
	for n := range 5 {
		all = append(all, w.commit("a", fmt.Sprintf("%d\n", n)))
	}
	w.git("checkout", "-q", "-b", "dev", string(all[1]))
	w.git("commit", "-q", "--allow-empty", "-m", "One line\n\nand a <b>ody\x01 é")
	side := w.tip("dev")
	must(t, h.push(demo, bytes.NewReader(w.pack("main", "dev")), create(mainRef, all[4]), create(devRef, side)))
	for _, c := range []struct {
		what   string
		change grasp.RefChange
		limit  int
		ids    []grasp.OID
		total  int
		forced bool
	}{
		{"forward", update(mainRef, all[1], all[4]), 20, []grasp.OID{all[4], all[3], all[2]}, 3, false},
		{"limited", update(mainRef, all[1], all[4]), 2, []grasp.OID{all[4], all[3]}, 3, false},
		{"new default branch", create(mainRef, all[2]), 20, []grasp.OID{all[2], all[1], all[0]}, 3, false},
		{"new other branch", create(devRef, side), 20, []grasp.OID{side}, 1, false},
		{"forced", update(mainRef, all[4], side), 20, []grasp.OID{side}, 1, true},
		{"back", update(mainRef, all[4], all[2]), 20, nil, 0, true},
	} {
		got, err := h.History(t.Context(), demo, c.change, mainRef, c.limit)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		var ids []grasp.OID
		for _, commit := range got.Commits {
			ids = append(ids, commit.ID)
		}
		if fmt.Sprint(ids) != fmt.Sprint(c.ids) || got.Total != c.total || got.Forced != c.forced {
			t.Errorf("%s: %v of %d, forced %v", c.what, ids, got.Total, got.Forced)
		}
	}
	got, err := h.History(t.Context(), demo, create(devRef, side), mainRef, 1)
	must(t, err)
	if c := got.Commits[0]; !strings.HasPrefix(c.Message, "One line\n\nand a <b>ody\x01 é") || c.Author == "" || !strings.Contains(c.AuthorMail, "@") || !grasp.IsHex(string(c.Tree), 40) || c.Time.IsZero() {
		t.Errorf("%+v", c)
	}
	if _, err := h.History(t.Context(), demo, create(devRef, grasp.OID(strings.Repeat("7", 40))), mainRef, 1); err == nil {
		t.Error("a commit that is not here has a history")
	}
}
