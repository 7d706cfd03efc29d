// Command khatru is the relay that ours is compared with: khatru and its badger store, put together
// as its own example does, accepting everything. It is measured, never shipped.
package main

import (
	"context"
	"flag"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	bdg "github.com/dgraph-io/badger/v4"
	"github.com/fiatjaf/eventstore/badger"
	"github.com/fiatjaf/khatru"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to listen")
	data := flag.String("data", "", "the folder of the store")
	flag.Parse()

	// The options are badger's own, without its log: what it writes it does not sync.
	db := badger.BadgerBackend{Path: *data, BadgerOptionsModifier: func(o bdg.Options) bdg.Options { return o.WithLogger(nil) }}
	if err := db.Init(); err != nil {
		log.Fatal(err)
	}
	relay := khatru.NewRelay()
	relay.Log = log.New(io.Discard, "", 0)
	relay.StoreEvent = append(relay.StoreEvent, db.SaveEvent)
	relay.QueryEvents = append(relay.QueryEvents, db.QueryEvents)
	relay.CountEvents = append(relay.CountEvents, db.CountEvents)
	relay.DeleteEvent = append(relay.DeleteEvent, db.DeleteEvent)
	relay.ReplaceEvent = append(relay.ReplaceEvent, db.ReplaceEvent)
	relay.Negentropy = true

	srv := &http.Server{Addr: *listen, Handler: relay}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		srv.Close()
	}()
	if err := srv.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	db.Close()
}
