#!/usr/bin/env bash
# build.sh [PEER...]: build the Go peers of the test suites and print the folder that holds their binaries.
#
# Each peer is a Go module of its own here, pinned by go.mod and go.sum and holding no source of ours. A peer is
# built once per pin: its binaries lie in a cache folder keyed by the hash of its two files and of the flags below,
# and the printed folder links to them. Build caches of Go are thrown away after each peer, since they are
# ten times larger than the binaries.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${TIDEPOOL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidepool}/tools
scratch=$cache/scratch.$$
trap 'chmod -R u+w "$scratch" 2>/dev/null || :; rm -rf "$scratch"' EXIT
say() { printf '%s\n' "$*" >&2; }

version_of() { sed -n "s|.*$2 \\(v[0-9.]*\\).*|\\1|p" "$here/$1/go.mod" | head -n 1; }

# Without a stamp nodes call themselves v0.0.0-master, and their runtime 2.4.2+unknown.
ldflags_of() {
    local version
    case $1 in
    kubernetes)
        version=$(version_of kubernetes k8s.io/kubernetes)
        echo "-s -w -X k8s.io/component-base/version.gitVersion=$version -X k8s.io/client-go/pkg/version.gitVersion=$version"
        ;;
    containerd)
        version=$(version_of containerd github.com/containerd/containerd/v2)
        echo "-s -w -X github.com/containerd/containerd/v2/version.Version=${version#v}"
        ;;
    containerd17)
        version=$(version_of containerd17 github.com/containerd/containerd)
        echo "-s -w -X github.com/containerd/containerd/version.Version=${version#v}"
        ;;
    *) echo "-s -w" ;;
    esac
}

# An older containerd's programs have the names of the newer one's: they lie in a folder of their own.
links_of() { # links_of PEER BIN
    case $1 in
    containerd17) echo "$2/containerd17" ;;
    *) echo "$2" ;;
    esac
}

key_of() { { cat "$here/$1/go.mod" "$here/$1/go.sum"; ldflags_of "$1"; go env GOVERSION; } | sha256sum | cut -c1-16; }

build() { # build PEER INTO
    local into=$2 started=$SECONDS tool
    mkdir -p "$into.partial"
    (
        cd "$here/$1"
        export CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOWORK=off GOCACHE=$scratch/build GOMODCACHE=${TIDEPOOL_GOMODCACHE:-$scratch/mod}
        for tool in $(go mod edit -json | sed -n '/"Tool"/,/\]/s/.*"Path": "\(.*\)".*/\1/p'); do
            go build -trimpath -ldflags "$(ldflags_of "$1")" -o "$into.partial/" "$tool" 2> >(grep -v '^go: downloading' >&2)
        done
    )
    # etcd's server package is called "server", distribution's "registry": on a PATH both say too little.
    [ ! -e "$into.partial/server" ] || mv "$into.partial/server" "$into.partial/etcd"
    rm -rf "$into" && mv "$into.partial" "$into"
    chmod -R u+w "$scratch" 2>/dev/null || :
    rm -rf "$scratch"
    say "  built $1 in $((SECONDS - started)) s"
}

peers=("$@")
[ ${#peers[@]} -gt 0 ] || mapfile -t peers < <(cd "$here" && ls -d */ | tr -d /)
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9 # two runs at once build each peer once
bin=$cache/bin
mkdir -p "$bin"
for peer in "${peers[@]}"; do
    into=$cache/$peer-$(key_of "$peer")
    if [ ! -d "$into" ]; then
        say "  building $peer (once per version; minutes on two cores)"
        build "$peer" "$into"
    fi
    mkdir -p "$(links_of "$peer" "$bin")"
    ln -sfn "$into"/* "$(links_of "$peer" "$bin")/"
done
echo "$bin"
