#!/usr/bin/env bash
# Runs Asgard on real servers (Trino, Nessie, Spark, a Kubernetes API server, …), group by group.
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
  for folder in tests/integration/{airbyte,chart,dialects,operations,spark,trino}; do
    [[ -d $folder ]] && groups+=("${folder##*/}")
  done
  groups+=(trino-seaweedfs)
fi

# One group at a time: its servers are gone before those of the next one start.
failed=()
for group in "${groups[@]}"; do
  printf '\n=== %s ===\n' "$group"
  started=$SECONDS
  catalog=nessie sample=1
  [[ $group == *-seaweedfs ]] && catalog=seaweedfs sample=${ASGARD_IT_SAMPLE:-0.34}
  ASGARD_IT_CATALOG=$catalog ASGARD_IT_SAMPLE=$sample \
    .venv/bin/python -m pytest "tests/integration/${group%-seaweedfs}" -p no:cacheprovider --timeout 600 \
    --durations=5 "$@" || failed+=("$group")
  printf '=== %s: %d s ===\n' "$group" $((SECONDS - started))
done
if [[ ${#failed[@]} -gt 0 ]]; then
  printf 'failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
