package hook

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gitroost/gitroost/internal/durable"
	"github.com/gitroost/gitroost/internal/fault"
)

// An Off is a receiver to which nothing is sent any more.
type Off struct {
	Name  string    `json:"name"` // of the target, or of the job
	Since time.Time `json:"since"`
}

// maxOff is how many receivers are remembered; who has more has another problem.
const maxOff = 10_000

// Switches remembers, in one file, which receivers answered 410 Gone. A nil *Switches remembers
// nothing. Its methods are safe for concurrent use.
type Switches struct {
	path string

	mu  sync.Mutex
	off map[string]Off // by the hash of the address, which may be a secret
}

// OpenSwitches reads the file at path, which need not be there. One that cannot be read is an error.
func OpenSwitches(path string) (*Switches, error) {
	s := &Switches{path: path, off: map[string]Off{}}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &s.off)
	}
	if err != nil {
		return nil, fault.Wrap("hook: switches", err)
	}
	return s, nil
}

func keyOf(address string) string {
	sum := sha256.Sum256([]byte(address))
	return hex.EncodeToString(sum[:])
}

// Is reports whether nothing is sent to address, and since when.
func (s *Switches) Is(address string) (Off, bool) {
	if s == nil {
		return Off{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	off, ok := s.off[keyOf(address)]
	return off, ok
}

// TurnOff notes that nothing is sent to address any more.
func (s *Switches) TurnOff(address, name string, now time.Time) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := keyOf(address)
	if _, known := s.off[key]; known {
		return nil
	}
	if len(s.off) >= maxOff {
		return fault.E(fault.TooLarge, "hook: switch off", "too many receivers are switched off")
	}
	next := maps.Clone(s.off)
	next[key] = Off{name, now.UTC()}
	return s.keep(next)
}

// TurnOn has deliveries to everything of that name sent again, and reports how many there were.
func (s *Switches) TurnOn(name string) (int, error) {
	if s == nil {
		return 0, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := maps.Clone(s.off)
	maps.DeleteFunc(next, func(_ string, off Off) bool { return off.Name == name })
	n := len(s.off) - len(next)
	if n == 0 {
		return 0, nil
	}
	return n, s.keep(next)
}

// List returns what is switched off, by name.
func (s *Switches) List() []Off {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.off), func(a, b Off) int { return strings.Compare(a.Name, b.Name) })
}

func (s *Switches) keep(next map[string]Off) error {
	data, err := json.Marshal(next)
	if err != nil {
		return fault.Wrap("hook: switches", err)
	}
	if err := durable.WriteFile(filepath.Clean(s.path), data, 0o600); err != nil {
		return fault.Wrap("hook: switches", err)
	}
	s.off = next
	return nil
}
