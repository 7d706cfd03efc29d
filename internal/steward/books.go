package steward

import (
	"context"

	"github.com/gitroost/gitroost/grasp"
)

// Books are what moderation needs of the cellar beside the Ledger: the table of rules, and ways to
// find what a rule is about. Everything that Decide and Withdraw reported as done survives a crash.
// All methods are safe for concurrent use. Errors are *fault.Error.
type Books interface {
	// Rules returns the rules of the table by number.
	Rules(ctx context.Context) ([]grasp.Rule, error)

	// Decide writes a rule in place of the one about the same subject, if there is one. Number is
	// chosen here and is never that of a rule that was. It returns the rule as it was written. More
	// than MaxRules are a fault.TooLarge.
	Decide(ctx context.Context, r grasp.Rule) (grasp.Rule, error)

	// Withdraw removes the rule about a subject, if its action is this one, and reports whether
	// there was one.
	Withdraw(ctx context.Context, s grasp.Subject, a grasp.Action) (bool, error)

	// Concerned returns up to limit events, of both shelves, that a rule about s may be about, from
	// a mark on: the zero Mark begins, and more says that there may be others from next on. Events
	// that are removed between two calls do not make it miss others. For OfRepo these are the
	// announcements and states of the repositories, and if the pattern names one repository also
	// what is served and names it in an a or A tag.
	Concerned(ctx context.Context, s grasp.Subject, from Mark, limit int) (list []Entry, next Mark, more bool, err error)

	// Homes returns up to limit repositories that p names and that have a home here or had one
	// until recently, in the order of identifier and owner, behind after.
	Homes(ctx context.Context, p grasp.Pattern, after grasp.Addr, limit int) ([]Repo, error)
}

// MaxRules is how many rules the table holds at most.
const MaxRules = 100_000

// A Mark is a place in what Concerned goes through.
type Mark struct {
	Part int // which of the searches it is made of
	At   int64
	ID   grasp.EventID
}
