package steward

import (
	"context"
	"time"

	"github.com/gitroost/gitroost/grasp"
)

// Knobs are what of a Config may change while the desk works. The fields are those of Config.
type Knobs struct {
	Rules   []grasp.Rule
	Contact string
	Quotas  grasp.Quotas

	FutureLimit      time.Duration
	WaitingPerKey    int
	WaitingPerSource int
	WaitingInAll     int
	NewReposPerHour  int
}

// knobs returns what of c may change.
func (c *Config) knobs() *Knobs {
	return &Knobs{
		Rules: c.Rules, Contact: c.Contact, Quotas: c.Quotas, FutureLimit: c.FutureLimit,
		WaitingPerKey: c.WaitingPerKey, WaitingPerSource: c.WaitingPerSource, WaitingInAll: c.WaitingInAll, NewReposPerHour: c.NewReposPerHour,
	}
}

// Reconfigure puts k into force, whole, in place of what was: fields that are zero mean their defaults. What
// is here and is denied now goes, as at a start; an error says that not all of it went, or that the rules could
// not be read, and the next sweep sees to the rest.
func (s *Steward) Reconfigure(ctx context.Context, k Knobs) error {
	c := Config{
		Rules: k.Rules, Contact: k.Contact, Quotas: k.Quotas, FutureLimit: k.FutureLimit,
		WaitingPerKey: k.WaitingPerKey, WaitingPerSource: k.WaitingPerSource, WaitingInAll: k.WaitingInAll, NewReposPerHour: k.NewReposPerHour,
	}
	c.fill()
	s.knobs.Store(c.knobs())
	s.unfinished.Store(true)
	return s.Enforce(ctx)
}
