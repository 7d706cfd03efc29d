package grasp_test

import (
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// TestArchiveTakes: whatever is announced, what is named in one of three forms, or what names one of
// the services; never what lists us (G05-01, checks 251 and 252).
func TestArchiveTakes(t *testing.T) {
	alice, bob := key("A"), key("B")
	service := site(t, "https://mirror.example", "https://other.example:8443")
	patterns := func(list ...string) grasp.Archive {
		var a grasp.Archive
		for _, s := range list {
			p, err := grasp.ParsePattern(s)
			if err != nil {
				t.Fatal(err)
			}
			a.Repos = append(a.Repos, p)
		}
		return a
	}
	for _, c := range []struct {
		name  string
		a     grasp.Archive
		owner grasp.PubKey
		id    string
		clone string
		us    bool
		want  bool
	}{
		{"off", grasp.Archive{}, alice, "tool", "https://x.example/a.git", false, false},
		{"all", grasp.Archive{All: true}, alice, "tool", "https://x.example/a.git", false, true},
		{"all, and it lists us", grasp.Archive{All: true}, alice, "tool", "https://x.example/a.git", true, false},
		{"owner", patterns(alice.Npub()), alice, "tool", "https://x.example/a.git", false, true},
		{"another owner", patterns(alice.Npub()), bob, "tool", "https://x.example/a.git", false, false},
		{"repository", patterns(alice.Npub() + "/tool"), alice, "tool", "https://x.example/a.git", false, true},
		{"another of the owner", patterns(alice.Npub() + "/tool"), alice, "other", "https://x.example/a.git", false, false},
		{"identifier", patterns("tool"), bob, "tool", "https://x.example/a.git", false, true},
		{"another identifier", patterns("tool"), bob, "tools", "https://x.example/a.git", false, false},
		{"service", grasp.Archive{Services: service}, bob, "tool", "https://MIRROR.example/npub1x/tool.git", false, true},
		{"service with a port", grasp.Archive{Services: service}, bob, "tool", "http://other.example:8443/tool.git", false, true},
		{"another service", grasp.Archive{Services: service}, bob, "tool", "https://mirror.example.evil.net/tool.git", false, false},
		{"a place for pull requests of a service", grasp.Archive{Services: service}, bob, "tool", "https://mirror.example/prs/x/tool.git", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := site(t, "https://git.example.com").Archiving(c.a)
			ev := &nostr.Event{Kind: grasp.KindAnnouncement, PubKey: string(c.owner), Tags: nostr.Tags{{"d", c.id}, {"clone", c.clone}}}
			if c.us {
				ev.Tags = append(ev.Tags, nostr.Tag{"clone", "https://git.example.com/x.git"}, nostr.Tag{"relays", "wss://git.example.com"})
			}
			a, err := s.Announcement(ev)
			if err != nil || a.Archived != c.want || a.Home() != (c.want || c.us) {
				t.Errorf("%v, archived %t, want %t", err, a.Archived, c.want)
			}
		})
	}
}

// TestAdmitArchived: who lists us comes before the exception for maintainers, and that before the archive
// (G05-02, G05-04, check 277).
func TestAdmitArchived(t *testing.T) {
	for _, c := range []struct {
		name  string
		facts []fact
		who   string
		want  string
	}{
		{"a stranger", nil, "O", "waiting live"},
		{"beside another's repository", []fact{hosts("O")}, "X", "waiting live"},
		{"a maintainer, by the exception", []fact{hosts("O", "M1")}, "M1", "served"},
		{"a maintainer of what waits", []fact{waits("O", "M1")}, "M1", "waiting"},
		{"it listed us, and is followed from now on", []fact{hosts("O")}, "O", "served live"},
		{"it was withdrawn", []fact{withdrew("O")}, "O", "served live"},
		{"it waits", []fact{waits("O")}, "O", "waiting live"},
		{"it was deleted", []fact{hosts("O"), without("O"), hosting("O", grasp.Deleted)}, "O", "waiting live"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := announcement(t, c.who, 2, false)
			a.Archived = true
			adm, err := view(t, c.facts...).AdmitAnnouncement(a)
			if got := spellAdmission(adm); err != nil || got != c.want {
				t.Errorf("%v, admitted: %s, want %s", err, got, c.want)
			}
		})
	}
}

// archives: who's announcement does not list us, and its repository is kept here.
func archives(who string, shelf grasp.Shelf) fact {
	return func(t testing.TB, v *grasp.View) {
		announced(who, shelf, false, grasp.Live)(t, v)
		a := v.Announcements[key(who)]
		a.Archived = true
		v.Announcements[key(who)] = a
	}
}

// TestArchiveIsReadOnly: an archive takes no branches and tags, whoever signed them, and pull requests all
// the same; a sealed server takes none for any repository (G05-03, checks 253 and 267).
func TestArchiveIsReadOnly(t *testing.T) {
	pull := grasp.PullRef(eventID("e1"))
	st := func(t testing.TB, v *grasp.View) {
		s := state(t, "O", 2, "main=c1")
		s.Shelf = grasp.Waiting
		v.States[key("O")] = append(v.States[key("O")], s)
	}
	for _, c := range []struct {
		name   string
		view   grasp.View
		ref    grasp.RefName
		sealed bool
		no     string
	}{
		{"a branch", view(t, archives("O", grasp.Served), st), ref("main"), false, "G05-03 blocked: this is an archive"},
		{"a branch while it waits", view(t, archives("O", grasp.Waiting), st), ref("main"), false, "G05-03 blocked: this is an archive"},
		{"a pull request", view(t, archives("O", grasp.Served), st), pull, false, ""},
		{"a branch of one that lists us", view(t, hosts("O"), st), ref("main"), false, ""},
		{"a sealed server", view(t, hosts("O"), st), ref("main"), true, "G05-03 blocked: this server is read-only"},
		{"a pull request at a sealed server", view(t, hosts("O"), st), pull, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.view.Sealed = c.sealed
			_, err := c.view.CheckPush(grasp.Addr{Owner: key("O"), ID: repoID}, grasp.Refs{}, []grasp.RefChange{{Ref: c.ref, Old: grasp.ZeroOID, New: oid("c1")}})
			checkNo(t, err, c.no)
		})
	}
}

// TestArchiveIsReleased: it becomes visible like any other once a state is complete (check 276).
func TestArchiveIsReleased(t *testing.T) {
	st := func(t testing.TB, v *grasp.View) {
		s := state(t, "O", 2, "main=c1")
		s.Shelf = grasp.Waiting
		v.States[key("O")] = append(v.States[key("O")], s)
	}
	v := view(t, archives("O", grasp.Waiting), st)
	at := map[grasp.Addr]*grasp.Snapshot{{Owner: key("O"), ID: repoID}: {}}
	if p := v.Plan(at, grasp.OIDSet{}, nil); len(p.Release) != 0 {
		t.Errorf("released without its data: %v", p.Release)
	}
	p := v.Plan(at, grasp.OIDSet{oid("c1"): {}}, nil)
	if len(p.Release) != 2 || len(p.Repos) != 1 {
		t.Errorf("released %v, repositories %v", p.Release, p.Repos)
	}
}
