#!/usr/bin/env bash
# Libraries never include services, no include goes upward, only one library touches each third party.
set -eu
cd "$(dirname "$0")/../.."
status=0
complain() {
    echo "$1"
    status=1
}
! grep -rnE '#include "(\.\./|services/)' libs services --include='*.[ch]' --include='*.cc' --exclude-dir=node_modules ||
    complain 'an include path goes upward or into services/'
only() {
    local found
    found=$(grep -rlE "#include <$1" libs services --include='*.c' --include='*.h' --include='*.cc' --include='*.hh' --exclude-dir=node_modules |
        grep -vE "$2" || true)
    [ -z "$found" ] || complain "only $2 may include <$1>: $found"
}
only 'lmdb\.h' '^libs/kv/'
only 'raft' '^libs/replog/'
only 'nng/' '^libs/(wire|rt)/'
only 'http_parser\.h' '^libs/http/'
only 'pthread\.h' '^libs/(base|rt|vm)/|^services/worker/slot/'
only 'v8' '^libs/vm/'
only 'jansson\.h' '^libs/(value|jwt)/|^services/gateway/|^services/ctl/'
only 'openssl/' '^libs/jwt/'
exit $status
