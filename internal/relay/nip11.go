package relay

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
)

// Info is what the relay tells about itself (NIP-11). Empty fields fall back to a default where
// a field must be there (N-022, N-025), and are left out where it need not.
type Info struct {
	Name        string
	Description string
	PubKey      grasp.PubKey // of the operator
	Self        grasp.PubKey // of the service
	Contact     string
	Icon        string // a URL
	Version     string

	Grasps   []string // "GRASP-06" …; GRASP-01 is always told (N-024)
	NIPs     []int    // implemented elsewhere in the house, beside those of this room
	Criteria string   // repo_acceptance_criteria; default "None"
	Curation string   // only if events are curated beyond spam prevention (N-026)

	// FutureLimit is how far ahead of the clock created_at may be; default 15 minutes (N-011).
	FutureLimit time.Duration
}

// Software is the address of the source, as NIP-11 tells it.
const Software = "https://github.com/gitroost/gitroost"

const nip11Type = "application/nostr+json"

var graspName = regexp.MustCompile(`^GRASP-[0-9]{2}$`)

type document struct {
	Name        string     `json:"name"`
	Description string     `json:"description"`
	PubKey      string     `json:"pubkey,omitempty"`
	Self        string     `json:"self,omitempty"`
	Contact     string     `json:"contact,omitempty"`
	Icon        string     `json:"icon,omitempty"`
	NIPs        []int      `json:"supported_nips"`
	Grasps      []string   `json:"supported_grasps"`
	Software    string     `json:"software"`
	Version     string     `json:"version"`
	Criteria    string     `json:"repo_acceptance_criteria"`
	Curation    string     `json:"curation,omitempty"`
	Limitation  limitation `json:"limitation"`
}

// limitation holds what the relay enforces, from the same Config that enforces it (check 268).
type limitation struct {
	MaxMessage       int   `json:"max_message_length"`
	MaxSubscriptions int   `json:"max_subscriptions"`
	MaxLimit         int   `json:"max_limit"`
	DefaultLimit     int   `json:"default_limit"`
	MaxSubID         int   `json:"max_subid_length"`
	MaxEventTags     int   `json:"max_event_tags"`
	AuthRequired     bool  `json:"auth_required"`
	PaymentRequired  bool  `json:"payment_required"`
	RestrictedWrites bool  `json:"restricted_writes"`
	CreatedAtUpper   int64 `json:"created_at_upper_limit"`
}

func or(s, preset string) string {
	if strings.TrimSpace(s) == "" {
		return preset
	}
	return s
}

// SetInfo changes what the relay tells about itself, at once.
func (r *Relay) SetInfo(i Info) {
	c := r.cfg
	if i.FutureLimit == 0 {
		i.FutureLimit = c.Info.FutureLimit // it is enforced elsewhere, and does not change
	}
	c.Info = i
	b := describe(c, r.recs.keys != nil)
	r.document.Store(&b)
}

// describe writes the NIP-11 document of c (N-022 … N-027). negentropy: NIP-77 is spoken.
func describe(c Config, negentropy bool) []byte {
	i := c.Info
	d := document{
		Name:        or(i.Name, "gitroost"),
		Description: or(i.Description, "Git repositories and the Nostr events that govern them (GRASP)"),
		Contact:     i.Contact,
		Icon:        i.Icon,
		Software:    Software,
		Version:     or(i.Version, "dev"),
		Criteria:    or(i.Criteria, "None"),
		Curation:    strings.TrimSpace(i.Curation),
		Limitation: limitation{
			MaxMessage:       c.MaxMessage,
			MaxSubscriptions: c.MaxSubscriptions,
			MaxLimit:         c.MaxLimit,
			DefaultLimit:     c.DefaultLimit,
			MaxSubID:         c.MaxSubID,
			MaxEventTags:     c.MaxTags,
			RestrictedWrites: true, // only what concerns a repository here is taken
			CreatedAtUpper:   int64(i.FutureLimit / time.Second),
		},
	}
	if d.Limitation.CreatedAtUpper <= 0 {
		d.Limitation.CreatedAtUpper = 900
	}
	if grasp.IsHex(string(i.PubKey), 64) {
		d.PubKey = string(i.PubKey)
	}
	if grasp.IsHex(string(i.Self), 64) {
		d.Self = string(i.Self)
	}
	d.NIPs = append([]int{1, 9, 11, 34, 40, 42, 45, 70}, i.NIPs...)
	if c.Search {
		d.NIPs = append(d.NIPs, 50)
	}
	if negentropy {
		d.NIPs = append(d.NIPs, 77)
	}
	slices.Sort(d.NIPs)
	d.NIPs = slices.Compact(d.NIPs)
	d.Grasps = append([]string{"GRASP-01"}, i.Grasps...)
	d.Grasps = slices.DeleteFunc(d.Grasps, func(s string) bool { return !graspName.MatchString(s) })
	slices.Sort(d.Grasps)
	d.Grasps = slices.Compact(d.Grasps)

	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(d); err != nil {
		panic("relay: NIP-11: " + err.Error()) // strings and numbers always encode
	}
	return b.Bytes()
}

// WantsNIP11 reports whether req asks for the NIP-11 document: its Accept header names
// application/nostr+json anywhere, in any case (N-021).
func WantsNIP11(req *http.Request) bool {
	for _, v := range req.Header.Values("Accept") {
		if strings.Contains(strings.ToLower(v), nip11Type) {
			return true
		}
	}
	return false
}

// NIP11 answers GET and HEAD with the NIP-11 document, and other methods with 405 (N-021). CORS
// headers are the caller's.
func (r *Relay) NIP11(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h.Add("Vary", "Accept")
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD, OPTIONS")
		http.Error(w, "use GET", http.StatusMethodNotAllowed)
		return
	}
	doc := *r.document.Load()
	h.Set("Content-Type", nip11Type)
	h.Set("Content-Length", strconv.Itoa(len(doc)))
	if req.Method == http.MethodHead {
		return
	}
	w.Write(doc)
}
