# shellcheck shell=bash
# Source this file to reach a Service inside the cluster through kubectl, from outside.

forwarder=""

# forward NAMESPACE svc/NAME PORT: sets `forwarded_port`, on 127.0.0.1.
forward() {
  local told ends=$((SECONDS + 30))
  told=$(mktemp)
  kubectl port-forward -n "$1" "$2" ":$3" >"$told" 2>&1 &
  forwarder=$!
  forwarded_port=""
  while [[ -z $forwarded_port ]]; do
    if ! kill -0 "$forwarder" 2>/dev/null || ((SECONDS >= ends)); then
      printf 'kubectl port-forward -n %s %s :%s: %s\n' "$1" "$2" "$3" "$(<"$told")" >&2
      rm -f "$told"
      return 1
    fi
    sleep 0.1
    forwarded_port=$(sed -n 's/^Forwarding from 127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$told" | head -n 1)
  done
  rm -f "$told"
}

stop_forwarding() {
  [[ -n $forwarder ]] || return 0
  kill "$forwarder" 2>/dev/null || true
  wait "$forwarder" 2>/dev/null || true
  forwarder=""
}
