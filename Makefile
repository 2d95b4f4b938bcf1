# Everything that one does with Asof from a clone. Each target sets up what it needs.
# CARGO_TARGET_DIR is honoured; CARGO and its own variables work as usual.

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

# Every dev build takes the whole workspace, so that features are the same and third-party crates are
# built once for the quickstart and the tests.
BUILD := cargo build --workspace --locked

.DEFAULT_GOAL := help
.PHONY: help setup build demo test fuzz soak reliability audit planted bench check-duckdb check-flight

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r target text; do printf '%-22s %s\n' "$$target" "$$text"; done

setup: ## Check the Rust version, install missing system packages
	@scripts/setup.sh

build: setup ## Build everything (dev profile)
	$(BUILD)

demo: build ## The quickstart on real data: from definitions to a prediction request
	$(TARGET_DIR)/debug/asof --project examples/flights demo

test: ## Formatting, clippy, dependency rules, all tests; ends with "N passed, N failed"
	@scripts/test.sh

fuzz: ## Every fuzz target for an hour; ASOF_FUZZ_SECONDS=600 for less
	@scripts/setup.sh test
	ASOF_FUZZ_SECONDS=$${ASOF_FUZZ_SECONDS:-3600} cargo test --workspace --locked fuzz

soak: ## Ten minutes of 70 % of the load that the machine bears; ASOF_SOAK_SECONDS=60 for less
	@scripts/setup.sh test
	ASOF_SOAK_SECONDS=$${ASOF_SOAK_SECONDS:-600} cargo test --workspace --locked soak -- --nocapture

reliability: ## Try what must not break, and write RELIABILITY.md (half an hour)
	@scripts/setup.sh test
	@scripts/reliability.sh

audit: ## Dependency rules and security advisories, freshly fetched
	@scripts/audit.sh

planted: ## Plant each known bug and see a test catch it
	@scripts/setup.sh test
	@scripts/planted.sh

bench: setup ## Print the figures (release build); ARGS="--only extract --rows 100000" for less
	@scripts/bench.sh $(ARGS)

check-duckdb: build ## Compare what examples/flights extracts and serves with DuckDB's joins and expressions
	@scripts/check_duckdb.sh

check-flight: build ## Talk to a server with pyarrow's Flight client, and compare its datasets
	@scripts/check_flight.sh
