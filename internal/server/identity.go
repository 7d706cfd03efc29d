package server

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/bip340"
	"github.com/gitroost/gitroost/internal/durable"
	"github.com/gitroost/gitroost/internal/fault"
)

// identity returns the key by which the server itself is known. It is made at the first start and
// kept in the data folder, readable by the owner of the process only. As long as the operator
// names no key of their own, it also stands for them (N-022).
func identity(data string) (grasp.PubKey, error) {
	const op = "server: identity"
	secret, err := secretKey(data)
	if err != nil {
		return "", err
	}
	var raw [32]byte
	if _, err := hex.Decode(raw[:], []byte(secret)); err != nil {
		return "", fault.Wrap(op, err)
	}
	// Not by the library that signs: it first makes tables, which takes longer than all else at a start.
	key, ok := bip340.PublicKey(&raw)
	if !ok {
		return "", fault.Errorf(fault.Invalid, op, "%s does not hold a usable key; restore it, or remove it to get a new one", filepath.Join(data, "server.key"))
	}
	return grasp.PubKey(hex.EncodeToString(key[:])), nil
}

// secretKey returns the server's own key, 64 hex digits, and makes it if there is none.
func secretKey(data string) (string, error) {
	const op = "server: identity"
	path := filepath.Join(data, "server.key")
	b, err := os.ReadFile(path)
	switch {
	case err == nil:
	case os.IsNotExist(err):
		b = []byte(nostr.GeneratePrivateKey() + "\n")
		if err := durable.WriteFile(path, b, 0o600); err != nil {
			return "", fault.Wrap(op, err)
		}
	default:
		return "", fault.Errorf(fault.Invalid, op, "cannot read %s: %v", path, err)
	}
	secret := strings.TrimSpace(string(b))
	if !grasp.IsHex(secret, 64) {
		return "", fault.Errorf(fault.Invalid, op, "%s does not hold a key of 64 hex digits; restore it, or remove it to get a new one", path)
	}
	return secret, nil
}

// tokenKey returns a key that only this server knows and that stays the same, made from its own: for rights to run a job
// again.
func tokenKey(data string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(data, "server.key"))
	if err != nil {
		return nil, fault.Wrap("server: identity", err)
	}
	m := hmac.New(sha256.New, bytes.TrimSpace(b))
	m.Write([]byte("gitroost: rights to run a job again"))
	return m.Sum(nil), nil
}
