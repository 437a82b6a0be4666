#!/usr/bin/env bash
# Creates .venv with the pinned packages of a requirements file, each checked by its hash.
# Usage: script/setup.sh [requirements.txt | requirements-dev.txt | requirements-production.txt]
# Does nothing if that is already done, otherwise prints "installed" at the end. PYTHON= chooses the interpreter (3.11 or newer).
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ "${1:-}" == "--help" ]]; then sed -n '2,4s/^# //p' "$0"; exit 0; fi

requirements=${1:-requirements.txt}
stamp=.venv/.installed-$requirements
venv=$PWD/.venv/bin

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "$@"
  exit 1
}

# What the environment is made from; its own path, since a virtual environment cannot be moved.
fingerprint() {
  { pwd && cat requirements-bootstrap.txt "$requirements" pyproject.toml app/warehouse/*/worker.sql; } | cksum
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13 python}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s' "$candidate"
      return
    fi
  done
  fail "Asgard needs Python 3.11 or newer, which ${PYTHON:-python3} is not." \
    "Install it, or set its path: PYTHON=/path/to/python3.11 $0"
}

[[ -f $requirements ]] || fail "$requirements does not exist here."
wanted=$(fingerprint)
if [[ -f $stamp && $(<"$stamp") == "$wanted" ]] && "$venv/python" -c '' 2>/dev/null; then
  exit 0
fi

started=$SECONDS
if ! "$venv/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  python=$(find_python)
  say "Creating .venv with $("$python" --version)"
  "$python" -m venv --clear .venv ||
    fail "The virtual environment could not be created. On Debian and Ubuntu: apt install python3-venv"
fi
say "Installing the packages of $requirements, each checked by its hash"
"$venv/python" -m pip --version >/dev/null 2>&1 || "$venv/python" -m ensurepip >/dev/null
"$venv/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
  -r requirements-bootstrap.txt

# uv does not read pip's configuration: a mirror that is set up for pip applies to both.
if [[ -z ${UV_DEFAULT_INDEX:-} ]]; then
  index=${PIP_INDEX_URL:-$("$venv/python" -m pip config get global.index-url 2>/dev/null || true)}
  [[ -z $index ]] || export UV_DEFAULT_INDEX=$index
fi
export VIRTUAL_ENV=$PWD/.venv
# Compile and parse once, here. Sandboxed workers cannot write __pycache__, so they would repeat this
# at every start.
"$venv/uv" pip install --quiet --no-deps --require-hashes --compile-bytecode -r "$requirements"
"$venv/uv" pip install --quiet --no-deps --no-build-isolation --editable .
"$venv/python" -m compileall -q -j 0 app
"$venv/python" -m app.warehouse.precompile || say "Workers will start more slowly."
printf '%s\n' "$wanted" >"$stamp"
say "Ready in $((SECONDS - started)) s"
echo installed
