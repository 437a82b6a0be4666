#!/usr/bin/env bash
# Takes real data from sources to a data product, as a REST client of a gateway that it starts.
#   ./script/demo.sh                     leaves the gateway serving until Ctrl-C
#   ./script/demo.sh --check [--seed N]  compares every figure with DuckDB's over the raw files
#   PORT=8001 ./script/demo.sh           uses another port than 8000
#   ASGARD_HOME=DIR ./script/demo.sh     stores the files in DIR (default: .asgard)
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ "${1:-}" == "--help" ]]; then sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0; fi

port=${PORT:-8000}
started=$(date +%s)

if ! [[ $port =~ ^[0-9]{1,5}$ ]] || ((10#$port < 1 || 10#$port > 65535)); then
  echo "PORT=$port is invalid: expected a number from 1 to 65535." >&2
  exit 2
fi
# Checked before the setup, which can take minutes. The demo itself checks again.
if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
  echo "Another program uses port $port. Choose another port: PORT=$((10#$port + 1)) $0 $*" >&2
  exit 1
fi

installed=$(script/setup.sh requirements.txt)
export PORT=$port ASGARD_DEMO_STARTED=$started ASGARD_DEMO_COLD=${installed:+1}
exec .venv/bin/asgard demo "$@"
