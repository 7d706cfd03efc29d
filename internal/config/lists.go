package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gitroost/gitroost/grasp"
)

// keys is a list of public keys.
func keys(p *[]grasp.PubKey, name, doc string) Setting {
	var one grasp.PubKey
	single := key(&one, name, doc)
	return Setting{
		Name: name, Doc: doc, Unit: "list of public keys", list: true,
		set: func(s string) error {
			var out []grasp.PubKey
			err := each(s, func(item string) error {
				if err := single.set(item); err != nil {
					return err
				}
				if !slices.Contains(out, one) {
					out = append(out, one)
				}
				return nil
			})
			if err == nil {
				*p = out
			}
			return err
		},
		get: func() string {
			out := make([]string, len(*p))
			for i, k := range *p {
				out[i] = k.Npub()
			}
			return strings.Join(out, ", ")
		},
	}
}

// deniedKinds is a list of event kinds that can be denied.
func deniedKinds(p *[]int, name, doc string) Setting {
	return Setting{
		Name: name, Doc: doc, Unit: "list of numbers", list: true,
		set: func(s string) error {
			var out []int
			err := each(s, func(item string) error {
				sub, err := grasp.ParseSubject(grasp.OfKind, item)
				if err != nil {
					return fmt.Errorf("%s %w", quoted(item), err)
				}
				if err := (grasp.Rule{Action: grasp.Deny, Subject: sub}).Check(); err != nil {
					return fmt.Errorf("names %s: %w", quoted(item), err)
				}
				n, err := strconv.Atoi(sub.Name)
				out = append(out, n)
				return err
			})
			if err == nil {
				*p = out
			}
			return err
		},
		get: func() string {
			out := make([]string, len(*p))
			for i, k := range *p {
				out[i] = strconv.Itoa(k)
			}
			return strings.Join(out, ", ")
		},
	}
}
