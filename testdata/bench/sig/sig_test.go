// Package sig compares what verifies a signature of BIP-340 without cgo.
package sig

import (
	"crypto/sha256"
	"fmt"
	"math/big"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	gnark "github.com/consensys/gnark-crypto/ecc/secp256k1"
	"github.com/consensys/gnark-crypto/ecc/secp256k1/fp"
	"github.com/consensys/gnark-crypto/ecc/secp256k1/fr"
	"github.com/gitroost/gitroost/internal/bip340"
	"gitlab.com/yawning/secp256k1-voi/secec/bitcoin"
)

// BenchmarkVerify gives each the same 16 signatures by 16 keys, in turn.
func BenchmarkVerify(b *testing.B) {
	msg := sha256.Sum256([]byte("measured"))
	var keys [16][32]byte
	var sigs [16][64]byte
	for i := range keys {
		secret := sha256.Sum256([]byte(fmt.Sprint(i)))
		k, pub := btcec.PrivKeyFromBytes(secret[:])
		s, err := schnorr.Sign(k, msg[:])
		if err != nil {
			b.Fatal(err)
		}
		copy(keys[i][:], schnorr.SerializePubKey(pub))
		copy(sigs[i][:], s.Serialize())
	}
	for _, c := range []struct {
		name   string
		verify func(key, msg *[32]byte, sig *[64]byte) bool
	}{
		{"btcec", withBtcec}, {"voi", withVoi}, {"gnark", withGnark}, {"gitroost", bip340.Verify},
	} {
		b.Run(c.name, func(b *testing.B) {
			i := 0
			for b.Loop() {
				if !c.verify(&keys[i%16], &msg, &sigs[i%16]) {
					b.Fatal("refused")
				}
				i++
			}
		})
	}
}

func withBtcec(key, msg *[32]byte, sig *[64]byte) bool {
	pub, err := schnorr.ParsePubKey(key[:])
	if err != nil {
		return false
	}
	s, err := schnorr.ParseSignature(sig[:])
	return err == nil && s.Verify(msg[:], pub)
}

func withVoi(key, msg *[32]byte, sig *[64]byte) bool {
	pub, err := bitcoin.NewSchnorrPublicKey(key[:])
	return err == nil && pub.Verify(msg[:], sig[:])
}

// withGnark uses what gnark-crypto offers for two scalars and two points.
func withGnark(key, msg *[32]byte, sig *[64]byte) bool {
	var p gnark.G1Affine
	p.X.SetBytes(key[:])
	var y, seven fp.Element
	seven.SetUint64(7)
	y.Square(&p.X).Mul(&y, &p.X).Add(&y, &seven)
	if p.Y.Sqrt(&y) == nil {
		return false
	}
	if b := p.Y.Bytes(); b[31]&1 == 1 {
		p.Y.Neg(&p.Y)
	}
	tag := sha256.Sum256([]byte("BIP0340/challenge"))
	h := sha256.New()
	for _, part := range [][]byte{tag[:], tag[:], sig[:32], key[:], msg[:]} {
		h.Write(part)
	}
	var e, s fr.Element
	e.SetBytes(h.Sum(nil))
	e.Neg(&e)
	s.SetBytes(sig[32:])
	var eInt, sInt big.Int
	var sum gnark.G1Jac
	sum.JointScalarMultiplicationBase(&p, s.BigInt(&sInt), e.BigInt(&eInt))
	var r gnark.G1Affine
	r.FromJacobian(&sum)
	x, ry := r.X.Bytes(), r.Y.Bytes()
	return [32]byte(sig[:32]) == x && ry[31]&1 == 0
}
