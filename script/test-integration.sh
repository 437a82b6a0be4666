#!/usr/bin/env bash
# Runs Asgard on real servers (Trino, Nessie, Spark, a Kubernetes API server, …), two groups at once.
# What they need is fetched once into ~/.cache/asgard-it (ASGARD_IT_CACHE). Arguments: groups
# (airbyte, chart, dialects, operations, spark, trino, trino-seaweedfs; default all), then, after --,
# arguments for pytest. trino runs on Nessie; trino-seaweedfs runs the suites of SQL, dbt, data
# products, catalog and records once more on SeaweedFS's own catalog: a third of their tests, chosen
# by a printed seed (ASGARD_IT_SEED=N repeats it), or all with ASGARD_IT_SAMPLE=1.
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ "${1:-}" == "--help" ]]; then sed -n '2,7s/^# //p' "$0"; exit 0; fi
./script/setup.sh requirements-dev.txt >/dev/null

groups=()
while [[ $# -gt 0 && $1 != "--" ]]; do
  groups+=("$1")
  shift
done
for group in "${groups[@]}"; do
  [[ -d tests/integration/${group%-seaweedfs} && $group != */* ]] && continue
  printf 'There is no group %s.\n' "$group" >&2
  exit 2
done
[[ "${1:-}" == "--" ]] && shift
if [[ ${#groups[@]} -eq 0 ]]; then
  groups=(trino spark trino-seaweedfs airbyte operations dialects chart)  # the longest first
fi

logs=$(mktemp -d)
trap 'rm -r "$logs"' EXIT

test_group() {
  local group=$1 catalog=nessie sample=1 started=$SECONDS
  shift
  printf '\n=== %s ===\n' "$group"
  [[ $group == *-seaweedfs ]] && catalog=seaweedfs sample=${ASGARD_IT_SAMPLE:-0.34}
  ASGARD_IT_CATALOG=$catalog ASGARD_IT_SAMPLE=$sample \
    .venv/bin/python -m pytest "tests/integration/${group%-seaweedfs}" -p no:cacheprovider --timeout 600 \
    --durations=5 "$@" && touch "$logs/$group.passed"
  printf '=== %s: %d s ===\n' "$group" $((SECONDS - started))
}

# Most of a group's time is spent waiting for its servers. The output of one of several groups is
# printed when it ends.
test_in_background() {
  test_group "$@" >"$logs/$1" 2>&1 </dev/null
  flock "$logs/lock" cat "$logs/$1"
}

stop_groups() {
  local group
  for group in $(jobs -p); do kill -INT -- "-$group" || true; done
  wait
  exit 130
}

if [[ ${#groups[@]} -eq 1 ]]; then
  test_group "${groups[0]}" "$@"
else
  set -m # With job control, Ctrl-C lets each group stop its servers.
  trap stop_groups INT TERM
  for group in "${groups[@]}"; do
    while [[ $(jobs -pr | wc -l) -ge 2 ]]; do wait -n || true; done
    test_in_background "$group" "$@" &
  done
  wait
fi
failed=()
for group in "${groups[@]}"; do [[ -e $logs/$group.passed ]] || failed+=("$group"); done
if [[ ${#failed[@]} -gt 0 ]]; then
  printf 'failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
