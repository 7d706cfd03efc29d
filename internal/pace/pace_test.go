package pace_test

import (
	"context"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/pace"
)

// Steps reach whoever asked for the work, through the contexts of those between, and nobody else.
func TestSteps(t *testing.T) {
	pace.Step(context.Background())
	n := 0
	ctx := pace.With(context.Background(), func() { n++ })
	between, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	for range 3 {
		pace.Step(between)
	}
	pace.Step(context.Background())
	if n != 3 {
		t.Errorf("%d steps were told, want 3", n)
	}
	inner := 0
	pace.Step(pace.With(between, func() { inner++ }))
	if n != 3 || inner != 1 {
		t.Errorf("a step within was told %d times to the outer, %d times to the inner", n-3, inner)
	}
}
