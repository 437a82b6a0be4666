#!/usr/bin/env bash
# Calls every route of the API, in the order in which data flows: source, bronze, silver, gold, data
# product. It shows each call and its response, and exits with 1 after an unexpected response.
#   ./script/api-examples.sh                      an embedded gateway on this machine
#   ./script/api-examples.sh --source FILE        any other gateway: FILE is the JSON body of a source that
#                                                 the gateway can read, as POST /airbyte/datasource
#                                                 takes it; its first stream is synced
# ASGARD_URL                                      default http://127.0.0.1:8000
# ASGARD_API_KEY or ASGARD_API_KEY_FILE           a key with the scope admin, unless AUTH_MODE is none
# ASGARD_HOME                                     the embedded gateway's home, for the example's
#                                                 file: default .asgard
# Everything that it creates is called api-examples and deleted at the end, even after a failure. Two
# things stay, since the API has no call to delete them: the files in bronze/ and the table
# silver.api_examples. The next run overwrites both. Do not run two at once.
# Exit: 0, 1 a call failed, 2 wrong usage.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

source_body=""
case "${1:-}" in
  --help) sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 0 ;;
  --source) source_body=${2:-} ;;
  "") ;;
  *) echo "Unknown option $1. See --help." >&2; exit 2 ;;
esac

. "$here/gateway-client.sh"
trap 'rm -rf "$work"' EXIT
needs_programs curl python3
read_key
[[ $# -eq 0 || -r $source_body ]] || misused "--source: there is no file ${source_body:-given}."

json=(-H 'content-type: application/json')
name="api-examples"
table=api_examples

# call STATUSES METHOD PATH [BODY | curl's arguments]: STATUSES is 200, or 200|202.
call() {
  local expected=$1 method=$2 path=$3 target body=""
  shift 3
  if [[ $# -eq 1 ]]; then
    body=" $(printf '%s' "$1" | tr -s ' \n' ' ')"
    set -- "${json[@]}" --data-binary "$1"
  fi
  target=$api$path
  [[ $path != /health* && $path != /metrics && $path != /problems ]] || target=$url$path
  request "$method" "$target" "$@"
  printf '%s %s%s\n    %s %s\n' "$method" "${target#"$url"}" "$body" "$status" "$(shown)"
  [[ $status =~ ^($expected)$ ]] ||
    stop "" "$method ${target#"$url"} should return $expected: $(problem)" "${hint:-$(advice)}"
}

# Prints the response, on one line.
shown() {
  [[ $status != 000 && -s $work/answer ]] || return 0
  if [[ $type == application/gzip ]]; then
    echo "$(wc -c <"$work/answer") bytes of $type"
  else
    head -c 400 "$work/answer" | tr '\n\r\t' '   ' | cut -c 1-150
  fi
}

chapter() { printf '\n== %s\n' "$*"; }

# ids LIST KEY: prints the ids of the items called api-examples in the answer's list.
ids() {
  python3 -c '
import json, sys
_, file, items, key, name = sys.argv
for item in json.load(open(file))[items]:
    if item["name"] == name:
        print(item[key])
' "$work/answer" "$1" "$2" "$name"
}

# delete PATH: 409 means that a run still uses it.
delete() {
  local ends=$((SECONDS + 60))
  while call '204|409' DELETE "$1" && [[ $status == 409 ]]; do
    ((SECONDS < ends)) || stop "" "$1 cannot be deleted: $(problem)"
    sleep 1
  done
}

# forget LIST_PATH LIST KEY PATH [QUERY]: deletes everything called api-examples.
forget() {
  local id
  call 200 GET "$1"
  for id in $(ids "$2" "$3"); do delete "$4/$id${5:-}"; done
}

clean_up() {
  forget "/data-products?search=$name" data_products id /data-products '?drop_table=true'
  forget /airbyte/ingestion ingestions connectionId /airbyte/ingestion
  forget /airbyte/datasource sources sourceId /airbyte/datasource
  forget /airbyte/sink destinations destinationId /airbyte/sink
  if [[ -n ${transformation:-} ]]; then
    delete "/dbt/transformations/$transformation?drop_table=true"
    transformation=""
  fi
  [[ -z ${sample:-} ]] || rm -f "$sample"
}

end() {
  local code=$?
  trap - EXIT
  if ((code != 0)) && [[ ${begun:-} ]]; then
    chapter "Delete everything that was created"
    (clean_up) || echo "Something called $name was left behind. Run this again." >&2
  fi
  rm -rf "$work"
  exit "$code"
}
trap end EXIT

chapter "The gateway itself"
call 200 GET /health
call 200 GET /health/ready
call 200 GET /metrics
call 200 GET /problems

begun=yes
chapter "Delete what an interrupted run has left"
clean_up

chapter "Ingestion: a source, a sink and an ingestion from one to the other"
call 200 GET /airbyte/connectors
if [[ -n $source_body ]]; then
  (umask 077 && python3 -c '
import json, sys
json.dump(json.load(open(sys.argv[1])) | {"name": sys.argv[2]}, sys.stdout)
' "$source_body" "$name" >"$work/source")
else
  sample=${ASGARD_HOME:-.asgard}/data/$table.csv
  mkdir -p "${sample%/*}"
  printf 'order_id,customer,amount\n1,Ada,10.50\n2,Ada,4.50\n3,Grace,7.00\n' >"$sample"
  printf '{"name": "%s", "type": "file", "config": {"url": "%s.csv"}}' "$name" "$table" >"$work/source"
fi
hint="Name a source that the gateway can read with --source, or set ASGARD_HOME to the gateway's value."
call '201|202' POST /airbyte/datasource "${json[@]}" --data-binary "@$work/source"
source_id=$(field id)
install=$(field run.run_id)
[[ -z $install ]] || await_run "$install"
call 200 GET "/airbyte/datasource/$source_id"
call 200 POST "/airbyte/datasource/$source_id/check"
[[ $(field succeeded) == true ]] ||
  stop "" "The source cannot be read: $(field message)" "$hint"
hint=""
call 200 GET "/airbyte/datasource/$source_id/streams"
stream=$(field streams.0.name)
call 201 POST /airbyte/sink "{\"name\": \"$name\", \"type\": \"s3\"}"
sink_id=$(field id)
call 200 GET "/airbyte/sink/$sink_id"
call 201 POST /airbyte/ingestion "{\"name\": \"$name\", \"sourceId\": \"$source_id\",
  \"destinationId\": \"$sink_id\", \"streams\": [{\"name\": \"$stream\"}]}"
ingestion=$(field connectionId)
bronze=$(field streams.0.path)
call 200 GET "/airbyte/ingestion/$ingestion"
call 200 PATCH "/airbyte/ingestion/$ingestion" '{"schedule": {"scheduleType": "manual"}}'
call '200|202' POST "/airbyte/ingestion/$ingestion/sync"
sync=$(field run_id)
await_run "$sync"
[[ $state == succeeded ]] || stop "" "The sync's state is $state: $(field failure.message)"
call 200 GET "/airbyte/ingestion/$ingestion/status"

chapter "Spark: from bronze into silver"
spark_body="{\"destination_table\": \"$table\", \"sql\": \"SELECT * FROM parquet.\`${bronze#bronze/}\`\"}"
call 200 POST /spark/transform "$spark_body"
spark=$(field run_id)
call 200 GET "/spark/transform/$spark/status"
await_run "$spark"
[[ $state == succeeded ]] || stop "" "The job's state is $state: $(field failure.message)"
call 200 GET "/spark/transform/$spark/logs?tail_lines=20"
call 200 GET "/spark/transform/$spark/events"
call 200 GET "/spark/transform/$spark/metrics"
call 200 GET '/spark/transform/jobs?limit=5&status_filter=COMPLETED'
call 200 POST /spark/transform "$spark_body"
cancelled=$(field run_id)
call 200 POST "/spark/transform/$cancelled/cancel"
await_run "$cancelled"

chapter "dbt: from silver into gold"
call 200 GET /dbt/sources/silver
call 200 POST /dbt/validate-sql "{\"sql_query\": \"SELECT * FROM silver.$table\"}"
[[ $(field is_valid) == true ]] || stop "" "The SQL is not valid: $(field message)"
call '200|202' POST /dbt/transform "{\"name\": \"$table\", \"tags\": [\"example\"],
  \"sql_query\": \"SELECT count(*) AS orders FROM silver.$table\"}"
transformation=$(field transformation_id)
built=$(field run_id)
await_run "$built"
[[ $state == succeeded ]] || stop "" "The transformation's state is $state: $(field failure.message)"
call 200 GET '/dbt/transformations?page=1&page_size=20&status=completed'
call 200 GET "/dbt/transformations/$transformation"
call '200|202' POST "/dbt/transformations/$transformation/run?wait_seconds=0"
again=$(field run_id)
call 200 GET /dbt/tables/gold
call 200 GET /dbt/project

chapter "Runs: the work of all engines"
call 200 POST "/runs/$again/cancel"
await_run "$again"
call 200 GET '/runs?kind=dbt&page_size=5'
call 200 GET "/runs/$built"
call 200 GET "/runs/$built/logs?tail_lines=5"
call 200 GET "/runs/$built/events"
call 200 GET "/runs/$built/events" "${json[@]}" -H 'accept: text/event-stream'

chapter "A data product"
call 201 POST /data-products "{\"name\": \"$name\", \"description\": \"Created by script/api-examples.sh\",
  \"data_product_type\": \"CUSTOM\", \"owner\": \"examples\", \"consumers\": [\"bi_team\"],
  \"update_frequency\": \"daily\", \"tags\": [\"example\"],
  \"sql_query\": \"SELECT orders FROM gold.$table\"}"
product=$(field id)
version=$(field version)
call 200 GET '/data-products?tag=example&page_size=5'
call 200 GET "/data-products/$product"
call 200 PUT "/data-products/$product" "${json[@]}" -H "if-match: \"$version\"" \
  --data-binary '{"description": "Changed"}'
call '200|202' POST "/data-products/$product/run"
await_run "$(field run.run_id)"
[[ $state == succeeded ]] || stop "" "The product's state is $state: $(field failure.message)"
call 200 GET "/data-products/$product/lineage"
call 200 GET "/data-products/$product/stats"
call 200 GET "/data-products/$product/preview?limit=5"

chapter "Who changed what"
call 200 GET '/audit?outcome=done&page_size=5'

chapter "Delete everything that was created"
clean_up
printf '\nEvery call returned what was expected.\n'
