package grasp

// An Archive says which repositories are kept here although their announcement does not name this site
// (GRASP-05, G05-01). The zero Archive keeps none.
type Archive struct {
	All      bool      // whatever is announced
	Repos    []Pattern // of these owners, identifiers, repositories
	Services Site      // whose clone URLs name one of these services
}

// Archiving returns s with the rules of an archive: announcements that it parses are marked.
func (s Site) Archiving(a Archive) Site {
	s.archive = &a
	return s
}

// takes reports whether an announcement that does not list us is kept all the same.
func (a *Archive) takes(an Announcement) bool {
	switch {
	case a == nil:
		return false
	case a.All:
		return true
	}
	for _, p := range a.Repos {
		if p.Matches(an.Addr) {
			return true
		}
	}
	for _, u := range an.Clone {
		if a.Services.ListsClone(u) {
			return true
		}
	}
	return false
}

// Home reports whether a gives its owner's repository a home here: it lists us, or is kept as an
// archive (G05-04).
func (a Announcement) Home() bool { return a.ListsUs || a.Archived }

// checkReadOnly refuses branches and tags for what is kept as an archive (G05-03, G01-509).
func (v View) checkReadOnly(repo Addr, ref RefName) error {
	if v.Sealed {
		r := refuse("G05-03", Blocked, "this server is read-only: it takes no branches and tags")
		r.Ref, r.Hint = ref, "push to another server that the announcement names"
		return r
	}
	if a, ok := v.Announcements[repo.Owner]; ok && a.Archived {
		r := refuse("G05-03", Blocked, "this is an archive of a repository that lives elsewhere: it takes no branches and tags")
		r.Ref, r.Hint = ref, "push to a server that its announcement names; what its maintainers sign comes here by itself"
		return r
	}
	return nil
}
