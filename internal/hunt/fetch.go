package hunt

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/dial"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

// once tries every place for everything that an identifier lacks.
func (h *Hunter) once(ctx context.Context, q *quarry) (res result) {
	lacks, err := h.desk.Missing(ctx, q.ID)
	if err != nil {
		if ctx.Err() == nil {
			h.log.Warn("cannot find out what is missing", "repo", q.ID, "err", err)
		}
		res.trouble = message(err)
		return res
	}
	h.mu.Lock()
	q.shut = nil
	h.mu.Unlock()
	res.over = true
	for _, l := range lacks {
		res.lacking += len(l.Objects)
		if ctx.Err() == nil && h.lack(ctx, q, l, &res) {
			res.over = false
		}
	}
	if res.called {
		res.full = ""
	}
	return res
}

// A remote is a place that may be called.
type remote struct {
	url dial.RemoteURL
	by  grasp.PubKey
}

// remotes returns the places of l that are worth a call, once each: never ourselves (G02-03), nor what
// is no URL of a git server (G02-14).
func (h *Hunter) remotes(l steward.Lack) []remote {
	var out []remote
	for _, p := range l.Places {
		u, err := dial.ParseRemote(p.URL, h.way.Plain())
		if err != nil || h.way.Ours(u) {
			continue
		}
		if !slices.ContainsFunc(out, func(r remote) bool { return same(r.url, u) }) {
			out = append(out, remote{u, p.By})
		}
	}
	return out
}

// same reports whether two URLs name one repository, as servers have it.
func same(a, b dial.RemoteURL) bool {
	plain := func(u dial.RemoteURL) string {
		return strings.TrimSuffix(strings.TrimRight(u.String(), "/"), ".git")
	}
	return plain(a) == plain(b)
}

// lack tries every place for what one repository lacks, and reports whether anything is left to do.
func (h *Hunter) lack(ctx context.Context, q *quarry, l steward.Lack, res *result) (left bool) {
	remotes := h.remotes(l)
	if len(remotes) == 0 {
		return false
	}
	h.await(ctx, q, l)
	size := h.cfg.MaxBytes
	if !l.States {
		size = h.cfg.MaxPullBytes
	}
	room, bounded, err := h.desk.Room(ctx, l.Repo, !l.States)
	switch {
	case err != nil:
		res.trouble = message(err)
		return true
	case bounded && room <= 0:
		res.trouble = "there is no room left for this repository"
		return true
	case bounded:
		size = min(size, room)
	}
	defer h.desk.Hold(l.Waiting)()
	missing := slices.Clone(l.Objects)
	for _, r := range remotes {
		if len(missing) == 0 || ctx.Err() != nil {
			break
		}
		if h.isLater(q, r.url) {
			continue
		}
		got, err := h.from(ctx, q, l, r, missing, size)
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			res.trouble = r.url.Host() + ": " + message(err)
			if after, used := dial.RetryAfter(err); used {
				res.full, res.after = r.url.Host(), after
			} else {
				res.called = true
				h.wasShut(q, r.url.Host())
			}
			if hopeless(err) {
				h.putOff(q, r.url)
			}
			h.log.Debug("git data could not be fetched", "repo", l.Repo.String(), "peer", r.url.Host(), "err", err)
			continue
		}
		res.found, res.called = true, true
		missing = slices.DeleteFunc(missing, func(o grasp.OID) bool { return slices.Contains(got, o) })
		l.Have = append(l.Have, got...)
	}
	return len(missing) > 0 || ctx.Err() != nil
}

// await lets what waits for l wait longer, once.
func (h *Hunter) await(ctx context.Context, q *quarry, l steward.Lack) {
	if h.cfg.Wait <= 0 || l.Since.IsZero() {
		return
	}
	asked := fmt.Sprint(l.Repo, l.Since, l.Waiting)
	h.mu.Lock()
	again := q.awaited == asked
	h.mu.Unlock()
	if again {
		return
	}
	if err := h.desk.Await(ctx, q.ID, l.Waiting, l.Since.Add(h.cfg.Wait)); err != nil {
		if ctx.Err() == nil {
			h.log.Warn("cannot let events wait longer", "repo", q.ID, "err", err)
		}
		return
	}
	h.mu.Lock()
	q.awaited = asked
	h.mu.Unlock()
}

// from fetches from one remote what it has of missing, and has the desk adopt it.
func (h *Hunter) from(ctx context.Context, q *quarry, l steward.Lack, r remote, missing []grasp.OID, size int64) (got []grasp.OID, err error) {
	began := h.cfg.Now()
	proxy, err := h.way.Proxy(ctx, r.url, dial.Task{Name: "fetch " + l.Repo.String(), Author: string(r.by), Bytes: size, Wall: h.cfg.Time})
	if err != nil {
		return nil, err
	}
	defer proxy.Close()
	at := r.url.String()
	h.mu.Lock()
	q.remote, q.began, q.read, q.line = at, began, proxy.Read, ""
	tried := q.tried[at]
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.bytes += proxy.Read()
		if err != nil {
			h.failed++
		} else {
			h.found++
		}
	}()
	// A fetch that its way out has ended has nothing more to wait for.
	fetchCtx, cancel := context.WithTimeout(ctx, h.cfg.Time+time.Minute)
	defer cancel()
	out, err := h.cellar.Fetch(fetchCtx, l.Repo, steward.Fetching{
		Remote: r.url, Proxy: proxy.URL(), Wants: missing, Haves: l.Have, Pulls: l.Pulls, Tried: tried,
		MaxBytes: size, MaxObjects: h.cfg.MaxObjects, Progress: func(line string) { h.progress(q, line) },
	})
	h.remember(q, at, out.Tips)
	if err != nil {
		if limit := proxy.Err(); limit != nil {
			err = limit
		}
		return nil, err
	}
	defer out.Quarantine.Discard()
	if err := h.desk.Adopt(ctx, l.Repo, out.Quarantine, !l.States); err != nil {
		if ctx.Err() == nil && !fault.Is(err, fault.Refused) {
			h.log.Warn("fetched objects were not taken", "repo", l.Repo.String(), "err", err)
		}
		return nil, err
	}
	h.log.Info("fetched", "repo", l.Repo.String(), "peer", r.url.Host(), "objects", len(out.Got), "missing", len(missing)-len(out.Got),
		"bytes", proxy.Read(), "took", h.cfg.Now().Sub(began))
	return out.Got, nil
}

// remember keeps which refs a remote showed when it did not have everything.
func (h *Hunter) remember(q *quarry, at, tips string) {
	if tips == "" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if q.tried == nil || len(q.tried) > 2*steward.MaxPlaces {
		q.tried = map[string]string{}
	}
	q.tried[at] = tips
}

// hopeless reports whether the same call will fail the same way for some time: it is forbidden, sent
// more than is taken, or what must not come in. Each may have cost others much.
func hopeless(err error) bool {
	return dial.IsForbidden(err) || fault.Is(err, fault.TooLarge) || fault.Is(err, fault.Refused)
}

// wasShut remembers that a host could not be asked.
func (h *Hunter) wasShut(q *quarry, host string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if q.shut == nil {
		q.shut = map[string]bool{}
	}
	q.shut[host] = true // at most steward.MaxPlaces
}

// putOff has a remote called again only within the hour.
func (h *Hunter) putOff(q *quarry, u dial.RemoteURL) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if q.later == nil || len(q.later) > 2*steward.MaxPlaces {
		q.later = map[string]time.Time{}
	}
	q.later[u.String()] = h.cfg.Now().Add(hourly)
}

func (h *Hunter) isLater(q *quarry, u dial.RemoteURL) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cfg.Now().Before(q.later[u.String()])
}

// maxProgress is how much of a line of git's is shown, in bytes.
const maxProgress = 200

func (h *Hunter) progress(q *quarry, line string) {
	line = strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, line[:min(len(line), maxProgress)])
	h.mu.Lock()
	defer h.mu.Unlock()
	q.line = line
}

// message says what went wrong in one line, for the operator.
func message(err error) string {
	text, _ := fault.Message(err)
	return text
}
