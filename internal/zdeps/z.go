package zdeps
import (
 _ "github.com/fiatjaf/khatru"
 _ "github.com/nbd-wtf/go-nostr"
 _ "github.com/go-chi/chi/v5"
 _ "github.com/rs/cors"
 _ "modernc.org/sqlite"
 _ "github.com/goccy/go-yaml"
 _ "github.com/rogpeppe/go-internal/testscript"
 _ "github.com/fasthttp/websocket"
 _ "golang.org/x/sys/unix"
 _ "golang.org/x/sync/errgroup"
 _ "github.com/prometheus/client_golang/prometheus"
_ "golang.org/x/net/idna"
_ "github.com/btcsuite/btcd/btcec/v2/schnorr"
_ "github.com/btcsuite/btcd/btcutil/bech32"
_ "github.com/nbd-wtf/go-nostr/nip19"
)

