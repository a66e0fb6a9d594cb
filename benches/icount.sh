#!/usr/bin/env bash
# Counts the instructions of each case of benches/icount.rs under callgrind and prints them beside
# their gates (benches/gates.txt). Ends 1 when a case is above its gate.
#   benches/icount.sh [PROGRAM]     PROGRAM: an icount already built; else it is built here
set -euo pipefail
cd "$(dirname "$0")/.."

program=${1:-}
if [ -z "$program" ]; then
  program=$(cargo bench --bench icount --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"name":"icount".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
  [ -n "$program" ] || { echo "icount: cannot build benches/icount.rs" >&2; exit 1; }
fi
command -v valgrind >/dev/null || { echo "icount: valgrind is not installed" >&2; exit 1; }

# Instructions of a whole run; two lengths differ by the work alone.
total() {
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1 |
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

status=0
printf '%-20s %12s %8s\n' case instructions gate
for case in $("$program" --list); do
  count=$(( ($(total "$case" 600) - $(total "$case" 100)) / 500 ))
  gate=$(awk -v c="$case" '$1 == c { print $2 }' benches/gates.txt)
  mark=
  if [ -n "$gate" ] && [ "$count" -gt "$gate" ]; then
    mark='  above the gate'
    status=1
  fi
  printf '%-20s %12d %8s%s\n' "$case" "$count" "${gate:--}" "$mark"
done
exit "$status"
