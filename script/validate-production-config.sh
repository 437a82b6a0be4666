#!/usr/bin/env bash
# Checks what is in the environment and in .env here as production would take it: every variable,
# then every dependency: reached, authenticated, allowed. The same as `asgard doctor`, which a
# running pod has, too: kubectl exec -n asgard deploy/asgard-app -- asgard doctor
#   script/validate-production-config.sh
# ENVIRONMENT is production unless it is set. Changes nothing but scratch objects that it removes.
# Exit code: 0 all is well, 1 something failed and the table says how to mend it, 2 wrong usage.
set -euo pipefail
if [[ "${1:-}" == "--help" ]]; then sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0; fi
if [[ $# -gt 0 ]]; then
  echo "There is no $1; see --help." >&2
  exit 2
fi
cd "$(dirname "$0")/.."

asgard=.venv/bin/asgard
if [[ ! -x $asgard ]] && ! asgard=$(command -v asgard); then
  ./script/setup.sh requirements-production.txt >/dev/null
  asgard=.venv/bin/asgard
fi
ENVIRONMENT=${ENVIRONMENT:-production} exec "$asgard" doctor
