package housetest

import (
	"github.com/gitroost/gitroost/internal/config"
)

// Reload has the running house follow another configuration, as after a SIGHUP, and returns the settings that
// changed and those that want a restart.
func (h *House) Reload(change func(*config.Config)) (changed, held []string) {
	h.t.Helper()
	change(&h.cfg)
	changed, held, err := h.srv.Reload(h.t.Context(), h.cfg)
	if err != nil {
		h.t.Fatalf("reload: %v", err)
	}
	return changed, held
}
