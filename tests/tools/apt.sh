#!/usr/bin/env bash
# Install the Debian packages that building and testing need and that are missing. Silent when none is.
#
# --list prints them. Elsewhere than on Debian, or not as root, it names what to install and goes on: whoever needs
# one of them says so then.
set -euo pipefail

packages=(
    busybox-static  # root file system of test images
    ca-certificates # authorities in Tidepool's image and on the nodes
    curl            # a client of the suites
    gcc             # links Rust programs, builds the cryptography
    iproute2        # bridge, addresses and routes of the nodes
    iptables        # kube-proxy, and the ports of pods
    libc6-dev       # as gcc
    musl-tools      # static release binaries
    nginx-light     # a peer of the benchmarks: what sendfile can do
    openssl         # a server and client of the suites
    podman          # a client of the suites
    procps          # what a developer looks for on a node
    runc            # runs the containers of the nodes
    skopeo          # a client of the suites
    strace          # kills the agent's writer of files at every system call
    util-linux      # namespaces: unshare and nsenter
)

if [ "${1:-}" = --list ]; then
    printf '%s\n' "${packages[@]}"
    exit
fi
if ! command -v apt-get >/dev/null; then
    echo "  not a Debian machine: see to it that it has what these packages hold: ${packages[*]}" >&2
    exit
fi

missing=()
for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
    echo "  not root; please install: ${missing[*]}" >&2
    exit
fi

echo "  installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt-get -qq update && apt-get -qq install --yes --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
