package steward_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
)

// An attic finds what is kept among the refs of a vault that shows all it has.
type attic struct{ vault steward.Vault }

func (a attic) Kept(ctx context.Context, repo grasp.Addr) (out []grasp.Kept, err error) {
	snap, err := a.vault.Refs(ctx, repo)
	if err != nil {
		return nil, err
	}
	for ref := range snap.Refs.All() {
		if k, ok := grasp.ParseKept(ref.Name); ok {
			out = append(out, k)
		}
	}
	return out, nil
}

func (a attic) Leaving(context.Context, grasp.Addr, []grasp.RefChange) ([]grasp.RefChange, error) {
	return nil, nil
}

// TestForget: older tips that were kept for long enough go, and no others (G05-06).
func TestForget(t *testing.T) {
	at := new(attic)
	w := newWorld(t, func(c *steward.Config) {
		c.Attic, c.History = at, grasp.Retention{Tips: 10, Age: 3600}
	})
	at.vault = w.vault
	w.live(demo)
	now := w.clock.Now().Unix()
	young, old := grasp.Kept{At: now, OID: c1.ID, Ref: "refs/heads/dev"}, grasp.Kept{At: now - 1800, OID: c1.ID, Ref: "refs/heads/older"}
	for _, k := range []grasp.Kept{young, old} {
		if err := w.vault.Apply(t.Context(), demo, []grasp.RefChange{{Ref: k.Name(), Old: grasp.ZeroOID, New: k.OID}}, ""); err != nil {
			t.Fatal(err)
		}
	}
	forget := func(want ...grasp.Kept) {
		t.Helper()
		if err := w.s.Forget(t.Context(), demo); err != nil {
			t.Fatal(err)
		}
		got, err := at.Kept(t.Context(), demo)
		slices.SortFunc(got, func(a, b grasp.Kept) int { return int(b.At - a.At) })
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%v, kept %v, want %v", err, got, want)
		}
	}
	forget(young, old)
	w.clock.Advance(45 * time.Minute)
	forget(young)
	w.clock.Advance(45 * time.Minute)
	forget()
}
