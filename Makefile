# Bare `make` lists the targets.
.DEFAULT_GOAL := help

BIN           := $(CURDIR)/.bin
GOLANGCI_LINT := v2.15.0
SWAG          := v1.16.6
GOVULNCHECK   := v1.9.0
SWAG_FLAGS    := --quiet --requiredByDefault --generalInfo documentation.go --dir app/api --outputTypes json
VERSION       ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS       := -s -w -X cartwheel/app/commands.version=$(VERSION)

.PHONY: help
help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 12

.PHONY: run
run: ## Start the server on the embedded engine, with demo products
	go run . serve --demo

.PHONY: build
build: ## Build the static binary ./cartwheel
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o cartwheel .

RELEASES := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64

# The same source, Go and VERSION give the same bytes, wherever they are built.
.PHONY: release
release: ## Build dist/: static binaries for Linux, macOS and Windows, their modules, and SHA256SUMS
	@rm -rf dist && mkdir dist
	@set -e; for platform in $(RELEASES); do \
		os=$${platform%/*}; arch=$${platform#*/}; extension=; [ $$os = windows ] && extension=.exe; \
		name=cartwheel-$(VERSION)-$$os-$$arch$$extension; echo "dist/$$name"; \
		CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch go build -trimpath -buildvcs=auto -ldflags '$(LDFLAGS)' -o dist/$$name .; \
		go version -m dist/$$name | sed 's|^dist/||' >dist/$$name.sbom.txt; \
	done; \
	cd dist; if command -v sha256sum >/dev/null; then sha256sum cartwheel-*; else shasum -a 256 cartwheel-*; fi >SHA256SUMS

.PHONY: test
test: mariadb galera mysql mysqlrouter haproxy strace chromium promtool axe ## Run all tests, after installing what they need
	go test -timeout 15m ./...
	cd e2e && go test -count=1 -p 1 -timeout 15m ./... # not cached: they build and read the product
	cd bench && go test ./...

.PHONY: race
race: mariadb mysql ## Run all tests under the race detector, on the embedded engine and on MariaDB
	go test -race -timeout 20m -skip '/^mysql$$|//^mysql$$' ./...

.PHONY: bench
bench: mariadb mariadb11.8 mysql wrk ## Measure the targets, all in one run; BENCH='-only add' and the like choose (see docs/performance.md)
	cd bench && go run . $(BENCH)

.PHONY: bench-compare
bench-compare: mariadb mariadb11.8 mysql wrk ## Compare this build with that of BASE=<revision>, in interleaved runs
	cd bench && go run . -base $(BASE) $(BENCH)

.PHONY: microbench
microbench: mariadb mysql ## Time the parser, the queue and each kind of transaction, with their allocations
	go test -run '^$$' -bench . -benchtime 1s ./app/api ./app/admin/metrics ./queue ./cart ./checkout

.PHONY: soak
soak: mariadb mysql strace ## Run the chaos tests in their long form, and the checkout's model with 10,000 histories
	@status=$$(mktemp); { cd e2e && go test -v -count=1 -timeout 3h . -args -soak; echo $$? >$$status; } | grep --line-buffered -v '^=== '; \
	failed=$$(cat $$status); rm -f $$status; exit $$failed
	go test -count=1 -timeout 1h ./checkout -run TestHistory_guaranteesHoldThroughAny -rapid.checks=10000

.PHONY: cluster-test
cluster-test: galera mysql mysqlrouter haproxy ## Break nodes and instances of database clusters in each way, under load (see docs/scaling.md)
	@status=$$(mktemp); { cd e2e && go test -v -count=1 -timeout 1h ./cluster -args -soak; echo $$? >$$status; } | grep --line-buffered -v '^=== '; \
	failed=$$(cat $$status); rm -f $$status; exit $$failed

.PHONY: mutation
mutation: mariadb mysql strace ## Run the mutation tests: remove each guard of the product in turn, and expect a test to fail
	cd e2e && go run ./mutation

.PHONY: check
check: format vet lint docs-check tidy-check race ## Check format, vet, linters, generated docs, modules and data races

.PHONY: format
format:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi

.PHONY: vet
vet:
	go vet ./...
	cd e2e && go vet ./...
	cd bench && go vet ./...

.PHONY: lint
lint: $(BIN)/golangci-lint-$(GOLANGCI_LINT)
	$(BIN)/golangci-lint-$(GOLANGCI_LINT) run ./...
	cd e2e && $(BIN)/golangci-lint-$(GOLANGCI_LINT) run ./...
	cd bench && $(BIN)/golangci-lint-$(GOLANGCI_LINT) run ./...

$(BIN)/golangci-lint-$(GOLANGCI_LINT):
	GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT)
	mv $(BIN)/golangci-lint $@

.PHONY: vulnerabilities
vulnerabilities: ## Ask Go's vulnerability database about what the binary calls; needs a network
	go run golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK) ./...

.PHONY: docs
docs: ## Generate the API's description (docs/) and a client of it from the handlers' comments
	go run github.com/swaggo/swag/cmd/swag@$(SWAG) init $(SWAG_FLAGS) --output docs
	cd e2e && go run ./openapi ../docs/swagger.json ../docs/openapi.json && go generate ./apiclient

.PHONY: docs-check
docs-check:
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
	go run github.com/swaggo/swag/cmd/swag@$(SWAG) init $(SWAG_FLAGS) --output "$$tmp" >/dev/null && \
	(cd e2e && go run ./openapi "$$tmp"/swagger.json "$$tmp"/openapi.json) && \
	for file in swagger.json openapi.json; do \
		diff -u docs/$$file "$$tmp"/$$file || { echo "docs/$$file is stale: run 'make docs'"; exit 1; }; \
	done

.PHONY: tidy-check
tidy-check:
	go mod tidy -diff
	cd e2e && go mod tidy -diff
	cd bench && go mod tidy -diff

.PHONY: mariadb
mariadb:
	@if [ -n "$$TEST_MARIADB_DSN" ] || command -v mariadbd >/dev/null || [ -x /usr/sbin/mariadbd ]; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
		echo "The tests need mariadbd (or TEST_MARIADB_DSN): install MariaDB with this system's package manager."; exit 1; fi; \
	sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y --no-install-recommends mariadb-server

.PHONY: galera
galera:
	@if [ -e /usr/lib/galera/libgalera_smm.so ] && [ -x /usr/sbin/mariadbd ] && command -v mariadb-backup >/dev/null && command -v socat >/dev/null \
		|| ! command -v apt-get >/dev/null; then exit 0; fi; \
	sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y --no-install-recommends mariadb-server galera-4 mariadb-backup socat

.PHONY: mysql
mysql: ## Unpack MySQL into the cache directory, unless MYSQLD, PATH or TEST_MYSQL_DSN has one
	@[ -n "$$TEST_MYSQL_DSN" ] || database/databasetest/dbserver/mysql.sh

.PHONY: mariadb11.8
mariadb11.8: ## Unpack MariaDB 11.8 into the cache directory; MARIADBD=<its path> makes the tests use it
	@database/databasetest/dbserver/mysql.sh mariadbd

# For the cluster tests; unpacked beside the system, unless MYSQLROUTER or PATH has one.
.PHONY: mysqlrouter
mysqlrouter:
	@database/databasetest/dbserver/mysql.sh mysqlrouter

.PHONY: wrk
wrk:
	@if command -v wrk >/dev/null; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
		echo "The benchmark needs wrk: install it with this system's package manager."; exit 1; fi; \
	sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y --no-install-recommends wrk

# Its tests are skipped where it is missing, and fail there when CI is set.
.PHONY: haproxy
haproxy:
	@if command -v haproxy >/dev/null || [ -x /usr/sbin/haproxy ] || ! command -v apt-get >/dev/null; then exit 0; fi; \
	sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y --no-install-recommends haproxy

# The power-cut tests are skipped where it is missing or may not trace, and fail there when CI is set. Linux only.
.PHONY: strace
strace:
	@if command -v strace >/dev/null || ! command -v apt-get >/dev/null; then exit 0; fi; \
	sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y --no-install-recommends strace

# The tests of the alert rules are skipped where it is missing, and fail there when CI is set. The service stays off.
.PHONY: promtool
promtool:
	@if command -v promtool >/dev/null || ! command -v apt-get >/dev/null; then exit 0; fi; \
	sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 $$sudo apt-get install -y --no-install-recommends prometheus

AXE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/cartwheel/axe-core-4.14.1.js

# npm checks the package's integrity. The accessibility test is skipped without it, and fails there when CI is set.
.PHONY: axe
axe: $(AXE)
$(AXE):
	@if ! command -v npm >/dev/null && command -v apt-get >/dev/null; then \
	sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y --no-install-recommends npm; fi; \
	if ! command -v npm >/dev/null; then echo "The accessibility test is skipped: install npm."; exit 0; fi; \
	new=$$(mktemp -d) && trap 'rm -rf "$$new"' EXIT && cd "$$new" && npm pack --silent axe-core@4.14.1 && tar -xzf axe-core-*.tgz && \
	mkdir -p $(dir $@) && mv package/axe.min.js $@

.PHONY: chromium
chromium:
	@if command -v chromium >/dev/null; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
		echo "The browser tests are skipped: install Chromium with this system's package manager."; exit 0; fi; \
	sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y --no-install-recommends chromium

.PHONY: screenshots
screenshots: chromium ## Take new pictures of the dashboard for the README
	mkdir -p docs/images
	cd e2e && SCREENSHOTS=$(CURDIR)/docs/images go test -count 1 -run TestDashboard_fitsScreensAndColorSchemes .

.PHONY: clean
clean: ## Remove what was built; ./data stays
	rm -rf cartwheel dist $(BIN)
