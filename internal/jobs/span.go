package jobs

import (
	"fmt"
	"time"
)

// Span says d as people do, to the second: "42s", "1m 23s", "1h 02m"; less than nothing is "0s" (S0-06).
func Span(d time.Duration) string {
	s := int64(max(d, 0).Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm %ds", s/60, s%60)
	}
	return fmt.Sprintf("%dh %02dm", s/3600, s/60%60)
}
