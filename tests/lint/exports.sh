#!/usr/bin/env bash
# An archive defines only bb_* and names that start with its own: no accidental export. replog's posix_fallocate and
# syscall are meant to be found (libs/replog/blocks.c, aio.c).
set -eu
cd "$(dirname "$0")/../.."
status=0
for archive in build/release/lib/libbb_*.a; do
    name=$(basename "$archive" .a)
    name=${name#libbb_}
    [ "$name" != proto ] || continue
    found=$(nm --defined-only -g "$archive" 2>/dev/null | awk 'NF == 3 { print $3 }' |
        grep -vE "^(bb_|${name}_|_)" || true)
    [ "$name" != replog ] || found=$(grep -vxE 'posix_fallocate|syscall' <<<"$found" || true)
    if [ -n "$found" ]; then
        echo "$archive exports:" "$found"
        status=1
    fi
done
exit $status
