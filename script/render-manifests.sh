#!/usr/bin/env bash
# Renders k8s/ from helmchart/. Applied after helm, production-deployment.yaml only adds the Ingress.
#   script/render-manifests.sh                    writes k8s/*.yaml
#   script/render-manifests.sh --check            exits with 1 if they differ from the chart
#   script/render-manifests.sh --all ARGUMENTS…   prints all objects, for clusters without helm:
#                                                 --all --set s3Bucket=my-bucket | kubectl apply -f -
# Needs helm on PATH. --all creates no key: the Secret api-secrets must exist.
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ "${1:-}" == "--help" ]]; then sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0; fi

template() { helm template asgard helmchart -n asgard "$@"; }

# The labels of the chart are for helm, and do not belong on objects that helm does not own.
plain() { sed -e '/managed-by: Helm$/d' -e '/^# Source: /d'; }

render() {
  echo "# Rendered from helmchart/ by script/render-manifests.sh: change the chart, not this file."
  template --set s3Bucket=rendered "$@" | plain
}

write() {
  mkdir -p "$1"
  render --set ingress.enabled=true -s templates/ingress.yaml >"$1/production-deployment.yaml"
  render --set sparkRbac.create=true -s templates/spark-rbac.yaml >"$1/spark-rbac.yaml"
}

case "${1:-}" in
  --all)
    shift
    template --no-hooks --skip-tests --set auth.apiKey.create=false "$@" | plain
    ;;
  --check)
    fresh=$(mktemp -d)
    trap 'rm -rf "$fresh"' EXIT
    write "$fresh"
    diff -ru k8s "$fresh"
    ;;
  "") write k8s ;;
  *)
    echo "Unknown argument $1. See --help." >&2
    exit 2
    ;;
esac
