#!/usr/bin/env bash
# Sets everything up, then runs the default tests: unit, contract and embedded end to end.
# Arguments go to pytest: ./script/test.sh tests/unit -k guard
# --fast runs most unit and contract tests, with few generated examples, in less than a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ "${1:-}" == "--help" ]]; then sed -n '2,4s/^# //p' "$0"; exit 0; fi
./script/setup.sh requirements-dev.txt >/dev/null
# Schemathesis gives the tests of all operations one id, and xdist runs one test of each id: so this
# file goes without it.
document=tests/contract/test_openapi.py
if [[ "${1:-}" == "--fast" ]]; then
  shift
  set -- tests/unit tests/contract --ignore="$document" -m "not thorough" \
    --hypothesis-profile=fast "$@"
fi
if [[ $# -eq 0 ]]; then
  .venv/bin/python -m pytest "$document"
  set -- --ignore="$document"
fi
# Three workers even on two cores: tests also wait for real engines. A file stays with one worker and
# its lakehouse; in pyproject's order, the longest tests first, so that no worker is left alone with
# one.
exec .venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder "$@"
