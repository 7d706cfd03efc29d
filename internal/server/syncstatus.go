package server

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/hunt"
	"github.com/gitroost/gitroost/internal/manage"
	"github.com/gitroost/gitroost/internal/syncer"
	"github.com/gitroost/gitroost/internal/web"
)

// others tells the operator how it stands with other servers.
type others struct{ s *Server }

// Sync implements manage.Others.
func (o others) Sync(ctx context.Context, repo grasp.Addr) (manage.Sync, error) {
	s := o.s
	out := manage.Sync{Now: s.now().Unix(), Enabled: s.cfg.Sync.Enabled, Running: s.relay != nil, Peers: []manage.SyncPeer{}, Hunts: []manage.SyncHunt{}}
	peers, err := s.peers(ctx)
	if err != nil {
		return out, err
	}
	if repo.Valid() {
		r, err := s.whyNot(ctx, repo)
		if err != nil {
			return out, err
		}
		out.Repo = &r
		named, err := s.namedBy(ctx, repo)
		if err != nil {
			return out, err
		}
		peers = slices.DeleteFunc(peers, func(p manage.SyncPeer) bool { return !slices.Contains(named, p.URL) })
	}
	out.All = len(peers)
	out.Peers = append(out.Peers, peers[:min(len(peers), manage.MaxSyncRows)]...)
	s.hunts(repo.ID, &out)
	return out, nil
}

// namedBy returns the peers that the announcement of a repository names.
func (s *Server) namedBy(ctx context.Context, repo grasp.Addr) ([]string, error) {
	if s.sync != nil {
		return s.sync.PeersOf(string(repo.Owner), repo.ID), nil
	}
	view, err := s.steward.View(ctx, repo.ID)
	var out []string
	for _, raw := range view.Announcements[repo.Owner].Relays {
		if u, ok := syncer.PeerURL(raw, true); ok {
			out = append(out, u)
		}
	}
	return out, err
}

// peers returns how all peers do: without a running server what was written last.
func (s *Server) peers(ctx context.Context) ([]manage.SyncPeer, error) {
	at := func(t time.Time) int64 {
		if t.IsZero() {
			return 0
		}
		return t.Unix()
	}
	var out []manage.SyncPeer
	if s.sync == nil {
		list, err := s.store.Peers(ctx)
		if err != nil {
			return nil, fault.Wrap("server: sync", err)
		}
		for _, p := range list {
			m := syncer.Mood{Fails: p.Fails, Since: p.Since, Next: p.Next, Bad: p.Bad, Seen: p.Seen}
			out = append(out, manage.SyncPeer{
				URL: p.URL, Mood: m.Word(false, s.now()), Seen: at(p.Seen), Compared: at(p.Full), Again: at(p.Repass),
				Next: at(p.Next), Fails: p.Fails, Trouble: p.Trouble,
			})
		}
		return out, nil
	}
	for _, p := range s.sync.Statuses() {
		out = append(out, manage.SyncPeer{
			URL: p.URL, Mood: p.Mood, Doing: p.Doing, Repositories: p.Repositories, People: p.People, About: p.About, Subscriptions: p.Subscriptions, Negentropy: p.Negentropy,
			Connected: at(p.Connected), Seen: at(p.Seen), Compared: at(p.Full), Again: at(p.Repass), Next: at(p.Next), Fails: p.Fails,
			Trouble: p.Trouble, Last: at(p.Last), Events: p.Events, New: p.Taken, Refused: p.Refused, Faults: p.Bad,
		})
	}
	return out, nil
}

// whyNot says what a repository waits for.
func (s *Server) whyNot(ctx context.Context, repo grasp.Addr) (manage.SyncRepo, error) {
	const op = "server: sync"
	out := manage.SyncRepo{Npub: repo.Owner.Npub(), Identifier: repo.ID, Announced: "no", Waiting: []manage.SyncWait{}, Lacking: []string{}, Places: []string{}}
	facts, err := s.store.View(ctx, repo.ID)
	if err != nil {
		return out, fault.Wrap(op, err)
	}
	view, err := s.steward.View(ctx, repo.ID)
	if err != nil {
		return out, fault.Wrap(op, err)
	}
	if a, ok := view.Announcements[repo.Owner]; ok {
		out.Announced = "served"
		if a.Shelf != grasp.Served {
			out.Announced = "waiting"
		}
	}
	out.Archived = view.Announcements[repo.Owner].Archived
	if err := s.keptOf(ctx, repo, &out); err != nil {
		return out, err
	}
	may := view.Maintainers(repo.Owner)
	for _, e := range facts.Entries {
		pull := e.Event.Kind != grasp.KindAnnouncement && e.Event.Kind != grasp.KindState
		if e.Shelf == grasp.Waiting && (pull || may.Has(grasp.PubKey(e.Event.PubKey))) && len(out.Waiting) < manage.MaxSyncRows {
			from, _ := strings.CutPrefix(e.Source, peerSource)
			if from == e.Source {
				from = ""
			}
			out.Waiting = append(out.Waiting, manage.SyncWait{
				Event: e.Event.ID, Kind: e.Event.Kind, Since: e.Received.Unix(), Until: e.Deadline.Unix(), From: from,
			})
		}
	}
	slices.SortFunc(out.Waiting, func(a, b manage.SyncWait) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Since, b.Since), cmp.Compare(a.Event, b.Event))
	})
	site, err := s.site(s.bound())
	if err != nil {
		return out, err
	}
	lacks, err := s.steward.Missing(ctx, repo.ID)
	if err != nil {
		return out, fault.Wrap(op, err)
	}
	for _, l := range lacks {
		if l.Repo != repo {
			continue
		}
		for _, o := range l.Objects[:min(len(l.Objects), manage.MaxSyncRows)] {
			out.Lacking = append(out.Lacking, string(o))
		}
		for _, p := range l.Places {
			if !site.Ours(p.URL) {
				out.Places = append(out.Places, p.URL)
			}
		}
	}
	return out, nil
}

// Kept returns the older tips that are kept of an archived repository, the newest first (G05-06).
func (s *Server) Kept(ctx context.Context, repo grasp.Addr) ([]grasp.Kept, error) {
	if !s.vault.Exists(repo) {
		return nil, nil
	}
	list, err := s.vault.Kept(ctx, repo)
	slices.SortFunc(list, func(a, b grasp.Kept) int { return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(a.Ref, b.Ref)) })
	return list, err
}

// keptOf adds the older tips that are kept of a repository (G05-06).
func (s *Server) keptOf(ctx context.Context, repo grasp.Addr, out *manage.SyncRepo) error {
	list, err := s.Kept(ctx, repo)
	if err != nil {
		return err
	}
	out.Kept = len(list)
	for _, k := range list[:min(len(list), manage.MaxSyncRows)] {
		out.History = append(out.History, manage.SyncKept{At: k.At, Ref: string(k.Ref), OID: string(k.OID)})
	}
	return nil
}

// bound is the address of the listener, or where it would be.
func (s *Server) bound() string {
	if s.listener == nil {
		return s.cfg.Listen
	}
	return s.listener.Addr().String()
}

// hunts adds what git data is looked for: all, or of one identifier.
func (s *Server) hunts(id string, out *manage.Sync) {
	at := func(t time.Time) int64 {
		if t.IsZero() {
			return 0
		}
		return t.Unix()
	}
	for _, h := range s.Hunts(hunt.MaxHunts) {
		if id != "" && h.ID != id {
			continue
		}
		if out.Hunted++; len(out.Hunts) < manage.MaxSyncRows {
			out.Hunts = append(out.Hunts, manage.SyncHunt{
				Identifier: h.ID, Lacking: h.Lacking, Tries: h.Tries, Since: at(h.Since), Next: at(h.Next), Trouble: h.Trouble,
				Remote: h.Remote, Bytes: h.Bytes,
			})
		}
	}
}

// Peers implements web.Source: the relays that announcements served here name, as far as anybody may
// know. What went wrong with them may tell of our own network, and stays with the operator.
func (p source) Peers(ctx context.Context, limit int) (list []web.Peer, enabled bool, err error) {
	if p.s.sync == nil {
		return nil, false, nil
	}
	for _, st := range p.s.sync.Statuses() {
		if st.Served == 0 && st.People == 0 {
			continue // nothing waiting is on a page
		}
		if len(list) == limit {
			break
		}
		list = append(list, web.Peer{
			URL: st.URL, Mood: st.Mood, Repositories: max(st.Served, st.About), People: st.People, Since: st.Connected, Compared: st.Full, Seen: st.Seen, Next: st.Next,
		})
	}
	return list, true, nil
}

// A Peer is how it stands with another relay.
type Peer = syncer.Status

// Peer returns how it stands with the relay of this address; the zero Peer if it is none.
func (s *Server) Peer(url string) Peer {
	if s.sync == nil {
		return Peer{}
	}
	for _, p := range s.sync.Statuses() {
		if p.URL == url {
			return p
		}
	}
	return Peer{}
}

// syncMetrics tells how it stands with other servers. Their number does not grow with the peers.
func (s *Server) syncMetrics(reg *prometheus.Registry) {
	if s.sync == nil {
		return
	}
	peers := prometheus.NewDesc("gitroost_sync_peers", "Relays that are listened to, by how they do: new, connected, waiting, dead or bad.", []string{"mood"}, nil)
	events := prometheus.NewDesc("gitroost_sync_events_total", "Events that peers sent, by what became of them: all of them, those that were new, those that the rules refused, and faults of peers.", []string{"outcome"}, nil)
	behind := prometheus.NewDesc("gitroost_sync_compared_seconds", "For how long the peer that was compared longest ago has not been, of those that ever were.", nil, nil)
	people := prometheus.NewDesc("gitroost_sync_outboxes", "Relays that are listened to because people who take part here write there, and no announcement names them (GRASP-03).", nil, nil)
	known := prometheus.NewDesc("gitroost_sync_refused_events", "Events that are not fetched again because the rules did not want them.", nil, nil)
	reg.MustRegister(collector{
		describe: []*prometheus.Desc{peers, events, behind, people, known},
		collect: func(out chan<- prometheus.Metric) {
			moods := map[string]int{"new": 0, "connected": 0, "waiting": 0, "dead": 0, "bad": 0}
			var oldest time.Time
			outboxes := 0
			for _, p := range s.sync.Statuses() {
				moods[p.Mood]++
				if p.People > 0 && p.Repositories == 0 {
					outboxes++
				}
				if !p.Full.IsZero() && (oldest.IsZero() || p.Full.Before(oldest)) {
					oldest = p.Full
				}
			}
			for mood, n := range moods {
				out <- prometheus.MustNewConstMetric(peers, prometheus.GaugeValue, float64(n), mood)
			}
			t := s.sync.Totals()
			for outcome, n := range map[string]int64{"all": t.Events, "new": t.Taken, "refused": t.Refused, "faulty": t.Bad} {
				out <- prometheus.MustNewConstMetric(events, prometheus.CounterValue, float64(n), outcome)
			}
			out <- prometheus.MustNewConstMetric(people, prometheus.GaugeValue, float64(outboxes))
			age := 0.0
			if !oldest.IsZero() {
				age = s.now().Sub(oldest).Seconds()
			}
			out <- prometheus.MustNewConstMetric(behind, prometheus.GaugeValue, age)
			out <- prometheus.MustNewConstMetric(known, prometheus.GaugeValue, float64(s.sync.Remembered()))
		},
	})
}
