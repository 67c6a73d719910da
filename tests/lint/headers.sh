#!/usr/bin/env bash
# Each public header includes all it needs: it compiles alone.
set -eu
cd "$(dirname "$0")/../.."
status=0
includes=()
for dir in libs/*/include services/*/include; do includes+=("-I$dir"); done
for header in libs/*/include/bb/*.h services/*/include/bb/*.h; do
    gcc -std=c17 -D_GNU_SOURCE -fsyntax-only -Wall -Wextra "${includes[@]}" -Ibuild/gen/proto -x c "$header" || {
        echo "$header does not compile alone"
        status=1
    }
done
exit $status
