package housetest

import (
	"encoding/json"
	"net/http"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/manage"
)

// Change restarts the house with another configuration, as an operator who edited a file does.
func (h *House) Change(change func(*config.Config)) {
	h.t.Helper()
	h.Restart(func(string) { change(&h.cfg) })
}

// Quota returns what the operator is told of a key. The house must have an operator's listener.
func (h *House) Quota(k *Key) (q manage.Holding) {
	h.t.Helper()
	resp, body := h.Get("http://" + h.srv.AdminAddr() + "/quota?npub=" + k.Npub)
	if err := json.Unmarshal([]byte(body), &q); err != nil || resp.StatusCode != http.StatusOK {
		h.t.Fatalf("quota of %s: %d %s", k.Npub, resp.StatusCode, body)
	}
	return q
}

// Operator fetches a path from the operator's listener, which the house must have.
func (h *House) Operator(path string) (*http.Response, string) {
	h.t.Helper()
	return h.Get("http://" + h.srv.AdminAddr() + path)
}
