#!/usr/bin/env bash
# Sets a copy of the tree up with the newest Python on this machine, and runs the unit and contract
# tests and the documents in it. PYTHON= names another one. Arguments go to pytest instead.
# --fast leaves out the thorough tests, like script/test.sh --fast.
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ "${1:-}" == "--help" ]]; then sed -n '2,4s/^# //p' "$0"; exit 0; fi

pyenv=${PYENV_ROOT:-$HOME/.pyenv}
newest() {
  local minor candidate
  for minor in {30..11}; do
    for candidate in "python3.$minor" "$pyenv/versions/3.$minor".*/bin/python3; do
      if "$candidate" -c '' 2>/dev/null; then
        printf '%s' "$candidate"
        return
      fi
    done
  done
  printf 'Python 3.11 or newer was not found. Install it, or set its path: PYTHON=…\n' >&2
  return 1
}

python=${PYTHON:-$(newest)}
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$copy"
cd "$copy"
PYTHON=$python ./script/setup.sh requirements-dev.txt >/dev/null
if [[ $# -eq 0 || $1 == "--fast" ]]; then
  tests=(tests/unit tests/contract tests/embedded/operations/test_documents.py)
  [[ $# -eq 0 ]] || tests+=(-m "not thorough" --hypothesis-profile=fast)
  set -- "${tests[@]}"
fi
.venv/bin/python --version
.venv/bin/python -m pytest -n 2 --dist loadfile -p no:cacheprovider "$@"
