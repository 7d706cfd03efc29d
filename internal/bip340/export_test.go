package bip340

import (
	"math/big"

	"github.com/consensys/gnark-crypto/ecc/secp256k1"
)

// LetFamiliar bounds how many keys are familiar at a time, for a test.
func LetFamiliar(n int) {
	k := &once().keys
	k.mu.Lock()
	defer k.mu.Unlock()
	k.most = n
}

// Chain adds multiples of G one after another, those below zero by subtracting, as Verify does for keys that are
// familiar, and returns the sum, which is zero bytes at infinity. None may be zero.
func Chain(multiples []int64) (x, y [32]byte) {
	var r sum
	for _, m := range multiples {
		var p secp256k1.G1Affine
		p.ScalarMultiplicationBase(big.NewInt(max(m, -m)))
		r.add(&p, m < 0)
	}
	j := r.jacobian()
	if j.Z.IsZero() {
		return x, y
	}
	var p secp256k1.G1Affine
	p.FromJacobian(&j)
	return p.X.Bytes(), p.Y.Bytes()
}
