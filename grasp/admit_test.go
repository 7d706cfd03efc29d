package grasp_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
)

func spellAdmission(a grasp.Admission) string {
	s := a.Shelf.String()
	switch a.Hosting {
	case grasp.Live:
		s += " live"
	case grasp.Withdrawn:
		s += " withdrawn"
	case grasp.Deleted:
		s += " deleted"
	}
	if a.Evict {
		s += " evict"
	}
	return s
}

func TestAdmitAnnouncement(t *testing.T) { // §2.5, checks 125 to 147
	type offer struct {
		who         string
		at          int64
		lists       bool
		maintainers []string
	}
	for _, c := range []struct {
		name  string
		facts []fact // of announcements made at second 1
		offer offer
		want  string // admission, "" if only the refusal matters
		no    string // rule and text of the refusal
	}{
		{name: "125 the first", offer: offer{who: "O", at: 2, lists: true}, want: "waiting live"},
		{name: "126 lists others", offer: offer{who: "O", at: 2}, want: "nowhere", no: "G01-101 blocked: announcement must list this service in clone and relays"},
		{name: "137 newer than the served one", facts: []fact{hosts("O")}, offer: offer{who: "O", at: 2, lists: true}, want: "served live"},
		{name: "107 not newer than the served one", facts: []fact{hosts("O")}, offer: offer{who: "O", at: 0, lists: true}, want: "nowhere", no: "N-004 invalid: have a newer version of this event"},
		{name: "139 newer than the waiting one", facts: []fact{waits("O")}, offer: offer{who: "O", at: 2, lists: true}, want: "waiting live"},
		{name: "108 older than the waiting one", facts: []fact{waits("O")}, offer: offer{who: "O", at: 0, lists: true}, want: "nowhere", no: "N-004 invalid: have a newer version of this event"},
		{name: "140 a maintainer lists others", facts: []fact{hosts("O", "M1"), elsewhere("M1", "M2")}, offer: offer{who: "M2", at: 2}, want: "served"},
		{name: "111 of a waiting repository", facts: []fact{waits("O", "M1")}, offer: offer{who: "M1", at: 2}, want: "waiting"},
		{name: "111 of one that waits and one that is served", facts: []fact{waits("O", "M1"), hosts("X", "M1")}, offer: offer{who: "M1", at: 2}, want: "served"},
		{name: "111 of a withdrawn repository", facts: []fact{withdrew("O", "M1")}, offer: offer{who: "M1", at: 2}, want: "nowhere", no: "G01-101 blocked: announcement must list"},
		{name: "111 of a repository that does not live here", facts: []fact{elsewhere("O", "M1")}, offer: offer{who: "M1", at: 2}, want: "nowhere", no: "G01-101 blocked: announcement must list"},
		{name: "111 replaced by a newer one", facts: []fact{hosts("O", "M1"), elsewhere("M1")}, offer: offer{who: "M1", at: 2}, want: "served"},
		{name: "111 replaced when it is no maintainer's any more", facts: []fact{hosts("O"), elsewhere("M1")}, offer: offer{who: "M1", at: 2}, want: "nowhere", no: "G01-101 blocked: announcement must list"},
		{name: "141 a stranger lists others", facts: []fact{hosts("O", "M1")}, offer: offer{who: "X", at: 2}, want: "nowhere", no: "G01-101 blocked: announcement must list"},
		{name: "141 listing the owner opens nothing", facts: []fact{hosts("O")}, offer: offer{who: "X", at: 2, maintainers: []string{"O"}}, want: "nowhere", no: "G01-101 blocked: announcement must list"},
		{name: "257 a maintainer lists us", facts: []fact{hosts("O", "M1")}, offer: offer{who: "M1", at: 2, lists: true}, want: "waiting live"},
		{name: "113 a maintainer listed others, now us", facts: []fact{hosts("O", "M1"), elsewhere("M1")}, offer: offer{who: "M1", at: 2, lists: true}, want: "waiting live"},
		{name: "144 withdrawal", facts: []fact{hosts("O")}, offer: offer{who: "O", at: 2}, want: "served withdrawn"},
		{name: "144 withdrawal again", facts: []fact{withdrew("O")}, offer: offer{who: "O", at: 2}, want: "served withdrawn"},
		{name: "144 an older one withdraws nothing", facts: []fact{hosts("O")}, offer: offer{who: "O", at: 0}, want: "nowhere", no: "N-004 invalid: have a newer version of this event"},
		{name: "115 withdrawal by a maintainer of another", facts: []fact{hosts("O", "M1"), hosts("M1")}, offer: offer{who: "M1", at: 2}, want: "served withdrawn"},
		{name: "145 back again", facts: []fact{withdrew("O")}, offer: offer{who: "O", at: 2, lists: true}, want: "served live"},
		{name: "146 withdrawn while it waits", facts: []fact{waits("O")}, offer: offer{who: "O", at: 2}, want: "nowhere evict", no: "G01-101 blocked: announcement must list"},
		{name: "115 withdrawn while it waits, by a maintainer", facts: []fact{hosts("O", "M1"), waits("M1")}, offer: offer{who: "M1", at: 2}, want: "served evict"},
		{name: "223 deleted, and announced again", facts: []fact{hosts("O"), without("O"), hosting("O", grasp.Deleted)}, offer: offer{who: "O", at: 2, lists: true}, want: "waiting live"},
		{name: "902 deleted, and announced elsewhere", facts: []fact{hosts("O"), without("O"), hosting("O", grasp.Deleted)}, offer: offer{who: "O", at: 2}, want: "nowhere", no: "G01-101 blocked: announcement must list"},
		{name: "147 the same identifier by a stranger", facts: []fact{hosts("O")}, offer: offer{who: "X", at: 2, lists: true}, want: "waiting live"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := view(t, c.facts...)
			a := announcement(t, c.offer.who, c.offer.at, c.offer.lists, c.offer.maintainers...)
			adm, err := v.AdmitAnnouncement(a)
			if got := spellAdmission(adm); got != c.want {
				t.Errorf("admitted: %s, want %s", got, c.want)
			}
			checkNo(t, err, c.no)
			if c.no != "" && strings.HasPrefix(c.no, "G01-101") {
				// G01-112: who is refused only for want of an anchor may come back. Not so
				// an owner whose own repository this was.
				if r := refusal(t, err); r.Unrelated == adm.Evict {
					t.Errorf("Unrelated = %t, Evict = %t", r.Unrelated, adm.Evict)
				}
			}
		})
	}
}

func TestAnnouncementsOfOneSecond(t *testing.T) { // G01-108, N-009
	v := view(t, waits("O"))
	for id, stale := range map[string]bool{strings.Repeat("0", 64): false, strings.Repeat("f", 64): true} {
		a := announcement(t, "O", 1, true)
		a.Event.ID = id
		if _, err := v.AdmitAnnouncement(a); (err != nil) != stale {
			t.Errorf("an equally old announcement with id %.1s…: %v", id, err)
		}
	}
}

// checkNo compares err with a wanted refusal: "<rule> <prefix>: <beginning of the text>", or "".
func checkNo(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	r := refusal(t, err)
	if got := fmt.Sprintf("%s %s: %s", r.Rule, r.Prefix, r.Text); !strings.HasPrefix(got, want) {
		t.Errorf("refused with %q, want %q", got, want)
	}
}

func TestAdmitState(t *testing.T) { // G01-301, N-004, checks 152, 153, 156, 157, 171
	const (
		noRepo  = "G01-301 invalid: no announcement exists for this repository"
		noRight = "G01-301 invalid: author not authorized for this repository"
		older   = "N-004 invalid: have a newer version of this event"
	)
	for _, c := range []struct {
		name  string
		facts []fact
		who   string
		at    int64
		no    string
	}{
		{"156 nothing known", nil, "O", 10, noRepo},
		{"156 deleted", []fact{hosting("O", grasp.Deleted)}, "O", 10, noRepo},
		{"301 the owner", []fact{hosts("O")}, "O", 10, ""},
		{"407 of a waiting repository", []fact{waits("O")}, "O", 10, ""},
		{"148 a maintainer without announcement", []fact{hosts("O", "M1")}, "M1", 10, ""},
		{"149 a maintainer's maintainer", []fact{hosts("O", "M1"), waits("M1", "M2")}, "M2", 10, ""},
		{"157 a stranger", []fact{hosts("O", "M1")}, "X", 10, noRight},
		{"152 named for another identifier only", []fact{hosts("O")}, "M1", 10, noRight},
		{"153 a removed maintainer", []fact{hosts("O", "M1"), hosts("O")}, "M1", 10, noRight},
		{"259 the chain is broken", []fact{hosts("O", "M1"), waits("M1", "M2"), without("M1")}, "M2", 10, noRight},
		{"259 but M1 is a member still", []fact{hosts("O", "M1"), waits("M1", "M2"), without("M1")}, "M1", 10, ""},
		{"151 to whom nobody points back", []fact{hosts("M1"), elsewhere("O", "M1")}, "O", 10, noRight},
		{"301 an announcement that leads nowhere here", []fact{elsewhere("O", "M1")}, "M1", 10, noRight},
		{"171 older than the author's served one", []fact{hosts("O"), says("O", 100, "main=c1")}, "O", 50, older},
		{"168 older than another author's", []fact{hosts("O", "M1"), says("O", 100, "main=c1")}, "M1", 50, ""},
		{"309 older than a waiting one", []fact{hosts("O"), pends("O", 100, "main=c1")}, "O", 50, ""},
		{"309 as old as a waiting one", []fact{hosts("O"), pends("O", 50, "main=c1")}, "O", 50, ""},
		{"309 newer than the author's served one", []fact{hosts("O"), says("O", 100, "main=c1")}, "O", 101, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			adm, err := view(t, c.facts...).AdmitState(state(t, c.who, c.at, "main=c9"))
			checkNo(t, err, c.no)
			if want := "waiting"; err == nil && spellAdmission(adm) != want {
				t.Errorf("admitted: %s, want %s", spellAdmission(adm), want)
			}
			if err != nil && adm != (grasp.Admission{}) {
				t.Errorf("refused, but admitted: %+v", adm)
			}
		})
	}
}

// Of two states of one second the lower id stays, and the other's author is told why (N-009).
func TestStatesOfOneSecond(t *testing.T) {
	v := view(t, hosts("O"), says("O", 10, "main=c1"))
	is := v.States[key("O")][0].ID
	for _, id := range []grasp.EventID{grasp.EventID(strings.Repeat("0", 64)), grasp.EventID(strings.Repeat("f", 64))} {
		s := state(t, "O", 10, "main=c2")
		s.ID = id
		_, err := v.AdmitState(s)
		if id < is {
			checkNo(t, err, "")
			continue
		}
		checkNo(t, err, "N-004 invalid: have a newer version of this event; state "+is.Short())
		if r := refusal(t, err); !strings.Contains(r.Text, "sign again") {
			t.Errorf("%q does not say what to do", r.Text)
		}
	}
}

func TestAdmitPull(t *testing.T) { // G01-708, G01-804
	if adm, err := grasp.AdmitPull(grasp.Pull{}, true); err != nil || spellAdmission(adm) != "waiting" {
		t.Errorf("related: %v, %v", adm, err)
	}
	_, err := grasp.AdmitPull(grasp.Pull{}, false)
	checkNo(t, err, "G01-801 blocked: event must reference an accepted repository or accepted event")
	if !refusal(t, err).Unrelated {
		t.Error("an unrelated pull request has no second chance (G01-805)")
	}
}
