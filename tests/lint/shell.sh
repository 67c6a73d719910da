#!/usr/bin/env bash
# Shell scripts pass shellcheck.
set -eu
cd "$(dirname "$0")/../.."
git ls-files '*.sh' .ci/run | xargs shellcheck
