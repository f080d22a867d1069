#!/usr/bin/env bash
# Every test, in the order in which a mistake is cheapest to find, and a summary at the end that repeats the closing
# line of every runner and all that was skipped. Called by `make test`.
#
# Not root, or no namespaces: the suites that need them are skipped, and say so. With CI=true skipping is a failure.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
logs=$(mktemp -d)
trap 'rm -rf "$logs"; [ -z "$building" ] || kill "$building" 2>/dev/null' EXIT
summary=() failed=0 building=

run() { # run TITLE COMMAND...: show the output, keep the closing lines
    local title=$1 log=$logs/${#summary[@]} started=$SECONDS verdict=passed
    shift
    printf '\n\033[1m==> %s\033[0m\n' "$title"
    if ! "$@" 2>&1 | tee "$log"; then
        verdict=FAILED failed=1
    fi
    summary+=("$(printf '%-7s %5d s  %s' "$verdict" $((SECONDS - started)) "$title")")
    while IFS= read -r line; do summary+=("                 $line"); done < <(
        grep -E '^SKIPPED: ' "$log" | sort -u
        awk '/^test result: /{gsub(/[;.]/, ""); for (i = 1; i < NF; i++) {if ($(i + 1) == "passed") p += $i; if ($(i + 1) == "failed") f += $i; if ($(i + 1) == "ignored") s += $i}; n++}
             END {if (n) printf "%d passed, %d failed, %d skipped\n", p, f, s}' "$log"
    )
    [ $verdict = passed ]
}

cluster_suite() {
    # Two at a time: a case mostly waits, for kubelets and for leases. `make suite` simulates a thousand nodes.
    make image tools && TIDEPOOL_NODES=250 cargo test --locked --package tidepool-tests --test cluster -- --test-threads=2 --nocapture
}

# A dozen pulls; `make matrix` makes all.
fault_matrix() {
    make image tools && cargo test --locked --package tidepool-tests --test matrix
}

peers_suite() {
    if [ "$(id -u)" -ne 0 ]; then
        echo "SKIPPED: the suite between real registries and clients needs root, for mount namespaces"
        return
    fi
    cargo test --locked --package tidepool-tests --test peers
}

run "set-up" make setup && {
    # Compilers that wait for one another leave a core to others. Tests do not run beside them; what fails here is said below.
    make tools >/dev/null 2>&1 &
    building=$!
    run "formatting, lints, every crate alone" make lint
    wait "$building"
    building=
}
run "units, properties, and the suites of each crate" cargo test --locked --workspace --exclude tidepool-tests
run "texts" cargo test --locked --package tidepool-tests --test texts
run "benchmarks, in small" cargo test --locked --package tidepool-tests --test bench
run "peers built from Go modules" make tools &&
    run "proxy between real registries and clients" peers_suite &&
    run "cluster harness" cargo test --locked --package tidepool-tests --lib --bins --test harness -- --nocapture &&
    run "chart on a real API server" cargo test --locked --package tidepool-tests --test chart -- --test-threads=1 --nocapture &&
    { # whatever becomes of the one: what the other says is of use
        run "cluster" cluster_suite
        run "fault matrix, a dozen pulls" fault_matrix
    }

printf '\n\033[1m==> summary\033[0m\n'
printf '%s\n' "${summary[@]}"
skipped=$(printf '%s\n' "${summary[@]}" | grep -c 'SKIPPED: ')
if [ "${CI:-}" = true ] && [ "$skipped" -gt 0 ]; then
    echo "With CI=true nothing may be skipped."
    failed=1
fi
total() { printf '%s\n' "${summary[@]}" | sed -nE "s/.* ([0-9]+) $1.*/\\1/p" | awk '{n += $1} END {print n + 0}'; }
printf '%d passed, %d failed, %d skipped\n' "$(total passed)" "$(total failed)" "$(($(total skipped) + skipped))"
exit $failed
