#!/usr/bin/env bash
# Tests what happens when things die: gateways, the lakehouse, children, at random moments and in turn.
# Every kind of run meets 20 random deaths of the gateway, the lakehouse, every child that works on
# it and a connector. ASGARD_FAULT_SEED=N repeats a run. ASGARD_FAULT_DEATHS selects other deaths.
# Arguments go to pytest instead of the folder.
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ "${1:-}" == "--help" ]]; then sed -n '2,5s/^# //p' "$0"; exit 0; fi
./script/setup.sh requirements-dev.txt >/dev/null

[[ $# -gt 0 ]] || set -- tests/faults
exec .venv/bin/python -m pytest -n 2 --dist loadfile -rP --timeout 1200 "$@"
