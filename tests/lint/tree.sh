#!/usr/bin/env bash
# What the tree may hold: its top level, no leftover notes, no addresses in lock files, no machine paths.
set -eu
cd "$(dirname "$0")/../.."
status=0
complain() {
    echo "$1"
    status=1
}
allowed=' services libs proto deploy docker-compose.yml Makefile tests docs LICENSE README.md '
for entry in $(git ls-tree --name-only HEAD | grep -v '^\.'); do
    case $allowed in
    *" $entry "*) ;;
    *) complain "top level: $entry does not belong there" ;;
    esac
done
! git grep -nE '\b(TODO|FIXME|XXX|HACK)\b' -- ':!tests/lint/tree.sh' ':!*package-lock.json' || complain 'a leftover note'
! git grep -nE '"resolved": *"https?://' -- '*package-lock.json' || complain 'a download address in a lock file'
! git grep -nE '/w[o]rk/[a-z]+/' -- ':!tests/lint/tree.sh' || complain 'a path of a build machine'
git log --format=%s | grep -vE '^[a-z0-9/_.,* -]+: .+' && complain 'a commit subject without "area: what changes"'
exit $status
