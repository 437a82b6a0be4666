#!/usr/bin/env bash
# Creates the silver and gold schemas through Trino. Asgard creates them itself at startup. Use this to
# create them earlier, or if Trino and Asgard use different catalogs.
# Reads Asgard's own settings, with their defaults: TRINO_HOST (trino.data-platform.svc.cluster.local),
# TRINO_PORT, TRINO_USER, TRINO_PASSWORD or TRINO_JWT_TOKEN, TRINO_HTTP_SCHEME (https with one of
# those), TRINO_VERIFY (true, false, or a CA file), TRINO_CATALOG, SILVER_SCHEMA, GOLD_SCHEMA,
# and S3_BUCKET, the location of the schemas. Without it, the catalog chooses their location.
# If the name SERVICE.NAMESPACE.svc… does not resolve, it uses kubectl port-forward.
# Exit: 0 both exist, 1 Trino was unreachable or refused, 2 the settings are wrong.
set -euo pipefail
if [[ "${1:-}" == "--help" ]]; then sed -n '2,9s/^# //p' "$0"; exit 0; fi
here=$(cd "$(dirname "$0")" && pwd)

host=${TRINO_HOST:-trino.data-platform.svc.cluster.local}
port=${TRINO_PORT:-8080}
user=${TRINO_USER:-dbt}
password=${TRINO_PASSWORD:-}
token=${TRINO_JWT_TOKEN:-}
verify=${TRINO_VERIFY:-true}
catalog=${TRINO_CATALOG:-iceberg}
scheme=${TRINO_HTTP_SCHEME:-http}
[[ -n ${TRINO_HTTP_SCHEME:-} || -z $password$token ]] || scheme=https
url=$scheme://$host:$port
seconds=300

misused() {
  printf '%s\n' "$@" >&2
  exit 2
}

[[ $# -eq 0 ]] || misused "Unknown argument $1. See --help."
command -v curl >/dev/null || misused "curl is not on PATH: install it."
[[ -z $password || -z $token ]] ||
  misused "TRINO_PASSWORD and TRINO_JWT_TOKEN are alternative credentials: set only one."
[[ $scheme == https || ($scheme == http && -z $password$token) ]] ||
  misused "TRINO_HTTP_SCHEME must be http or https, and https with a password or token: http is unencrypted."
for name in "$catalog" "${SILVER_SCHEMA:-silver}" "${GOLD_SCHEMA:-gold}"; do
  [[ $name =~ ^[A-Za-z0-9_-]+$ ]] || misused "$name is not a valid catalog or schema name."
done
[[ ${S3_BUCKET:-} =~ ^[A-Za-z0-9._-]*$ ]] || misused "S3_BUCKET=$S3_BUCKET is not a valid bucket name."
[[ $user$password$token != *$'\n'* ]] ||
  misused "TRINO_USER, TRINO_PASSWORD and TRINO_JWT_TOKEN must each be one line."

work=$(mktemp -d)
end() {
  [[ -z ${forwarder:-} ]] || stop_forwarding
  rm -rf "$work"
}
trap end EXIT
curl_options=(-sS -f -g --connect-timeout 5 --max-time 60 -H "X-Trino-User: $user"
  # Trino's protocol requires retries after 502, 503 and 504.
  --retry 8 --retry-delay 1 --retry-max-time 60
  -o "$work/answer" -w '%{http_code}')
case $verify in
  [Tt][Rr][Uu][Ee]) ;;
  [Ff][Aa][Ll][Ss][Ee]) curl_options+=(--insecure) ;;
  *)
    [[ -r $verify ]] || misused "TRINO_VERIFY=$verify is neither true nor false nor a readable file."
    curl_options+=(--cacert "$verify")
    ;;
esac

# Options that must not appear in a list of processes.
secret_options() {
  local basic="$user:$password"
  basic=${basic//\\/\\\\}
  [[ -z $password ]] || printf 'user = "%s"\n' "${basic//\"/\\\"}"
  [[ -z $token ]] || printf 'header = "Authorization: Bearer %s"\n' "$token"
}

# ask CURL_ARGUMENTS…: sets `code` (of curl) and `status`. The answer is in $work/answer.
ask() {
  code=0
  : >"$work/answer"
  status=$(secret_options | curl -K - "${curl_options[@]}" "$@" 2>"$work/error") || code=$?
}

# Prints what went wrong and what to do about it.
explained() {
  case $code in
    6) echo "$host does not resolve. Check TRINO_HOST." ;;
    22)
      case $status in
        401 | 403) echo "Trino refuses $user ($status). Check TRINO_USER and TRINO_PASSWORD or TRINO_JWT_TOKEN." ;;
        *) echo "$url responded with $status. Check TRINO_HOST, TRINO_PORT, TRINO_HTTP_SCHEME and Trino's own log." ;;
      esac
      ;;
    35 | 51 | 52 | 56 | 58 | 60 | 77) echo "$(<"$work/error") Check TRINO_HTTP_SCHEME and TRINO_VERIFY." ;;
    *) echo "Trino cannot be reached at $url: $(<"$work/error") Check TRINO_HOST, TRINO_PORT and the network." ;;
  esac
}

text_of() { sed -n "s/.*\"$1\": *\"\(\([^\"\\\\]\|\\\\.\)*\)\".*/\1/p" "$work/answer" | sed 's/\\\(["\\/]\)/\1/g'; }

# Trino executes a statement only while its results are requested.
statement() {
  local next ends=$((SECONDS + seconds))
  ask --data-binary "$1" "$url/v1/statement"
  while ((code == 0)) && next=$(text_of nextUri) && [[ -n $next ]]; do
    if ((SECONDS >= ends)); then
      echo "$1: not finished within $seconds s. Check Trino's load." >&2
      return 1
    fi
    # Trino may know itself under another address than the one that works from here.
    ask "$url/${next#*://*/}"
  done
  if ((code != 0)); then
    echo "$1: $(explained)" >&2
    return 1
  fi
  if grep -q '"error": *{' "$work/answer"; then
    echo "$1: $(text_of message)" >&2
    return 1
  fi
  if ! grep -q '"stats"' "$work/answer"; then
    echo "$1: the server at $url is not Trino. Check TRINO_HOST and TRINO_PORT." >&2
    return 1
  fi
}

# reach_inside: connects to a Service of the cluster under its own name, which its certificate has.
reach_inside() {
  local service namespace rest
  IFS=. read -r service namespace rest <<<"$host"
  [[ $rest == svc* ]] || { explained >&2; exit 1; }
  command -v kubectl >/dev/null || { echo "$(explained) With kubectl on PATH, it can be reached from outside." >&2; exit 1; }
  . "$here/port-forward.sh"
  echo "$host does not resolve here: using kubectl port-forward." >&2
  forward "$namespace" "svc/$service" "$port" ||
    { echo "Configure kubectl for the cluster of Trino, or run this where $host resolves." >&2; exit 1; }
  curl_options+=(--connect-to "$host:$port:127.0.0.1:$forwarded_port")
}

ask --retry 0 "$url/v1/info"
((code != 6)) || reach_inside

for schema in "${SILVER_SCHEMA:-silver}" "${GOLD_SCHEMA:-gold}"; do
  location=""
  [[ -z ${S3_BUCKET:-} ]] || location=" WITH (location = 's3://$S3_BUCKET/$schema/')"
  statement "CREATE SCHEMA IF NOT EXISTS \"$catalog\".\"$schema\"$location"
  echo "$catalog.$schema exists"
done
