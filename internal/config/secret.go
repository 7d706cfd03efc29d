package config

import (
	"fmt"
	"io"
	"log/slog"
)

// A Secret is a value that is never printed: every way of writing it out gives bullets. The zero
// value is no secret, and prints as nothing.
type Secret struct{ v string }

const bullets = "•••"

// NewSecret hides s.
func NewSecret(s string) Secret { return Secret{s} }

// Reveal returns what is hidden. The caller neither logs nor stores it.
func (s Secret) Reveal() string { return s.v }

// String returns bullets, or "" if there is nothing to hide.
func (s Secret) String() string {
	if s.v == "" {
		return ""
	}
	return bullets
}

// Format writes String for every verb: %#v and %d would print the fields otherwise.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// MarshalText is String, for JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue is String, for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
