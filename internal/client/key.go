package client

import (
	"bufio"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// demoMark is a line of key files that demonstrations make.
const demoMark = "# made by gitroost demo: not for servers that others can reach"

// maxKeyFile is the size of the largest key file, in bytes.
const maxKeyFile = 4096

// A Key signs. It prints as its public half.
type Key struct {
	secret string // 64 hex digits
	public grasp.PubKey

	// Demo marks a key made for a demonstration. Push and Announce refuse it on servers that
	// others can reach.
	Demo bool
}

// NewKey returns a new random key.
func NewKey() (Key, error) { return fromHex(nostr.GeneratePrivateKey()) }

// ParseKey reads a secret key: nsec1… or 64 hex digits.
func ParseKey(s string) (Key, error) {
	const op = "client: key"
	s = strings.TrimSpace(s)
	switch {
	case strings.HasPrefix(s, "npub1"):
		return Key{}, fault.E(fault.Invalid, op, "this is a public key (npub); signing needs the secret one (nsec)")
	case strings.HasPrefix(s, "nsec1"):
		kind, v, err := nip19.Decode(s)
		secret, ok := v.(string)
		if err != nil || kind != "nsec" || !ok {
			return Key{}, fault.E(fault.Invalid, op, "this nsec is damaged: its checksum is wrong")
		}
		return fromHex(secret)
	}
	return fromHex(strings.ToLower(s))
}

func fromHex(secret string) (Key, error) {
	const op = "client: key"
	if !grasp.IsHex(secret, 64) {
		return Key{}, fault.E(fault.Invalid, op, "a key is nsec1… or 64 hex digits")
	}
	raw, _ := hex.DecodeString(secret)
	var scalar btcec.ModNScalar
	outside := scalar.SetByteSlice(raw) || scalar.IsZero()
	public, err := nostr.GetPublicKey(secret)
	if err != nil || outside {
		return Key{}, fault.E(fault.Invalid, op, "this number cannot be a key")
	}
	return Key{secret: secret, public: grasp.PubKey(public)}, nil
}

// Public returns the public key.
func (k Key) Public() grasp.PubKey { return k.public }

// Nsec returns the secret in its NIP-19 form. Whoever calls it must not log it.
func (k Key) Nsec() string {
	s, err := nip19.EncodePrivateKey(k.secret)
	if err != nil {
		return "" // unreachable: the secret is hex
	}
	return s
}

// String returns the npub: the secret is never printed by accident.
func (k Key) String() string { return k.public.Npub() }

// GoString is String.
func (k Key) GoString() string { return k.String() }

// Sign fills in author, id and signature of ev.
func (k Key) Sign(ev *nostr.Event) error {
	if ev.Tags == nil {
		ev.Tags = nostr.Tags{}
	}
	return fault.Wrap("client: sign", ev.Sign(k.secret))
}

// File returns what a key file holds: comments, and the nsec.
func (k Key) File() string {
	var b strings.Builder
	if k.Demo {
		b.WriteString(demoMark + "\n")
	}
	b.WriteString("# public key: " + k.public.Npub() + "\n" + k.Nsec() + "\n")
	return b.String()
}

// Save writes k to a new file that only its owner can read. An existing file is not touched.
func (k Key) Save(path string) error {
	const op = "client: save key"
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fault.Errorf(fault.Invalid, op, "%s is there already; a key that is overwritten is lost, so choose another name", path)
	}
	if err != nil {
		return fault.Errorf(fault.Invalid, op, "cannot write %s: %v", path, errors.Unwrap(err))
	}
	_, err = io.WriteString(f, k.File())
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(path)
		return fault.Errorf(fault.Invalid, op, "cannot write %s: %v", path, err)
	}
	return nil
}

// LoadKey reads a key file: lines beginning with # are comments, one line is the key. A file that
// others can read is refused, with the command that mends it.
func LoadKey(path string) (Key, error) {
	const op = "client: load key"
	f, err := os.Open(path)
	if err != nil {
		return Key{}, fault.Errorf(fault.Invalid, op, "cannot read the key file %s: %v; make one with: gitroost key new --out %[1]s", path, errors.Unwrap(err))
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Key{}, fault.Wrap(op, err)
	}
	if st.Mode().IsRegular() && st.Mode().Perm()&0o077 != 0 {
		return Key{}, fault.Errorf(fault.Invalid, op, "others can read the key file %s (mode %04o); close it with: chmod 600 %[1]s", path, st.Mode().Perm())
	}
	k, err := readKey(f)
	if err != nil {
		return Key{}, fault.Errorf(fault.Invalid, op, "%s: %s", path, message(err))
	}
	return k, nil
}

func readKey(r io.Reader) (Key, error) {
	var k Key
	demo, found := false, false
	lines := bufio.NewScanner(io.LimitReader(r, maxKeyFile))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == demoMark:
			demo = true
		case line == "" || line[0] == '#':
		case found:
			return Key{}, fault.E(fault.Invalid, "client: key", "more than one key in the file")
		default:
			var err error
			if k, err = ParseKey(line); err != nil {
				return Key{}, err
			}
			found = true
		}
	}
	if err := lines.Err(); err != nil {
		return Key{}, err
	}
	if !found {
		return Key{}, fault.E(fault.Invalid, "client: key", "no key in the file")
	}
	k.Demo = demo
	return k, nil
}

// message is what a person may read of err.
func message(err error) string {
	if fault.Is(err, fault.Internal) {
		return err.Error()
	}
	text, _ := fault.Message(err)
	return text
}
