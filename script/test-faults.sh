#!/usr/bin/env bash
# Kills at random: every kind of run, 20 times each while the gateway, the lakehouse, every child and
# a connector is killed. Longer than the share that test.sh runs. ASGARD_FAULT_SEED=N repeats one.
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ "${1:-}" == "--help" ]]; then sed -n '2,3s/^# //p' "$0"; exit 0; fi
./script/setup.sh requirements-dev.txt >/dev/null

# G the gateway, L the lakehouse, C one child of each other kind, K a connector while it reads.
deaths=$(printf 'GGLLCCKK%.0s' {1..10})
ASGARD_FAULT_DEATHS=$deaths exec .venv/bin/python -m pytest tests/faults/test_faults_kill_points.py \
  --timeout 1200 -s "$@"
