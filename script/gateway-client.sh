# shellcheck shell=bash
# Source this file to call a gateway from a script. The key goes to curl over stdin, never by argv.

url=${ASGARD_URL:-http://127.0.0.1:8000}
url=${url%/}
api=$url/api/${API_VERSION:-v1}
work=$(mktemp -d)

stop() {
  printf '%s\n' "$@" >&2
  exit 1
}

misused() {
  printf '%s\n' "$@" >&2
  exit 2
}

needs_programs() {
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null || misused "$program is not on PATH: install it."
  done
}

# The key: ASGARD_API_KEY, or the contents of the file ASGARD_API_KEY_FILE.
read_key() {
  key=${ASGARD_API_KEY:-}
  if [[ -z $key && -n ${ASGARD_API_KEY_FILE:-} ]]; then
    [[ -r $ASGARD_API_KEY_FILE ]] || misused "ASGARD_API_KEY_FILE=$ASGARD_API_KEY_FILE cannot be read."
    key=$(<"$ASGARD_API_KEY_FILE")
  fi
  [[ $key =~ ^[[:graph:]]*$ && $key != *[\"\\]* ]] ||
    misused "The API key contains an invalid character: look for a space or a line break in it."
}

# request METHOD URL [curl's arguments]: sets `status` (000: no response) and `type`, its media type.
# The response itself is in $work/answer.
request() {
  local method=$1 target=$2 told
  shift 2
  told=$(
    { [[ -z $key ]] || printf 'header = "Authorization: Bearer %s"\n' "$key"; } |
      curl -K - -sS -g --connect-timeout 5 --max-time 180 -X "$method" -o "$work/answer" \
        -w '%{http_code} %{content_type}' "$@" "$target" 2>"$work/error"
  ) || told=000
  # shellcheck disable=SC2034 # for scripts that source this
  read -r status type <<<"$told"
}

# field PATH: prints a value of the response, for example `streams.0.name`, or nothing if it is missing.
field() {
  python3 -c '
import json, sys
value = json.load(open(sys.argv[1]))
for part in sys.argv[2].split("."):
    try:
        value = value[int(part) if isinstance(value, list) else part]
    except (LookupError, TypeError, ValueError):
        value = None
if value is not None:
    print(value if isinstance(value, str) else json.dumps(value))
' "$work/answer" "$1"
}

# Prints the error of the gateway, on one line.
problem() {
  if [[ $status == 000 ]]; then
    sed 's/^curl: ([0-9]*) //' "$work/error"
  else
    { field detail || head -c 300 "$work/answer"; } 2>/dev/null
  fi
}

# Prints what to do about $status.
advice() {
  case $status in
    000) echo "No gateway responds at $url. Start one with \`asgard serve\`, or set ASGARD_URL." ;;
    401) echo "Set ASGARD_API_KEY or ASGARD_API_KEY_FILE to a key that \`asgard keys create\` has shown." ;;
    403) echo "Use a key with the missing scope: \`asgard keys create NAME --scope admin\` creates one with all scopes." ;;
    429) echo "Wait as long as Retry-After says, or raise RATE_LIMIT." ;;
    5??) echo "\`asgard doctor\`, on the gateway's machine or in its pod, shows which dependency fails." ;;
    *) echo "$url/docs describes the parameters and responses of this route." ;;
  esac
}

# await_run ID: waits until the run has ended, and sets `state`.
await_run() {
  local ends=$((SECONDS + ${RUN_SECONDS:-300}))
  state=""
  while [[ $state != succeeded && $state != failed && $state != cancelled ]]; do
    ((SECONDS < ends)) || stop "" "Run $1 is still ${state:-unknown}: see $api/runs/$1"
    [[ -z $state ]] || sleep 0.5
    request GET "$api/runs/$1"
    [[ $status == 200 ]] || stop "" "GET /runs/$1 returned $status: $(problem)" "$(advice)"
    state=$(field state)
  done
}
