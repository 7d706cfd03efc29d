package hook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// A Secret is what a receiver and this server both know, as it was agreed on: "whsec_" and base64, as
// Standard Webhooks has it, or any other text.
type Secret string

// ReadSecret reads a secret as it lies in a file: without the line's end. One that is empty, or that
// begins with whsec_ and is not base64 after it, is a fault.Invalid.
func ReadSecret(b []byte) (Secret, error) {
	s := Secret(strings.TrimRight(string(b), "\r\n"))
	if s == "" {
		return "", fault.E(fault.Invalid, "hook: secret", "the secret is empty")
	}
	_, err := s.key()
	return s, err
}

// key returns the key for Standard Webhooks. GitHub and Gitea take the text as it is.
func (s Secret) key() ([]byte, error) {
	coded, ok := strings.CutPrefix(string(s), "whsec_")
	if !ok {
		return []byte(s), nil
	}
	key, err := base64.StdEncoding.DecodeString(coded)
	if err != nil || len(key) == 0 {
		return nil, fault.E(fault.Invalid, "hook: secret", "a secret that begins with whsec_ goes on in base64; this one does not")
	}
	return key, nil
}

func mac(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

// Standard returns webhook-signature of Standard Webhooks: a signature by each secret, and by key
// unless it is nil, over id, time and body.
func Standard(id string, at time.Time, body []byte, secrets []Secret, key ed25519.PrivateKey) (string, error) {
	seconds := strconv.FormatInt(at.Unix(), 10)
	var out []string
	for _, s := range secrets {
		k, err := s.key()
		if err != nil {
			return "", err
		}
		out = append(out, "v1,"+base64.StdEncoding.EncodeToString(mac(k, id, ".", seconds, ".", string(body))))
	}
	if key != nil {
		signed := ed25519.Sign(key, fmt.Appendf(nil, "%s.%s.%s", id, seconds, body))
		out = append(out, "v1a,"+base64.StdEncoding.EncodeToString(signed))
	}
	return strings.Join(out, " "), nil
}

// Hex returns the signature that GitHub and Gitea send, in hexadecimal.
func Hex(s Secret, body []byte) string { return hex.EncodeToString(mac([]byte(s), string(body))) }

// PublicKey returns key's public half as receivers are told: "whpk_" and base64.
func PublicKey(key ed25519.PrivateKey) string {
	return "whpk_" + base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
}

// DeriveKey returns the key that signs webhooks of a server with this secret of its own, 32 bytes. It
// says nothing about that secret.
func DeriveKey(secret []byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(mac(secret, "gitroost webhooks v1a"))
}

// sign writes the headers that say who sent body, and what it is.
func (d *Doer) sign(h http.Header, id string, at time.Time, kind event, body []byte, secrets []Secret) error {
	signature, err := Standard(id, at, body, secrets, d.cfg.Key)
	if err != nil {
		return err
	}
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", strconv.FormatInt(at.Unix(), 10))
	if signature != "" {
		h.Set("Webhook-Signature", signature)
	}
	h.Set("X-Gitroost-Event", kind.name)
	h.Set("X-Gitroost-Delivery", id)
	h.Set("X-GitHub-Event", kind.github)
	h.Set("X-GitHub-Delivery", id)
	h.Set("X-Gitea-Event", kind.gitea)
	h.Set("X-Gitea-Delivery", id)
	if len(secrets) > 0 { // these have room for one: the new
		sum := Hex(secrets[0], body)
		h.Set("X-Hub-Signature-256", "sha256="+sum)
		h.Set("X-Gitea-Signature", sum)
	}
	return nil
}
