#!/usr/bin/env bash
# shellcheck disable=SC2016 # backquotes are Markdown here
# The generated reference pages are current. reference.sh --write makes them.
set -eu
cd "$(dirname "$0")/../.."
make -s -j"$(nproc)" MODE=release programs
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
{
    echo '# Options'
    echo
    echo 'Made by `tests/lint/reference.sh --write` from the programs themselves. A flag `--name` is also the environment variable'
    echo '`BB_<PROGRAM>_<NAME>` (with `_` for `-`) and a line `name = value` in the file of `--config`. Flags win over the'
    echo 'environment, the environment over the file.'
    for program in solo gateway worker sequencer storage scheduler ctl; do
        echo
        build/release/bin/bb-$program --help-markdown
    done
} >"$made/options.md"
{
    echo '# Errors'
    echo
    echo 'Made by `tests/lint/reference.sh --write` from `libs/base/include/bb/status.h`. *In*: happens inside a function, HTTP 200 with'
    echo '`{status: "error", code, errorMessage}`. *Out*: `{code, message}` with the HTTP status.'
    echo
    echo '| code | HTTP | where | sending it again may help |'
    echo '|---|---|---|---|'
    sed -n 's/^ *X(BB_[A-Z_]*, *[0-9]*, *\([0-9]*\), *"\([A-Za-z]*\)", *\([A-Z]*\), *[A-Z]*, *\([a-z]*\)).*/\1 \2 \3 \4/p' \
        libs/base/include/bb/status.h |
        awk '$2 != "Ok" { print "| `" $2 "` | " $1 " | " ($3 == "IN" ? "in" : "out") " | " ($4 == "true" ? "yes" : "no") " |" }'
} >"$made/errors.md"
if [ "${1:-}" = --write ]; then
    cp "$made"/*.md docs/reference/
    exit 0
fi
for page in "$made"/*.md; do
    diff -u "docs/reference/$(basename "$page")" "$page" || {
        echo "docs/reference/$(basename "$page") is not current: run tests/lint/reference.sh --write"
        exit 1
    }
done
