#!/usr/bin/env bash
# Tests a deployed Asgard: that it is reachable, requires a key, and can build. It creates a
# transformation and a data product of one row, reads them back and deletes both.
#   ./script/production-test-dbt-api.sh                      at ASGARD_URL, default http://127.0.0.1:8000
#   ./script/production-test-dbt-api.sh --namespace asgard   the release there, through kubectl
#                                                            port-forward, with its Secret api-secrets
#   --service NAME                                           with --namespace: default asgard-service
# ASGARD_API_KEY or ASGARD_API_KEY_FILE                      a key with the scopes dbt, data-products and
#                                                            runs, unless AUTH_MODE is none
# RUN_SECONDS                                                how long a run may take: default 300
# READY_SECONDS                                              how long the gateway may take to be reachable: default 30
# Exit: 0 everything works, 1 a check failed (see the last lines), 2 wrong usage.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

namespace="" service=asgard-service READY_SECONDS=${READY_SECONDS:-30}
while [[ $# -gt 0 ]]; do
  case $1 in
    --help) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --namespace) namespace=${2:-}; shift ;;
    --service) service=${2:-}; shift ;;
    *) echo "Unknown option $1. See --help." >&2; exit 2 ;;
  esac
  shift || { echo "The last option has no value. See --help." >&2; exit 2; }
done

. "$here/gateway-client.sh"
. "$here/port-forward.sh"
trap 'rm -rf "$work"' EXIT
needs_programs curl python3
[[ -z $namespace ]] || needs_programs kubectl

# step WHAT: prints the step; ok prints how long it took.
step() {
  what=$1
  printf '%-58s' "$what"
  since=$(date +%s)
}
ok() { printf ' ok  %s s%s\n' $(($(date +%s) - since)) "${1:+  $1}"; }
failed() {
  printf ' FAILED\n'
  stop "" "$what: $1" "$2"
}

# ask STATUSES METHOD PATH [BODY]
ask() {
  local expected=$1 method=$2 target=$3
  shift 3
  [[ $# -eq 0 ]] || set -- -H 'content-type: application/json' --data-binary "$1"
  request "$method" "$target" "$@"
  [[ $status =~ ^($expected)$ ]] ||
    failed "$method ${target#"$url"} returned $status: $(problem)" "$(advice)"
}

# built ID: waits for a run, which must succeed.
built() {
  await_run "$1"
  [[ $state == succeeded ]] || failed "$(field failure.message)" \
    "$(field failure.hint) Its log: GET $api/runs/$1/logs"
}

end() {
  local code=$?
  trap - EXIT
  if [[ -n ${product:-} ]] && ! deleted "$api/data-products/$product?drop_table=true"; then
    printf 'The data product %s was left behind.\n' "$name" >&2
    code=1
  fi
  if [[ -n ${transformation:-} ]] && ! deleted "$api/dbt/transformations/$transformation?drop_table=true"; then
    printf 'The transformation %s was left behind.\n' "$name" >&2
    code=1
  fi
  stop_forwarding
  rm -rf "$work"
  exit "$code"
}
# 409 means that a run still uses it.
deleted() {
  local ends=$((SECONDS + 30))
  request DELETE "$1"
  while [[ $status == 409 ]] && ((SECONDS < ends)); do
    sleep 1
    request DELETE "$1"
  done
  [[ $status == 204 ]]
}
trap end EXIT

if [[ -n $namespace ]]; then
  port=$(kubectl get service "$service" -n "$namespace" -o jsonpath='{.spec.ports[0].port}') ||
    stop "Is the release in the namespace $namespace of kubectl's cluster? If its Service has another name, use --service."
  forward "$namespace" "svc/$service" "$port" || exit 1
  url=http://127.0.0.1:$forwarded_port
  api=$url/api/${API_VERSION:-v1}
  if [[ -z ${ASGARD_API_KEY:-}${ASGARD_API_KEY_FILE:-} ]]; then
    ASGARD_API_KEY=$(
      kubectl get secret api-secrets -n "$namespace" --ignore-not-found \
        -o go-template='{{index .data "api-key" | base64decode}}'
    )
  fi
fi
read_key
name=asgard_smoke_$(date +%s)_$RANDOM
json_name="\"name\": \"$name\""

echo "Asgard at $url"
step "The gateway is alive"
ask 200 GET "$url/health"
ok "version $(field version)"

step "All dependencies are reachable"
# The first answer of a gateway that has just started may be slow.
ends=$((SECONDS + READY_SECONDS))
ask '200|503' GET "$url/health/ready"
while [[ $(field status) != ready ]] && ((SECONDS < ends)); do
  sleep 1
  ask '200|503' GET "$url/health/ready"
done
away=$(field dependencies | python3 -c '
import json, sys
for name, probe in (json.load(sys.stdin) or {}).items():
    if probe["status"] != "ok":
        print(name + ":", probe["cause"] or probe["status"])
')
[[ $(field status) == ready ]] ||
  failed "it is $(field status). $away" "\`asgard doctor\`, in its pod, says what to do about each one."
ok

step "Requests without a key are refused"
given=$key key=""
request GET "$api/runs"
key=$given
case $status in
  401) ok ;;
  200) printf ' OPEN\n' && echo "  AUTH_MODE is none: anyone who can reach $url can do everything." ;;
  *) failed "without a key, it returned $status: $(problem)" "$(advice)" ;;
esac

step "SQL is planned"
ask 200 POST "$api/dbt/validate-sql" '{"sql_query": "SELECT 42 AS answer"}'
[[ $(field is_valid) == true ]] || failed "$(field message)" "Is Trino healthy, and are its schemas there?"
ok

step "A transformation is built"
ask '200|202' POST "$api/dbt/transform" "{$json_name, \"sql_query\": \"SELECT 42 AS answer\",
  \"description\": \"Smoke test: may be deleted\", \"tags\": [\"smoke-test\"]}"
transformation=$(field transformation_id)
run=$(field run_id)
built "$run"
ok

step "It is recorded with one row"
ask 200 GET "$api/dbt/transformations/$transformation"
[[ $(field status) == completed && $(field row_count) == 1 ]] ||
  failed "its status is $(field status), its row count $(field row_count)" "See GET $api/runs/$run"
ask 200 GET "$api/dbt/tables/gold"
grep -q "\"table_name\":\"$name\"" "$work/answer" ||
  failed "$name is not among the gold tables" "Do Trino and Asgard see the same catalog?"
ask 200 GET "$api/runs/$run/logs"
ok

step "A data product is built from it"
ask 201 POST "$api/data-products" "{$json_name, \"data_product_type\": \"CUSTOM\",
  \"owner\": \"smoke-test\", \"description\": \"Smoke test: may be deleted\",
  \"sql_query\": \"SELECT answer FROM gold.$name\"}"
product=$(field id)
ask '200|202' POST "$api/data-products/$product/run"
built "$(field run.run_id)"
ok

step "Its row can be read"
ask 200 GET "$api/data-products/$product/preview"
[[ $(field rows.0.0) == 42 ]] || failed "the row is $(field rows.0), not 42" "See GET $api/data-products/$product"
ask 200 GET "$api/data-products/$product/stats"
[[ $(field row_count) == 1 ]] || failed "stats show $(field row_count) rows" "See GET $api/data-products/$product"
ok

step "Both are deleted, with their tables"
deleted "$api/data-products/$product?drop_table=true" || failed "$status: $(problem)" "$(advice)"
product=""
deleted "$api/dbt/transformations/$transformation?drop_table=true" || failed "$status: $(problem)" "$(advice)"
transformation=""
ok
echo "It works."
