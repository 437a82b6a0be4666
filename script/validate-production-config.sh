#!/usr/bin/env bash
# Checks the environment and .env as production would: every variable, then every dependency, which
# must be reachable and allow what Asgard needs. This is the same as `asgard doctor`, which you can also
# run in a pod: kubectl exec -n asgard deploy/asgard-app -- asgard doctor
#   script/validate-production-config.sh
# ENVIRONMENT is production unless it is set. Creates only scratch objects, and removes them.
# Exit: 0 everything works, 1 a check failed (the table shows what to do), 2 wrong usage.
set -euo pipefail
if [[ "${1:-}" == "--help" ]]; then sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0; fi
if [[ $# -gt 0 ]]; then
  echo "Unknown argument $1. See --help." >&2
  exit 2
fi
cd "$(dirname "$0")/.."

asgard=.venv/bin/asgard
if [[ ! -x $asgard ]] && ! asgard=$(command -v asgard); then
  ./script/setup.sh requirements-production.txt >/dev/null
  asgard=.venv/bin/asgard
fi
ENVIRONMENT=${ENVIRONMENT:-production} exec "$asgard" doctor
