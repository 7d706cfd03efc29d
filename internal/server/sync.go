package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/dial"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/relay"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store"
	"github.com/gitroost/gitroost/internal/syncer"
)

// syncEvery is how often the syncer looks what is due.
const syncEvery = 500 * time.Millisecond

// buildSync makes the syncer, if the operator wants one.
func (s *Server) buildSync(site grasp.Site) {
	if !s.cfg.Sync.Enabled {
		return
	}
	var plus syncer.Society
	if s.cfg.Sync.Plus {
		plus = s.store
	}
	s.sync = syncer.New(syncer.Config{
		Plus: plus, Outboxes: s.cfg.Sync.Outboxes,
		Site: site, Now: s.now, Synced: s.synced, Reached: s.reached, StartDelay: s.cfg.Sync.Delay, MaxPeers: s.cfg.Sync.Peers, Relays: s.cfg.Sync.Relays, Plain: s.cfg.Outward.HTTP,
		MaxEvent: int(max(s.cfg.Limits.Event, s.cfg.Limits.StateEvent)),
	}, importer{s}, shelves{s.store}, peerDialer{s.way}, peerBook{s.store}, s.log.With("room", "syncer"))
}

// runSync works until ctx ends.
func (s *Server) runSync(ctx context.Context) error {
	if s.sync == nil {
		return nil
	}
	t := time.NewTicker(syncEvery)
	defer t.Stop()
	return s.sync.Run(ctx, t.C)
}

// visible tells of an event that has become visible.
func (s *Server) visible(ev *nostr.Event, raw []byte) {
	s.relay.Publish(ev, raw)
	if s.sync != nil {
		s.sync.Served(ev)
	}
}

// announced tells that the announcements of an identifier may have changed.
func (s *Server) announced(id string) {
	if s.sync != nil {
		s.sync.Changed(id)
	}
}

// lapsed tells that an event was let go because nothing came for it.
func (s *Server) lapsed(ev *nostr.Event) {
	if s.sync != nil {
		s.sync.Lapsed(ev)
	}
}

// synced tells that an event came in by sync and waits for its git data (G02-12).
func (s *Server) synced(*nostr.Event) {}

// reached tells that a peer can be talked to again: so may the git server beside it.
func (s *Server) reached(peer string) {
	if u, err := url.Parse(peer); err == nil && s.hunter != nil {
		s.hunter.Reached(u.Hostname())
	}
}

// peerSource begins the source of events that peers brought.
const peerSource = "peer "

// importer is the relay as the syncer knows it.
type importer struct{ s *Server }

func (i importer) Parse(raw string) (*nostr.Event, error) { return i.s.relay.Parse(raw) }

func (i importer) Take(ctx context.Context, ev *nostr.Event, size int, peer string) (grasp.Verdict, error) {
	return i.s.relay.Import(steward.Because(ctx, jobs.OnSync), ev, size, peerSource+peer)
}

// shelves is the store as the syncer knows it.
type shelves struct{ *store.Store }

func (l shelves) Announcements(ctx context.Context, after int64, limit int, each func(int64, syncer.Announced)) error {
	return l.Store.Announcements(ctx, after, limit, func(seq int64, ev *nostr.Event, served bool) {
		each(seq, syncer.Announced{Event: ev, Served: served})
	})
}

func (l shelves) AnnouncementsOf(ctx context.Context, id string, each func(syncer.Announced)) error {
	return l.Store.AnnouncementsOf(ctx, id, func(ev *nostr.Event, served bool) {
		each(syncer.Announced{Event: ev, Served: served})
	})
}

// peerBook is the store as the syncer writes to it.
type peerBook struct{ s *store.Store }

func (b peerBook) Peers(ctx context.Context) ([]syncer.Record, error) {
	list, err := b.s.Peers(ctx)
	out := make([]syncer.Record, len(list))
	for i, p := range list {
		out[i] = syncer.Record{URL: p.URL, Mood: syncer.Mood{
			Fails: p.Fails, Since: p.Since, Next: p.Next, Bad: p.Bad, Seen: p.Seen, Full: p.Full, Repass: p.Repass, Trouble: p.Trouble,
		}}
	}
	return out, err
}

func (b peerBook) WritePeer(ctx context.Context, r syncer.Record) error {
	return b.s.WritePeer(ctx, store.Peer{
		URL: r.URL, Fails: r.Fails, Since: r.Since, Next: r.Next, Bad: r.Bad, Seen: r.Seen, Full: r.Full, Repass: r.Repass, Trouble: r.Trouble,
	})
}

func (b peerBook) Refusals(ctx context.Context, limit int) ([]syncer.Refusal, error) {
	list, err := b.s.Unwanted(ctx, limit)
	out := make([]syncer.Refusal, len(list))
	for i, u := range list {
		out[i] = syncer.Refusal(u)
	}
	return out, err
}

func (b peerBook) WriteRefusals(ctx context.Context, add []syncer.Refusal, remove []grasp.EventID) error {
	list := make([]store.Unwanted, len(add))
	for i, r := range add {
		list[i] = store.Unwanted(r)
	}
	return b.s.WriteUnwanted(ctx, list, remove)
}

// peerDialer is the way out as the syncer knows it.
type peerDialer struct{ way *dial.Dialer }

func (d peerDialer) Relay(ctx context.Context, url string) (syncer.Line, error) {
	conn, err := d.way.WebSocket(ctx, url)
	if err != nil {
		return nil, unreached(err)
	}
	return conn, nil
}

// Document fetches what the relay tells of itself, from the same place over HTTP.
func (d peerDialer) Document(ctx context.Context, at string, limit int64) ([]byte, error) {
	u, err := url.Parse(at)
	if err != nil {
		return nil, fault.Errorf(fault.Invalid, "server: peer", "%v", err)
	}
	u.Scheme = strings.Replace(u.Scheme, "ws", "http", 1)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fault.Errorf(fault.Invalid, "server: peer", "%v", err)
	}
	req.Header.Set("Accept", "application/nostr+json")
	req.Header.Set("User-Agent", "gitroost/"+Version()+" (+"+relay.Software+")")
	resp, err := d.way.HTTP().Do(req)
	if err != nil {
		return nil, unreached(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fault.Errorf(fault.NotFound, "server: peer", "it answers %d", resp.StatusCode)
	}
	return io.ReadAll(io.LimitReader(resp.Body, limit))
}

// unreached says in the words of the syncer why a peer could not be reached: Refused or NotFound if
// there is no use in trying again soon, Busy if we have called often enough (G02-09).
func unreached(err error) error {
	const op = "server: peer"
	text, _ := fault.Message(err)
	_, often := dial.RetryAfter(err)
	var name *net.DNSError
	var cert *tls.CertificateVerificationError
	var noTLS tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	switch {
	case dial.IsForbidden(err):
		return fault.E(fault.Refused, op, text)
	case often:
		return fault.E(fault.Busy, op, text)
	case errors.As(err, &name) && name.IsNotFound,
		errors.As(err, &cert), errors.As(err, &noTLS), errors.As(err, &unknown):
		return fault.E(fault.NotFound, op, text)
	case errors.Is(err, websocket.ErrBadHandshake) && !passing(text):
		return fault.E(fault.NotFound, op, text)
	}
	return fault.E(fault.Internal, op, text)
}

// passing reports whether a refused handshake sounds as if it will not last.
func passing(text string) bool {
	for _, status := range []string{`"429 `, `"5`} {
		if strings.Contains(text, "answered "+status) {
			return true
		}
	}
	return false
}
