package housetest

import (
	"strconv"
	"strings"
)

// Metrics returns all series of one metric on the operator's listener, by their names as they are
// printed, labels included.
func (h *House) Metrics(name string) map[string]float64 {
	h.t.Helper()
	_, body := h.Get("http://" + h.srv.AdminAddr() + "/metrics")
	out := make(map[string]float64)
	for line := range strings.Lines(body) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || !strings.HasPrefix(series, name+"{") && series != name {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			h.t.Fatalf("metric %s: %v", series, err)
		}
		out[series] = n
	}
	return out
}
