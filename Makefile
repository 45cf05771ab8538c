# Every target works from a clean clone on Debian with Go, git and make, as root or not. `make` alone explains itself.

# One set of build flags everywhere: the Temporal server takes minutes to compile, and any other flag compiles it anew.
# So no -trimpath; -ldflags is free, it concerns linking only.
export CGO_ENABLED := 0
export GOFLAGS := -buildvcs=false $(GOFLAGS)

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS  := -X main.version=$(VERSION) -X github.com/musterhq/muster/starter.Version=$(VERSION)
TOOL     := go tool -modfile=tools/go.mod
# Test packages at a time. They run real databases and measure outages: more of them at once measure each other.
PARALLEL ?= 2
# They begin first: the rest fits beside them.
LONGEST  := ./deploy/e2e ./activities/postgres
FUZZTIME ?= 10s
RELEASE  ?= v0.1

.DEFAULT_GOAL := help

.PHONY: help
help: ## This page
	@awk 'BEGIN { FS = ":.*## "; print "make TARGET" } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Use

.PHONY: build
build: ## Build bin/muster and bin/muster-worker (about 5 minutes the first time)
	@command -v go >/dev/null || { echo "make: Go is missing: see go.mod for the version, https://go.dev/dl for the download" >&2; exit 1; }
	go build -ldflags '$(LDFLAGS)' -o bin/ ./starter/muster ./worker/muster-worker

.PHONY: demo
demo: demo-packages build ## Fail a real two-site estate over and back while clients write; AUTO=1 approves by itself
	bin/muster demo $(if $(AUTO),--auto)

.PHONY: completion
completion: build ## How to turn on shell completion
	@bin/muster completion --help

##@ Work on it

.PHONY: test
test: packages build ## Run every test, against real servers; ARGS='-run X' and PKG=./runbooks narrow it down
	MUSTER_BIN=$(CURDIR)/bin go test -p $(PARALLEL) -timeout 15m $(ARGS) $(or $(PKG),$(LONGEST) ./...)

# Everything that `make test` does a few times of, in full: kills at every boundary of every step and at KILLS random instants,
# operators at every boundary, Temporal away for two minutes. SEED repeats the luck of an earlier run, which prints it.
.PHONY: soak
soak: packages build ## Kill, abort and break everywhere, for an hour or so; KILLS=50, SEED=n
	MUSTER_BIN=$(CURDIR)/bin MUSTER_KILLS=$(or $(KILLS),50) MUSTER_SEED=$(SEED) go test -v -count=1 -timeout 3h \
		-run 'TestKillAnywhere|TestKillTwoSystems|TestKillApart|TestOneWriterIsChecked|TestHostileWorld|TestClockJumps|TestDiskFull|TestSSHDrops|TestOperators|TestLocks' ./deploy/e2e

# The race detector needs cgo, so it compiles all anew: packages that link the Temporal server stay out of it.
.PHONY: test-race
test-race: packages ## Run the tests under the race detector, all but those that link the engine or need binaries
	@packages=$$(go list -test -f '{{.ImportPath}} {{join .Deps " "}}' ./... | \
		awk '$$1 ~ /\.test$$/ && !/ go\.temporal\.io\/server\// { sub(/\.test$$/, "", $$1); print $$1 }' | grep -v /e2e) && \
	CGO_ENABLED=1 go test -race -p $(PARALLEL) -timeout 15m $(ARGS) $$packages

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (10s)
	@grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | while IFS=: read -r file func; do \
		echo "$${func#func } in $$(dirname $$file)"; \
		go test -run '^$$' -fuzz "^$${func#func }\$$" -fuzztime $(FUZZTIME) "$$(dirname $$file)" </dev/null || exit 1; \
	done

.PHONY: bench
bench: packages build ## Measure muster beside references, as one table and as JSON (half an hour); QUICK=1 takes 6 minutes
	go run ./deploy/bench $(if $(QUICK),-quick) $(ARGS)

.PHONY: record-histories
record-histories: packages build ## Record the histories of real runs anew, for a release; the old ones stay as they are
	MUSTER_BIN=$(CURDIR)/bin go test -count=1 -timeout 15m ./deploy/e2e -run 'TestShop|TestUnplanned|TestCrash' -record $(CURDIR)/workflows/testdata/history/$(RELEASE)

.PHONY: update-golden
update-golden: ## Write every golden file anew; the diff is the review
	go test $$(grep -rl --include='*_test.go' 'flag.Bool("update"' . | xargs -n1 dirname | sort -u) -update

.PHONY: lint
lint: ## Check style, bugs, arrows, determinism of workflows, and go.mod
	$(TOOL) golangci-lint run ./...
	go test -tags lint -run TestLinterObjects ./internal/arrows
	$(TOOL) workflowcheck -config .workflowcheck.yml ./workflows/...
	go mod verify
	go mod tidy -diff
	cd tools && go mod tidy -diff

# Not a part of `make lint`: a hole found in the world is news for a release, and must not turn an unchanged main red.
.PHONY: vuln
vuln: ## Ask the Go vulnerability database about every function that muster can reach
	tools/vuln

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin

##@ Machine

.PHONY: packages
packages: ## Install what the tests need from Debian's packages: PostgreSQL, Redis, HAProxy, sshd, Chromium, an SMTP server
	@deploy/install-packages

.PHONY: demo-packages
demo-packages: ## Install what the demo needs: PostgreSQL, Redis, HAProxy
	@deploy/install-packages postgresql redis-server haproxy
