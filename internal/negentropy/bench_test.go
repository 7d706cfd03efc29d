package negentropy_test

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/gitroost/gitroost/internal/negentropy"
)

// BenchmarkPass compares 100,000 records that both sides have, and 100 that one lacks, both sides in
// this process. The goal is two seconds and 64 MiB.
func BenchmarkPass(b *testing.B) {
	const shared, more = 100_000, 100
	items := func(n int) []negentropy.Item {
		out := make([]negentropy.Item, n)
		for i := range out {
			var seed [8]byte
			binary.LittleEndian.PutUint64(seed[:], uint64(i))
			out[i] = negentropy.Item{At: 1_700_000_000 + uint64(i*7919%shared), ID: sha256.Sum256(seed[:])}
		}
		return out
	}
	b.ReportAllocs()
	for b.Loop() {
		server := negentropy.NewSet(items(shared + more))
		client := negentropy.NewClient(negentropy.NewSet(items(shared)), negentropy.Limits{})
		msg, need, rounds := client.Start(), 0, 0
		for msg != nil {
			answer, err := server.Answer(msg, 60_000)
			if err != nil {
				b.Fatal(err)
			}
			step, err := client.Next(answer)
			if err != nil {
				b.Fatal(err)
			}
			need, msg, rounds = need+len(step.Need), step.Next, rounds+1
		}
		if need != more {
			b.Fatalf("%d are missing, want %d", need, more)
		}
		b.ReportMetric(float64(rounds), "rounds")
	}
}
