package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/store"
)

// G02-15: what is hunted for is there again after the next start.
func TestHunts(t *testing.T) {
	path := t.TempDir() + "/gitroost.db"
	s := openAt(t, path)
	ctx := t.Context()
	at := time.Unix(1_800_000_000, 5).UTC()
	for i := range 5 {
		if err := s.WriteHunt(ctx, store.Hunt{ID: fmt.Sprint("r", i), Tries: i, Since: at, Next: at.Add(time.Duration(5-i) * time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.WriteHunt(ctx, store.Hunt{ID: "r1", Tries: 9, Since: at, Next: at}); err != nil {
		t.Fatal(err)
	}
	if err := s.DropHunt(ctx, "r4"); err != nil {
		t.Fatal(err)
	}
	if err := s.DropHunt(ctx, "nobody"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = openAt(t, path)
	list, err := s.Hunts(ctx, 3)
	if err != nil || len(list) != 3 {
		t.Fatalf("%v, %v", list, err)
	}
	if h := list[0]; h.ID != "r1" || h.Tries != 9 || !h.Next.Equal(at) || !h.Since.Equal(at) {
		t.Errorf("%+v", h)
	}
	if list[1].ID != "r3" || list[2].ID != "r2" {
		t.Errorf("%v", list)
	}
}
