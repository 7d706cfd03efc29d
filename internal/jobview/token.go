package jobview

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
)

// TokenLife is how long a token holds.
const TokenLife = 24 * time.Hour

// Tokens makes and reads rights to run one job again, once, within a day: they are sent to people in
// notifications. Nothing is kept of them: a token says when it was made, and is signed; the job that it makes has an
// id that follows from it, so that a token makes one job however often it is used.
type Tokens struct {
	Key []byte // that only this server knows, and always the same
	Now func() time.Time
}

// Make returns a new token for a job.
func (t Tokens) Make(id jobs.ID) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(t.Now().UnixMilli()))
	b = append(b, t.sign("token", id, b)[:16]...)
	return base64.RawURLEncoding.EncodeToString(b)
}

func (t Tokens) sign(what string, id jobs.ID, made []byte) []byte {
	m := hmac.New(sha256.New, t.Key)
	m.Write([]byte(what + " " + string(id) + " "))
	m.Write(made)
	return m.Sum(nil)
}

// check returns the id of the job that the token makes. A token that is none is a fault.Refused, and one that is too
// old a fault.Gone.
func (t Tokens) check(id jobs.ID, token string) (jobs.ID, error) {
	const op = "jobview: token"
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != 8+16 || !hmac.Equal(b[8:], t.sign("token", id, b[:8])[:16]) {
		return "", fault.E(fault.Refused, op, "this is no token to run this job again")
	}
	made := time.UnixMilli(int64(binary.BigEndian.Uint64(b[:8])))
	if now := t.Now(); now.Sub(made) > TokenLife || made.Sub(now) > time.Hour {
		return "", fault.E(fault.Gone, op, "this token is older than a day; sign a request instead, or ask the operator")
	}
	random := &fixed{t.sign("job", id, b[:8])}
	return jobs.NewIDs(func() time.Time { return made }, random).Next(), nil
}

// fixed reads the same bytes each time.
type fixed struct{ b []byte }

func (f *fixed) Read(p []byte) (int, error) { return copy(p, f.b), nil }

// Redeem runs a job again for whoever has a token. One that was used is a fault.Duplicate.
func (b *Board) Redeem(ctx context.Context, tokens Tokens, id jobs.ID, token string) (View, error) {
	as, err := tokens.check(id, token)
	if err != nil {
		return View{}, err
	}
	if _, err := b.cfg.Queue.Job(ctx, as); err == nil {
		return View{}, fault.Errorf(fault.Duplicate, "jobview: token", "this token was used: job %s came of it", as)
	} else if !fault.Is(err, fault.NotFound) {
		return View{}, fault.Wrap("jobview: token", err)
	}
	return b.again(ctx, id, as, "")
}
