package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gitroost/gitroost/grasp"
)

// Quota says how much one key may keep (G01-109). 0 is no bound.
type Quota struct {
	Bytes     int64                  // of all repositories of one owner
	Overrides map[grasp.PubKey]int64 // the same for single owners
	Repos     int                    // of one owner
	RepoBytes int64                  // of one repository, without what PR refs brought
	PRBytes   int64                  // of one repository: what PR refs brought

	KeyEvents    int // that one key may keep here because they connect to something served
	ThreadEvents int // that may answer one event
	RepoEvents   int // about one repository

	SubmitterBytes int64 // of one submitter of pull requests to repositories elsewhere (G06-13)
	SubmitterRepos int
	SubmitterRefs  int
}

// Quotas is Quota in the words of the rules.
func (c Config) Quotas() grasp.Quotas {
	q := c.Quota
	return grasp.Quotas{
		Owner:     grasp.Quota{Bytes: q.Bytes, Repos: q.Repos, RepoBytes: q.RepoBytes, PullBytes: q.PRBytes},
		Submitter: grasp.Quota{Bytes: q.SubmitterBytes, Repos: q.SubmitterRepos, Refs: q.SubmitterRefs},
		Overrides: q.Overrides,
		Events:    grasp.Events{PerKey: q.KeyEvents, PerThread: q.ThreadEvents, PerRepo: q.RepoEvents},
	}
}

// quotas reads "npub1…=20 GiB" items.
func quotas(p *map[grasp.PubKey]int64, name, doc string) Setting {
	return Setting{
		Name: name, Doc: doc, Unit: "list of npub=size", list: true,
		set: func(s string) error {
			out := map[grasp.PubKey]int64{}
			err := each(s, func(item string) error {
				who, much, ok := strings.Cut(item, "=")
				if !ok {
					return fmt.Errorf("names %s, not npub1…=20 GiB", quoted(item))
				}
				k, err := publicKey(strings.TrimSpace(who))
				if err != nil {
					return fmt.Errorf("%s %w", quoted(who), err)
				}
				n, err := ParseSize(much)
				if err != nil {
					return err
				}
				if _, twice := out[k]; twice {
					return fmt.Errorf("names %s twice", k.Npub())
				}
				out[k] = n
				return nil
			})
			if err == nil {
				*p = out
			}
			return err
		},
		get: func() string {
			out := make([]string, 0, len(*p))
			for k, n := range *p {
				out = append(out, k.Npub()+"="+Size(n))
			}
			slices.Sort(out)
			return strings.Join(out, ", ")
		},
	}
}
