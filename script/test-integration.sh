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
[[ "${1:-}" == "--" ]] && shift
if [[ ${#groups[@]} -eq 0 ]]; then
  groups=(trino spark trino-seaweedfs airbyte operations dialects chart)  # the longest first
fi

# Two groups at once: most of a group's time is spent waiting for its servers. Each group's output is
# printed when it ends. With job control, Ctrl-C lets each group stop its servers.
set -m
logs=$(mktemp -d)
stop_groups() {
  local group
  for group in $(jobs -p); do kill -INT -- "-$group"; done
  wait
  rm -r "$logs"
  exit 130
}
trap stop_groups INT TERM

run_group() {
  local group=$1 catalog=nessie sample=1 started=$SECONDS
  shift
  [[ $group == *-seaweedfs ]] && catalog=seaweedfs sample=${ASGARD_IT_SAMPLE:-0.34}
  ASGARD_IT_CATALOG=$catalog ASGARD_IT_SAMPLE=$sample \
    .venv/bin/python -m pytest "tests/integration/${group%-seaweedfs}" -p no:cacheprovider --timeout 600 \
    --durations=5 "$@" >"$logs/$group" 2>&1 || touch "$logs/$group.failed"
  {
    flock 9
    printf '\n=== %s ===\n' "$group"
    cat "$logs/$group"
    printf '=== %s: %d s ===\n' "$group" $((SECONDS - started))
  } 9>"$logs/lock"
}

for group in "${groups[@]}"; do
  while [[ $(jobs -pr | wc -l) -ge 2 ]]; do wait -n || true; done
  run_group "$group" "$@" &
done
wait
failed=()
for group in "${groups[@]}"; do [[ ! -e $logs/$group.failed ]] || failed+=("$group"); done
rm -r "$logs"
if [[ ${#failed[@]} -gt 0 ]]; then
  printf 'failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
