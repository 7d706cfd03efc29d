# Two commands matter: make run, make test. Both install what they miss.

GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.8.0
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS = -s -w -X github.com/gitroost/gitroost/internal/server.version=$(VERSION)

# Packages whose goroutines share something. make check runs them under the race detector.
RACE = ./internal/lock/... ./internal/run/... ./internal/durable/... ./internal/steward/... ./internal/store/... ./internal/gitdir/... \
	./internal/work/... ./internal/sites/... ./internal/relay/... ./internal/negentropy/... ./internal/githttp/... ./internal/client/... ./internal/web/... ./internal/server/... ./cmd/...
FUZZTIME ?= 30s
KILLS ?= 500
MIB ?= 1024
HEAL ?= 3m
FLOOD ?= 10s
CRUSH ?= 100000
BENCH ?= .
ROUNDS ?= 5
DOC ?=
GITBENCH ?=

.PHONY: help run build test test-browser check bench bench-relay bench-git bench-quick torture flood fuzz setup clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## a GRASP server here: a repository, a push, a clone, a refused push; then it keeps serving
	@./gitroost demo --then-serve

build: setup ## build ./gitroost, one static program
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o gitroost ./cmd/gitroost

test: setup ## everything: go vet and all tests
	$(GO) vet ./...
	$(GO) test -timeout 30m ./...

test-browser: build ## real clients: nostr-tools and isomorphic-git in headless Chromium, and libgit2; our pages
	@./.ci/setup-browser
	cd testdata/browser && GITROOST_BIN=$(CURDIR)/gitroost node --test --test-concurrency=1 --test-timeout=300000 --test-reporter=spec *.test.mjs

check: setup ## formatting, vet, staticcheck, known vulnerabilities, import rules, races
	@bad=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$bad" ]; then echo "not formatted:" $$bad; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	@# 3 means that something vulnerable is called; anything else, that the database is out of reach.
	@bin=$$(mktemp -d) && trap 'rm -rf "$$bin"' EXIT && \
	if ! GOBIN=$$bin $(GO) install $(GOVULNCHECK); then echo "check: govulncheck is out of reach, skipped"; \
	else rc=0; $$bin/govulncheck ./... || rc=$$?; \
		if [ $$rc = 3 ]; then exit 1; elif [ $$rc != 0 ]; then echo "check: govulncheck could not do its work, skipped"; fi; fi
	$(GO) test -run TestArrows ./internal/server
	$(GO) test -race -timeout 60m $(RACE)

bench: setup ## measure; BENCH=<regexp> chooses
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem ./...
	$(MAKE) --no-print-directory bench-relay
	$(MAKE) --no-print-directory bench-git

bench-relay: setup ## the relay beside khatru, in ten minutes; DOC=1 writes docs/performance.md
	@cd testdata/bench && $(GO) run ./relay -root ../.. -rounds $(ROUNDS) -json ../../relay-bench.json $(if $(DOC),-doc ../../docs/performance.md)

bench-git: setup ## serving git beside nginx, git daemon and others, in half an hour; DOC=1 writes docs/performance.md
	@./.ci/setup-bench
	@cd testdata/bench && $(GO) run ./git -json ../../git-bench.json $(if $(DOC),-docs ../../docs) $(GITBENCH)

bench-quick: setup ## the same in three minutes: fewer rounds, nothing large; GITBENCH="-only <regexp>" chooses
	@./.ci/setup-bench
	@cd testdata/bench && $(GO) run ./git -quick -json ../../git-bench.json $(if $(DOC),-docs ../../docs) $(GITBENCH)

torture: setup ## the real program, killed KILLS times under load; memory with packs of MIB MiB; five servers parted for HEAL, and again in namespaces
	$(GO) test ./internal/torture -v -count=1 -timeout 120m -skip 'Flood$$' -kills $(KILLS) -stops 20 -mib $(MIB) -heal $(HEAL)

flood: setup ## each flood for FLOOD and all together, while others go about their work; then CRUSH repositories that nobody pushes to
	$(GO) test ./internal/torture -v -count=1 -timeout 120m -run 'Flood$$' -flood $(FLOOD) -crush $(CRUSH)

fuzz: setup ## every fuzz target for FUZZTIME
	@$(GO) list ./... | while read -r pkg; do \
		dir=$$($(GO) list -f '{{.Dir}}' $$pkg); \
		for f in $$(grep -hos '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | sed 's/func //'); do \
			echo "fuzz $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg </dev/null || exit 1; \
		done; \
	done

setup:
	@./.ci/setup

clean: ## remove what was built
	rm -f gitroost
