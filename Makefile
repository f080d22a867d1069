# Tidepool's commands. `make` alone lists them; README says when to use which.
#
# Everything that is built lies in one folder of the user's cache directory ($TIDEPOOL_CACHE, default
# ~/.cache/tidepool): Cargo's target folder keyed by Cargo.lock, and the Go-built peers of the tests keyed by go.sum.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
MAKEFLAGS += --no-print-directory --no-builtin-rules

export TIDEPOOL_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tidepool
LOCK_KEY := $(shell sha256sum Cargo.lock | cut -c1-12)
export CARGO_TARGET_DIR ?= $(TIDEPOOL_CACHE)/target-$(LOCK_KEY)
export IMAGE_ARCHIVE ?= $(CARGO_TARGET_DIR)/tidepool-image.tar

ARCH := $(shell uname -m)
MUSL := $(ARCH)-unknown-linux-musl
RELEASE := $(CARGO_TARGET_DIR)/$(MUSL)/release
BINARIES := tidepool-operator tidepool-proxy tidepool-agent
# Those of the workspace: the doors for fuzzing, in proxy/fuzz, want a nightly compiler.
CRATES := $(filter-out %-fuzz,$(shell sed -n '/^.package.$$/,/^$$/s/^name = "\(.*\)"/\1/p' */Cargo.toml */*/Cargo.toml))
PURE := tidepool-oci tidepool-config tidepool-api tidepool-plan
VERSION := $(shell sed -n '/workspace.package/,/^$$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
# The chart's default, so that an imported archive is what an unchanged chart runs.
export IMAGE ?= ghcr.io/tidepool-dev/tidepool:$(VERSION)

say = printf '\n\033[1m==> %s\033[0m\n' "$(1)"

.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: demo
demo: image tools harness ## boot a real two-node cluster, install Tidepool and pull through it
	@"$(CARGO_TARGET_DIR)/debug/tidepool-cluster" demo --image "$(IMAGE_ARCHIVE)"

.PHONY: demo-down
demo-down: harness ## take the demo's cluster away
	@"$(CARGO_TARGET_DIR)/debug/tidepool-cluster" down

.PHONY: kubectl
kubectl: ## talk to the demo's cluster: make kubectl ARGS="get pods -A"
	@"$(CARGO_TARGET_DIR)/debug/tidepool-cluster" kubectl $(ARGS)

.PHONY: test
test: ## run every test: format, lints, units, suites on real parts, cluster suite
	@tests/run.sh

.PHONY: suite
suite: image tools ## run one suite, or one case of it: make suite NAME=cluster CASE=invalid_spec
	@cargo test --locked --package tidepool-tests --test $(or $(NAME),cluster) -- --test-threads=1 --nocapture $(CASE)

# The promise as a table: every state, or some of them and then no table is kept.
.PHONY: matrix
matrix: image tools ## measure pulls in every state of the fault matrix; ONLY="member-killed upstream-hung" for some
	@cargo test --locked --package tidepool-tests --test matrix -- $(or $(ONLY),--all --write docs/fault-matrix.md)

# An optimised build of the benchmark's own, for the client and the upstream share the machine with what is measured.
BENCH = cargo run --quiet --release --locked --package tidepool-tests --bin tidepool-bench -- \
	--proxy "$(RELEASE)/tidepool-proxy" --agent "$(RELEASE)/tidepool-agent" --json "$(CARGO_TARGET_DIR)/bench.json"

.PHONY: bench
bench: build bench-peers ## measure the proxy beside its peers; a quarter of an hour, and the README's table and plot anew
	@$(BENCH) --write

.PHONY: bench-quick
bench-quick: build bench-peers ## the same on less, for a look; ONLY="hot cold" for some rows
	@$(BENCH) --size quick $(foreach row,$(ONLY),--only $(row))

.PHONY: bench-peers
bench-peers: setup
	@tests/tools/build.sh distribution >/dev/null

.PHONY: lint
lint: ## check formatting, lints, that every crate builds alone and that pure crates are pure
	@$(call say,formatting)
	cargo fmt --all --check
	$(call say,lints)
	cargo clippy --quiet --workspace --all-targets --locked -- -D warnings
	$(call say,every crate builds alone)
	for crate in $(CRATES); do cargo check --quiet --locked --package "$$crate"; done
	$(call say,pure crates name neither a runtime nor a client)
	for crate in $(PURE); do
		if cargo tree --quiet --locked --edges normal --prefix none --package "$$crate" | grep -E '^(tokio|hyper|reqwest|kube-client|kube-runtime) '; then
			echo "$$crate depends on it, and must not"
			exit 1
		fi
	done

.PHONY: generate
generate: ## write the custom resource definitions anew, in crds/ and in the chart
	@cargo run --quiet --locked --package tidepool-api --bin crdgen -- crds charts/tidepool/templates/crds

.PHONY: setup
setup:
	@tests/tools/apt.sh
	rustup --quiet target add $(MUSL) 2>/dev/null || rustup target add $(MUSL)
	find "$(TIDEPOOL_CACHE)" -maxdepth 1 -name 'target-*' ! -name 'target-$(LOCK_KEY)' -mtime +7 -exec rm -rf {} + 2>/dev/null || :

.PHONY: build
build: setup ## build the static release binaries
	@$(call say,release binaries ($(MUSL)))
	cargo build --release --locked --target $(MUSL) $(BINARIES:%=--package %)

.PHONY: image
image: build harness ## write one image archive that `ctr images import` takes
	@$(call say,image $(IMAGE))
	"$(CARGO_TARGET_DIR)/debug/tidepool-cluster" image --name "$(IMAGE)" --out "$(IMAGE_ARCHIVE)" $(BINARIES:%="$(RELEASE)/%")

.PHONY: harness
harness: setup
	@$(call say,cluster harness)
	cargo build --locked --package tidepool-tests --bins

.PHONY: tools
tools: setup ## build the Kubernetes, containerd and other peers the tests run
	@$(call say,peers from Go modules: a quarter of an hour the first time and then never again)
	tests/tools/build.sh >/dev/null
