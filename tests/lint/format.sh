#!/usr/bin/env bash
# C and C++ files are in the form of .clang-format.
set -eu
cd "$(dirname "$0")/../.."
git ls-files '*.c' '*.h' '*.cc' '*.hh' | xargs clang-format-14 --dry-run -Werror
