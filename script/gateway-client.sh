# shellcheck shell=bash
# To be sourced: how a script calls a gateway. The key goes to curl over stdin, never by argv.

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

# ASGARD_API_KEY, or what is in the file ASGARD_API_KEY_FILE.
read_key() {
  key=${ASGARD_API_KEY:-}
  if [[ -z $key && -n ${ASGARD_API_KEY_FILE:-} ]]; then
    [[ -r $ASGARD_API_KEY_FILE ]] || misused "ASGARD_API_KEY_FILE=$ASGARD_API_KEY_FILE cannot be read."
    key=$(<"$ASGARD_API_KEY_FILE")
  fi
  [[ $key =~ ^[[:graph:]]*$ && $key != *[\"\\]* ]] ||
    misused "The API key has a character that no key has: look for a space or a line break in it."
}

# request METHOD URL [curl's arguments]: sets `status` (000: no answer) and `type`, the answer's media
# type; the answer itself is in $work/answer.
request() {
  local method=$1 target=$2 told
  shift 2
  told=$(
    { [[ -z $key ]] || printf 'header = "Authorization: Bearer %s"\n' "$key"; } |
      curl -K - -sS -g --connect-timeout 5 --max-time 180 -X "$method" -o "$work/answer" \
        -w '%{http_code} %{content_type}' "$@" "$target" 2>"$work/error"
  ) || told=000
  # shellcheck disable=SC2034 # for who sources this
  read -r status type <<<"$told"
}

# field PATH: a value of the answer, such as `streams.0.name`; nothing when it is not there.
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

# What the gateway says is wrong, in a line.
problem() {
  if [[ $status == 000 ]]; then
    sed 's/^curl: ([0-9]*) //' "$work/error"
  else
    { field detail || head -c 300 "$work/answer"; } 2>/dev/null
  fi
}

# What to do about $status.
advice() {
  case $status in
    000) echo "Is a gateway serving at $url? Start one with \`asgard serve\`, or set ASGARD_URL." ;;
    401) echo "Set ASGARD_API_KEY or ASGARD_API_KEY_FILE to a key that \`asgard keys create\` has shown." ;;
    403) echo "Take a key of the scope that is missing: \`asgard keys create NAME --scope admin\` has all." ;;
    429) echo "Wait as long as Retry-After says, or raise RATE_LIMIT." ;;
    5??) echo "\`asgard doctor\`, on the gateway's machine or in its pod, says which dependency fails." ;;
    *) echo "$url/docs has what this route takes and answers." ;;
  esac
}

# await_run ID: until it has ended; sets `state`.
await_run() {
  local ends=$((SECONDS + ${RUN_SECONDS:-300}))
  state=""
  while [[ $state != succeeded && $state != failed && $state != cancelled ]]; do
    ((SECONDS < ends)) || stop "" "Run $1 is still ${state:-unknown}: see $api/runs/$1"
    [[ -z $state ]] || sleep 0.5
    request GET "$api/runs/$1"
    [[ $status == 200 ]] || stop "" "GET /runs/$1 answered $status: $(problem)" "$(advice)"
    state=$(field state)
  done
}
