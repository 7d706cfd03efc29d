package housetest

import (
	"context"

	"github.com/gitroost/gitroost/grasp"
)

// Kept are the older tips that the house keeps of an archived repository (G05-06).
func (h *House) Kept(owner *Key, id string) []grasp.Kept {
	h.t.Helper()
	list, err := h.srv.Kept(context.Background(), grasp.Addr{Owner: grasp.PubKey(owner.Pub), ID: id})
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}
