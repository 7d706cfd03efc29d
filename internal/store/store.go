// Package store keeps events, repositories, settled refs and what was deleted, in one SQLite
// file. It is the only room that speaks SQL. A *Store is the steward's Ledger, and the relay and
// the pages read from it.
//
// There is one writer: a goroutine that takes whatever changes are queued, writes them in one
// transaction, syncs it to disk once, and then answers all who waited for it (writer.go,
// commit.go). There are several readers, each a connection of its own with a snapshot of its own,
// so that reading never waits for writing (reader.go, read.go). A filter becomes ordered scans of
// indexes that are merged as they are read; nothing is ever sorted as a whole (query.go), and what is
// asked often is answered from memory (recall.go). The one
// exception is a search: what it finds is bounded, and sorted by how well it fits (search.go).
//
// The package knows nothing of HTTP, git and websockets. It does not decide what may enter: it
// keeps what it is given by the rules of replacing and deleting, which only a transaction can keep.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver named "sqlite"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/steward"
)

// Config is what may be set about a Store. The zero value of every field but Now is usable.
type Config struct {
	// Now is the clock: it tells which events have expired (N-036) and dates the journal of
	// moves. Required.
	Now func() time.Time

	// Log receives what somebody should know and no caller is told. Nil discards it.
	Log *slog.Logger

	// MaxLimit is how many events one filter returns at most, and if it names no limit. 0 means
	// 500 (N-013).
	MaxLimit int

	// MaxRanked is among how many events with the words of a search the best are chosen, if the
	// rest of the filter matches many: the last that arrived. 0 means 10,000, of which a search
	// takes a tenth of a second.
	MaxRanked int

	// Readers is how many queries are answered at the same time; the others wait. 0 means twice
	// the number of processors, at least 4. Each reader holds up to CacheKiB of memory.
	Readers int

	// CacheKiB is the page cache of each connection in KiB; the writer's is 8 times as large. 0
	// means 4096.
	CacheKiB int

	// Recall is how many bytes of memory hold what is asked for often, about. 0 means 64 MiB;
	// less than nothing means that everything is read from the file.
	Recall int

	// Tray is how many events may be on disk without being filed yet. 0 means 8192; less than
	// nothing means that each is filed before it is answered.
	Tray int

	// Queue is how many changes may wait for the writer, of those that take long and of the others; who
	// comes later waits outside. 0 means 1024.
	Queue int

	// Batch is how many changes are written in one transaction at most. 0 means 256.
	Batch int

	// Jobs bound how many jobs wait.
	Jobs jobs.Bounds

	// FewJobs is up to how many jobs of one change are filed before it is answered, with what becomes of
	// them in the Receipt; more are laid down, and filed by whoever asks for jobs next. 0 means 4; less than
	// nothing means that none are.
	FewJobs int
}

func (c *Config) setDefaults() error {
	if c.Now == nil {
		return errors.New("no clock")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	orElse(&c.MaxLimit, 500)
	orElse(&c.MaxRanked, 10_000)
	orElse(&c.Readers, max(4, 2*runtime.GOMAXPROCS(0)))
	orElse(&c.CacheKiB, 4096)
	if c.Recall == 0 {
		c.Recall = 64 << 20
	}
	if c.Tray == 0 {
		c.Tray = maxTray
	}
	if c.FewJobs == 0 {
		c.FewJobs = fewJobs
	}
	orElse(&c.Queue, 1024)
	orElse(&c.Batch, 256)
	return nil
}

func orElse(v *int, def int) {
	if *v <= 0 {
		*v = def
	}
}

// A Store is a ledger in one SQLite file. Its methods are safe for concurrent use.
type Store struct {
	cfg Config
	db  *sql.DB

	life context.Context // ends with Close: what is being read stops
	end  context.CancelFunc
	pool readers
	done chan struct{} // closed when the writer has ended

	rested chan struct{} // has the writer give back what it remembers, if it had nothing to do since the last time

	caughtUp chan struct{} // closed when no older event is unsearched, or it was given up
	fold     chan struct{} // has the log folded
	folded   chan struct{} // closed when that has ended
	unfolded int           // quarters of pages of the log, estimated; of the writer's goroutine alone
	writer   writer        // of the writer's goroutine alone

	jobsChanged chan struct{} // see Jobs.Changed
	jobEnds     jobEnds       // see Jobs.Ended
	intake      atomic.Int64  // how many jobs are laid down, at most; changed by the writer alone

	recall  *recall
	asked   asked
	tray    *tray
	waiting atomic.Int64 // how many events wait; changed by the writer alone
	boxed   atomic.Bool  // there may be placeholders in boxes; changed by the writer alone

	// mu guards closed, and the queues against being closed while somebody sends. It is held
	// for reading while a change waits for room in the queue.
	mu     sync.RWMutex
	closed bool
	queue  chan *request
	light  chan *request // changes that are laid on the tray, which are written first
}

var _ steward.Ledger = (*Store)(nil)

// Open opens the database at path, creates it if need be (the folder must exist), and brings it to
// the newest schema. A file of a newer schema, or one that is not ours, is a fault.Refused and
// stays as it is. The caller makes sure that no other process writes to it.
func Open(ctx context.Context, path string, cfg Config) (*Store, error) {
	const op = "store: open"
	if err := cfg.setDefaults(); err != nil {
		return nil, fault.Wrap(op, err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	// Nobody else's business: events wait in this file beside the addresses they came from. A file
	// that exists is not opened here, for closing it would drop locks that this process holds.
	if f, err := os.OpenFile(abs, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err == nil {
		f.Close()
	} else if !errors.Is(err, os.ErrExist) {
		return nil, fault.Wrap(op, err)
	}
	db, err := sql.Open("sqlite", dsn(abs, cfg.CacheKiB))
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	db.SetMaxOpenConns(cfg.Readers + 2)
	db.SetMaxIdleConns(cfg.Readers + 2)
	s := &Store{
		cfg: cfg, db: db, recall: newRecall(cfg.Recall), tray: newTray(cfg.Tray),
		rested: make(chan struct{}, 1),
		done:   make(chan struct{}),
		queue:  make(chan *request, cfg.Queue),
		light:  make(chan *request, cfg.Queue),

		caughtUp: make(chan struct{}),
		fold:     make(chan struct{}, 1),
		folded:   make(chan struct{}),

		jobsChanged: make(chan struct{}, 1),
	}
	s.life, s.end = context.WithCancel(context.Background())
	if err := s.start(ctx, abs); err != nil {
		s.end()
		db.Close()
		return nil, fault.Wrap(op, err)
	}
	go s.write()
	go s.catchUp()
	return s, nil
}

// dsn names the file with the settings of hardening §13 that each connection has for itself. That
// the file has a write-ahead log is a setting of the file: migrate makes it.
func dsn(abs string, cacheKiB int) string {
	q := url.Values{"_pragma": {
		"busy_timeout(5000)",
		"synchronous(FULL)",
		"foreign_keys(ON)",
		"trusted_schema(OFF)",
		"mmap_size(0)",
		"temp_store(MEMORY)",
		fmt.Sprintf("cache_size(%d)", -cacheKiB),
		"journal_size_limit(67108864)",
		// 64 MiB of log before the writer folds it into the file itself (fold.go).
		"wal_autocheckpoint(16384)",
	}, "_defensive": {"1"}, "_dqs": {"0"}}
	u := url.URL{Scheme: "file", Path: abs, RawQuery: q.Encode()}
	return u.String()
}

func (s *Store) start(ctx context.Context, path string) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	if err := migrate(ctx, conn); err != nil {
		return err
	}
	// The file, and the log beside it, exist by now; their names must outlive a power cut too.
	if err := syncDir(filepath.Dir(path)); err != nil {
		return err
	}
	s.writer = writer{prepared: prepared{conn: conn}, cfg: &s.cfg, tray: s.tray, recall: s.recall}
	var n int64
	if err := conn.QueryRowContext(ctx, sqlHowManyWait).Scan(&n); err != nil {
		return err
	}
	s.waiting.Store(n)
	if err := s.loadTray(ctx); err != nil {
		return err
	}
	if err := s.countBoxes(); err != nil {
		return err
	}
	if err := s.countIntake(ctx); err != nil {
		return err
	}
	// What is written touches many pages: it is worth more memory than what one reader looks at.
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA cache_size = %d", -writerShare*s.cfg.CacheKiB)); err != nil {
		return err
	}
	s.pool.init(s.cfg.Readers)
	return s.folder(ctx)
}

// sqlHowManyWait is asked at each start: it reads an index that holds nothing but what waits.
const sqlHowManyWait = `SELECT count(*) FROM events WHERE shelf = 1`

// writerShare is how much larger the page cache of the writer is than that of a reader.
const writerShare = 8

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// closeBudget is how long Close waits for readers that do not notice that they shall stop.
const closeBudget = 5 * time.Second

// Close writes what is queued, stops what is being read, and closes the file. Whoever calls
// Commit or reads afterwards gets a fault.Closing. Closing twice is closing once.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.done
		return nil
	}
	s.closed = true
	close(s.queue)
	close(s.light)
	s.mu.Unlock()
	<-s.done
	<-s.caughtUp

	s.end()
	<-s.folded
	budget := time.NewTimer(closeBudget)
	defer budget.Stop()
	for range s.cfg.Readers {
		select {
		case <-s.pool.turns:
			s.pool.get().close()
		case <-budget.C:
			s.cfg.Log.Warn("store: a reader did not stop in time")
			return fault.Wrap("store: close", s.db.Close())
		}
	}
	// The last to leave folds the log into the file.
	s.writer.close()
	return fault.Wrap("store: close", s.db.Close())
}
