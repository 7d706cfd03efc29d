package negentropy

import (
	"github.com/gitroost/gitroost/internal/fault"
)

const (
	buckets = 16          // parts into which a range is split
	few     = 2 * buckets // a range of fewer records is told by its ids
)

var end = bound{at: infinity}

// Answer returns what the side that was asked says to msg, in at most frame bytes. To another
// version than ours it is one byte, the highest version spoken here; to a message that is not
// well formed it is an error of code Invalid. (N-043)
func (s *Set) Answer(msg []byte, frame int) ([]byte, error) {
	if len(msg) == 0 {
		return nil, malformed("it is empty")
	}
	if msg[0] != Version {
		return []byte{Version}, nil
	}
	return s.reconcile(msg[1:], frame, nil)
}

// reconcile goes through the ranges of a message and says of each what there is to say. learn is
// told what the other side has in a range; without it, the other side is answered with our ids.
func (s *Set) reconcile(ranges []byte, frame int, learn func(lower, upper int, ids []byte) error) ([]byte, error) {
	frame = max(frame, MinFrame) - maxTail
	r := reader{b: ranges}
	w := writer{b: []byte{Version}}
	skipping := false // what was skipped last is not written yet: skips that touch become one
	lower := 0
	for len(r.b) > 0 {
		from := r.last
		to, err := r.bound()
		if err != nil {
			return nil, err
		}
		mode, err := r.varint()
		if err != nil {
			return nil, err
		}
		upper := s.find(lower, &to)
		flush := func() {
			if skipping {
				w.skip(&from)
			}
			skipping = false
		}
		rest := func(i int) []byte { // of what comes after the frame only the fingerprint is sent
			flush()
			w.fingerprint(&end, s.fingerprint(i, len(s.items)))
			return w.b
		}
		switch mode {
		case modeSkip:
			skipping = true
		case modeFingerprint:
			theirs, err := r.fingerprint()
			switch {
			case err != nil:
				return nil, err
			case theirs == s.fingerprint(lower, upper):
				skipping = true
			case len(w.b)+maxSplit > frame:
				return rest(lower), nil
			default:
				flush()
				s.split(&w, lower, upper, &to)
			}
		case modeIDs:
			ids, err := r.ids()
			if err != nil {
				return nil, err
			}
			if learn != nil {
				if err := learn(lower, upper, ids); err != nil {
					return nil, err
				}
				skipping = true
				break
			}
			fit := (frame - len(w.b) - maxBound - 1 - maxVarint) / len(ID{})
			if fit < 1 {
				return rest(lower), nil
			}
			flush()
			if fit < upper-lower {
				cut := s.boundBefore(lower + fit)
				w.ids(&cut, s.items[lower:lower+fit])
				return rest(lower + fit), nil
			}
			w.ids(&to, s.items[lower:upper])
		default:
			return nil, malformed("it has a range of unknown mode")
		}
		lower = upper
	}
	return w.b, nil
}

// split says what there is from lower to upper, which the other side has otherwise: the ids if
// they are few, else fingerprints of its parts.
func (s *Set) split(w *writer, lower, upper int, to *bound) {
	n := upper - lower
	if n < few {
		w.ids(to, s.items[lower:upper])
		return
	}
	for i := range buckets {
		next, b := lower+n/buckets, *to
		if i < n%buckets {
			next++
		}
		if i < buckets-1 {
			b = s.boundBefore(next)
		}
		w.fingerprint(&b, s.fingerprint(lower, next))
		lower = next
	}
}

// Limits bound what a Client does for a server it does not know. A zero field means its default.
type Limits struct {
	Frame  int // bytes of a message; default 60,000
	Rounds int // answers until it is given up; default 10,000
	Need   int // ids to learn until it is given up; default 1,000,000
}

// A Client is the side that starts and learns. It belongs to one goroutine.
type Client struct {
	set    *Set
	lim    Limits
	rounds int
	had    []uint64 // one bit for each of our items: said already
	needed map[ID]struct{}
}

// NewClient returns a client that compares set with what a server has.
func NewClient(set *Set, lim Limits) *Client {
	preset := func(v *int, n int) {
		if *v <= 0 {
			*v = n
		}
	}
	preset(&lim.Frame, 60_000)
	preset(&lim.Rounds, 10_000)
	preset(&lim.Need, 1_000_000)
	return &Client{set: set, lim: lim, had: make([]uint64, len(set.items)/64+1), needed: make(map[ID]struct{})}
}

// Start returns the first message.
func (c *Client) Start() []byte {
	w := writer{b: []byte{Version}}
	c.set.split(&w, 0, len(c.set.items), &end)
	return w.b
}

// A Step is what one answer taught.
type Step struct {
	Have []ID   // ours that the server lacks
	Need []ID   // the server's that we lack
	Next []byte // the message to send next; nil: everything is known
}

// Next reads the server's answer. No id is told twice, whatever the server repeats. The error is
// Invalid if the answer is malformed or of another version, TooLarge if a limit is reached; in
// either case the reconciliation is over.
func (c *Client) Next(msg []byte) (step Step, err error) {
	switch {
	case len(msg) == 0:
		return Step{}, malformed("it is empty")
	case msg[0] != Version:
		return Step{}, malformed("it is of another version than 1")
	case c.rounds == c.lim.Rounds:
		return Step{}, fault.Errorf(fault.TooLarge, "negentropy: next", "no end after %d answers", c.rounds)
	}
	c.rounds++
	next, err := c.set.reconcile(msg[1:], c.lim.Frame, func(lower, upper int, ids []byte) error {
		theirs := make(map[ID]struct{}, len(ids)/len(ID{}))
		for ; len(ids) > 0; ids = ids[len(ID{}):] {
			theirs[ID(ids[:len(ID{})])] = struct{}{}
		}
		for i := lower; i < upper; i++ {
			id := c.set.items[i].ID
			if _, both := theirs[id]; both {
				delete(theirs, id)
				continue
			}
			if word, bit := &c.had[i/64], uint64(1)<<(i%64); *word&bit == 0 {
				*word |= bit
				step.Have = append(step.Have, id)
			}
		}
		for id := range theirs {
			if _, known := c.needed[id]; known {
				continue
			}
			if len(c.needed) == c.lim.Need {
				return fault.Errorf(fault.TooLarge, "negentropy: next", "more than %d records are missing here", c.lim.Need)
			}
			c.needed[id] = struct{}{}
			step.Need = append(step.Need, id)
		}
		return nil
	})
	if err != nil {
		return Step{}, err
	}
	if len(next) > 1 {
		step.Next = next
	}
	return step, nil
}
