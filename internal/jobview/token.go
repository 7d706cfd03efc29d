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

// Token returns the right to run one job again, once, within a day: a word that is sent to people in
// notifications, for POST /jobs/<id>/retry?t=<word>. Nothing is kept of it: it says when it was made, and is signed; the job
// that it makes has an id that follows from it, so that it makes one job however often it is used. It is "" if the board
// has no key.
func (b *Board) Token(id jobs.ID) string {
	if len(b.cfg.TokenKey) == 0 {
		return ""
	}
	t := binary.BigEndian.AppendUint64(nil, uint64(b.cfg.Clock.Now().UnixMilli()))
	t = append(t, b.sign("token", id, t)[:16]...)
	return base64.RawURLEncoding.EncodeToString(t)
}

func (b *Board) sign(what string, id jobs.ID, made []byte) []byte {
	m := hmac.New(sha256.New, b.cfg.TokenKey)
	m.Write([]byte(what + " " + string(id) + " "))
	m.Write(made)
	return m.Sum(nil)
}

// checkToken returns the id of the job that the token makes. A token that is none is a fault.Refused, and one that is too
// old a fault.Gone.
func (b *Board) checkToken(id jobs.ID, token string) (jobs.ID, error) {
	const op = "jobview: token"
	t, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b.cfg.TokenKey) == 0 || len(t) != 8+16 || !hmac.Equal(t[8:], b.sign("token", id, t[:8])[:16]) {
		return "", fault.E(fault.Refused, op, "this is no token to run this job again")
	}
	made := time.UnixMilli(int64(binary.BigEndian.Uint64(t[:8])))
	if now := b.cfg.Clock.Now(); now.Sub(made) > TokenLife || made.Sub(now) > time.Hour {
		return "", fault.E(fault.Gone, op, "this token is older than a day; sign a request instead, or ask the operator")
	}
	random := &fixed{b.sign("job", id, t[:8])}
	return jobs.NewIDs(func() time.Time { return made }, random).Next(), nil
}

// fixed reads the same bytes each time.
type fixed struct{ b []byte }

func (f *fixed) Read(p []byte) (int, error) { return copy(p, f.b), nil }

// Redeem runs a job again for whoever has a token. One that was used is a fault.Duplicate.
func (b *Board) Redeem(ctx context.Context, id jobs.ID, token string) (View, error) {
	as, err := b.checkToken(id, token)
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
