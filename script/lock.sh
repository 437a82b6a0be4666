#!/usr/bin/env bash
# Pins every dependency of the gateway with its hashes. The files name no index, so any mirror can serve them.
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ "${1:-}" == "--help" ]]; then sed -n '2s/^# //p' "$0"; exit 0; fi
compile() { uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --no-annotate -p 3.11 "$@"; }
compile pyproject.toml --group dev --group embedded -o requirements-dev.txt
compile pyproject.toml --group embedded -c requirements-dev.txt -o requirements.txt
compile pyproject.toml -c requirements-dev.txt -o requirements-production.txt
printf 'uv\nhatchling\neditables\n' | compile - -o requirements-bootstrap.txt
