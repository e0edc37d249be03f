#!/bin/sh
# symbols.sh LIBRARY HEADER: the library shows the functions that the header declares, and no other symbol.
set -eu
shown=$(nm -D --defined-only "$1" | awk '$2 != "A" {sub(/@.*/, "", $3); print $3}' | LC_ALL=C sort)
declared=$(tr '\n' ' ' <"$2" |
  grep -o 'GSVNET_EXPORT [^()#]*gsvnet_[a-z_]*(' |
  sed 's/.*[ *]\(gsvnet_[a-z_]*\)(/\1/' | LC_ALL=C sort)
if [ "$shown" != "$declared" ]; then
  printf 'shown:\n%s\ndeclared:\n%s\n' "$shown" "$declared" >&2
  exit 1
fi
printf '%s\n' "$shown"
