package work

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// A Size is a number of bytes, written "512MiB", "2 GiB", "5 GB" or as a bare number. Zero is none.
type Size int64

var units = []struct {
	name string
	n    int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
}

// UnmarshalText reads a size. What is none, or below zero, is a fault.Invalid.
func (s *Size) UnmarshalText(text []byte) error {
	num, by := strings.TrimSpace(string(text)), int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(num, u.name); ok {
			num, by = strings.TrimSpace(rest), u.n
			break
		}
	}
	n, err := strconv.ParseInt(num, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/by {
		return fault.Errorf(fault.Invalid, "work: size", "%.40q is not a size such as 512MiB or 2GiB", text)
	}
	*s = Size(n * by)
	return nil
}

// MarshalText writes s with the largest binary unit that divides it.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Size) String() string {
	for _, u := range units[:4] {
		if s != 0 && int64(s)%u.n == 0 {
			return strconv.FormatInt(int64(s)/u.n, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// A Duration is written "90s", "10m", "1h30m" or "7d". Zero is none.
type Duration time.Duration

// UnmarshalText reads a duration. What is none, or below zero, is a fault.Invalid.
func (d *Duration) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n <= 36500 {
			*d = Duration(time.Duration(n) * 24 * time.Hour)
			return nil
		}
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return fault.Errorf(fault.Invalid, "work: duration", "%.40q is not a duration such as 90s, 10m or 7d", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes d as it is read.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d Duration) String() string { return time.Duration(d).String() }

// A Share is how much of one processor may be used, in percent: "50%", "200%" is two. Zero is no
// bound.
type Share int

// UnmarshalText reads a share. What is none is a fault.Invalid.
func (s *Share) UnmarshalText(text []byte) error {
	num, ok := strings.CutSuffix(strings.TrimSpace(string(text)), "%")
	n, err := strconv.Atoi(strings.TrimSpace(num))
	if !ok || err != nil || n < 1 || n > 100_000 {
		return fault.Errorf(fault.Invalid, "work: share", "%.40q is not a share of a processor such as 50%% or 200%%", text)
	}
	*s = Share(n)
	return nil
}

// MarshalText writes s as it is read, and nothing for zero.
func (s Share) MarshalText() ([]byte, error) {
	if s == 0 {
		return nil, nil
	}
	return []byte(s.String()), nil
}

func (s Share) String() string { return fmt.Sprintf("%d%%", int(s)) }
