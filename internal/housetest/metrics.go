package housetest

import (
	"strconv"
	"strings"
)

// Metric returns the value of a metric on the operator's listener, which the house must have. name
// is as it is printed, labels included. It fails the test if there is none.
func (h *House) Metric(name string) float64 {
	h.t.Helper()
	_, body := h.Get("http://" + h.srv.AdminAddr() + "/metrics")
	for line := range strings.Lines(body) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			n, err := strconv.ParseFloat(v, 64)
			if err != nil {
				h.t.Fatalf("metric %s: %v", name, err)
			}
			return n
		}
	}
	h.t.Fatalf("no metric %s", name)
	return 0
}
