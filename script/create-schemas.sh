#!/usr/bin/env bash
# Makes the silver and gold schemas through Trino. Asgard makes them itself when it starts; this is
# for those who want them before, or whose Trino and Asgard see different catalogs.
# Reads TRINO_HOST, TRINO_PORT, TRINO_USER, TRINO_CATALOG, SILVER_SCHEMA, GOLD_SCHEMA, S3_BUCKET.
set -euo pipefail
if [[ "${1:-}" == "--help" ]]; then sed -n '2,4s/^# //p' "$0"; exit 0; fi

host=${TRINO_HOST:-trino.data-platform.svc.cluster.local}
url="${TRINO_HTTP_SCHEME:-http}://$host:${TRINO_PORT:-8080}"
user=${TRINO_USER:-dbt}
catalog=${TRINO_CATALOG:-iceberg}

# Trino works on a statement only while its answers are asked for.
statement() {
  local answer next error
  answer=$(curl -sSf --max-time 60 -X POST "$url/v1/statement" -H "X-Trino-User: $user" -d "$1")
  while next=$(sed -n 's/.*"nextUri":"\([^"]*\)".*/\1/p' <<<"$answer") && [[ -n $next ]]; do
    answer=$(curl -sSf --max-time 60 -H "X-Trino-User: $user" "$next")
  done
  error=$(sed -n 's/.*"error":{"message":"\([^"]*\)".*/\1/p' <<<"$answer")
  if [[ -n $error ]]; then
    echo "$1: $error" >&2
    return 1
  fi
}

for schema in "${SILVER_SCHEMA:-silver}" "${GOLD_SCHEMA:-gold}"; do
  location=""
  [[ -n ${S3_BUCKET:-} ]] && location=" WITH (location = 's3://$S3_BUCKET/$schema/')"
  statement "CREATE SCHEMA IF NOT EXISTS $catalog.$schema$location"
  echo "$catalog.$schema is there"
done
