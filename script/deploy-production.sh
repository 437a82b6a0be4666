#!/usr/bin/env bash
# Deploys this tree to a cluster: images, namespaces, secrets, schemas, release, smoke test. You can
# repeat every step: run the script again after a failure, and for an upgrade.
#   ./script/deploy-production.sh --bucket BUCKET --image registry.example.com/asgard [OPTIONS]
#   --dry-run               shows the steps and their commands, and changes nothing
#   --bucket BUCKET         the lake's bucket; default S3_BUCKET
#   --image REPOSITORY      the gateway's image; Spark's is spark-custom in the same registry;
#                           default IMAGE_REPOSITORY
#   --tag TAG               tag of both images; default: the current git commit
#   --namespace NAME        namespace of the release `asgard`; default asgard
#   --values FILE           values of the chart (helmchart/values.yaml); repeatable
#   --set KEY=VALUE         a value of the chart; repeatable
#   --without STEP          skips build, push, secrets, spark-account, schemas or smoke-test;
#                           repeatable
# Secrets come from the environment, and are passed over stdin:
#   AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY    become the Secret s3-credentials in the gateway's and
#                                               in Spark's namespace; otherwise it must exist
#   REGISTRY_USERNAME, REGISTRY_PASSWORD        log docker in and become the Secret ecr-credentials in
#                                               both; for Amazon ECR, `aws` supplies them
#   TRINO_PASSWORD or TRINO_JWT_TOKEN           only for the schemas; the release reads them from
#                                               the Secrets that the values name
# docker, kubectl, helm, curl and python3 must be on PATH, and kubectl's context must be the cluster.
# Exit: 0 Asgard is deployed and works, 1 a step failed (see the output), 2 wrong usage.
set -euo pipefail
cd "$(dirname "$0")/.."

bucket=${S3_BUCKET:-} repository=${IMAGE_REPOSITORY:-} tag="" namespace=asgard dry_run="" without=" "
chart=()

misused() {
  printf '%s\n' "$@" >&2
  exit 2
}

while [[ $# -gt 0 ]]; do
  case $1 in
    --help) sed -n '2,25s/^# \{0,1\}//p' script/deploy-production.sh; exit 0 ;;
    --dry-run) dry_run=yes; shift; continue ;;
    --bucket | --image | --tag | --namespace | --values | --set | --without) ;;
    *) misused "Unknown option $1. See --help." ;;
  esac
  [[ -n ${2:-} ]] || misused "$1 has no value; see --help."
  case $1 in
    --bucket) bucket=$2 ;;
    --image) repository=$2 ;;
    --tag) tag=$2 ;;
    --namespace) namespace=$2 ;;
    --values | --set) chart+=("$1" "$2") ;;
    --without)
      [[ $2 =~ ^(build|push|secrets|spark-account|schemas|smoke-test)$ ]] ||
        misused "There is no step $2 that can be left out; see --help."
      without+="$2 "
      ;;
  esac
  shift 2
done
[[ -n $bucket ]] || misused "The bucket of the lake is missing: --bucket, or S3_BUCKET."
[[ -n $repository ]] || misused "The gateway's image is missing: --image, or IMAGE_REPOSITORY."
[[ $repository == */* ]] || misused "$repository does not name a registry, as registry.example.com/asgard does."
[[ ${AWS_ACCESS_KEY_ID:+given} == "${AWS_SECRET_ACCESS_KEY:+given}" ]] ||
  misused "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together: set both or neither."
[[ ${REGISTRY_USERNAME:+given} == "${REGISTRY_PASSWORD:+given}" ]] ||
  misused "REGISTRY_USERNAME and REGISTRY_PASSWORD belong together: set both or neither."
if [[ -z $tag ]]; then
  tag=$(git describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null) || misused "This is not a git repository: use --tag."
fi

image=$repository:$tag
spark_image=${repository%/*}/spark-custom:$tag
registry=${repository%%/*}
release=(asgard ./helmchart -n "$namespace" --set "s3Bucket=$bucket"
  --set "image.repository=$repository" --set-string "image.tag=$tag"
  --set-string "config.sparkImage=$spark_image" ${chart[@]+"${chart[@]}"})
user=${REGISTRY_USERNAME:-}
restart="" current=""

wanted() { [[ $without != *" $1 "* ]]; }
step() {
  current=$*
  printf '\n== %s\n' "$current"
}

show() {
  printf '  $'
  printf ' %q' "$@"
  printf '%s\n' "${after:-}"
}

# run COMMAND…: shows the command, and runs it unless this is a dry run.
run() {
  show "$@"
  [[ -n $dry_run ]] || "$@"
}

failed() {
  printf '\nFailed: %s. No later step was executed.\n' "$current" >&2
  [[ $# -eq 0 ]] || printf '%s\n' "$@" >&2
  echo "Fix the cause and run the same command again: completed steps stay as they are." >&2
  exit 1
}

# The environment of the release's containers, as NAME=VALUE lines, without values from Secrets.
read_settings() {
  local rendering=(helm template "${release[@]}" --set schemasJob.enabled=true -s templates/schemas-job.yaml)
  show "${rendering[@]}"
  [[ -z $dry_run ]] || return 0
  "${rendering[@]}" >"$work/job.yaml" || failed "The chart refuses these values."
  awk '/^ *- name: / { name = $3 }
    /^ *value: / { sub(/^ *value: "?/, ""); sub(/"$/, ""); print name "=" $0 }' \
    "$work/job.yaml" >"$work/settings"
}
setting() { sed -n "s/^$1=//p" "$work/settings"; }

# apply_secret NAMESPACE NAME TYPE KEY VALUE [KEY VALUE]: creates the Secret, or replaces its contents.
apply_secret() {
  local into=$1 name=$2 type=$3 data="" before
  shift 3
  printf '  $ kubectl apply --server-side --force-conflicts -f -   (the Secret %s in %s, over stdin)\n' "$name" "$into"
  [[ -z $dry_run ]] || return 0
  while [[ $# -gt 0 ]]; do
    data+="${data:+,}\"$1\":\"$(printf %s "$2" | base64 | tr -d '\n')\""
    shift 2
  done
  before=$(version_of "$into" "$name") || failed
  printf '{"apiVersion":"v1","kind":"Secret","metadata":{"name":"%s","namespace":"%s"},"type":"%s","data":{%s}}' \
    "$name" "$into" "$type" "$data" |
    kubectl apply --server-side --force-conflicts --field-manager=asgard-deploy -f - || failed
  # Pods read a Secret when they start.
  [[ $into != "$namespace" || -z $before || $(version_of "$into" "$name") == "$before" ]] || restart=yes
}
version_of() { kubectl get secret "$2" -n "$1" --ignore-not-found -o jsonpath='{.metadata.resourceVersion}'; }

needs_namespace() {
  [[ -z $dry_run ]] && kubectl get namespace "$1" >/dev/null 2>&1 && return
  run kubectl create namespace "$1" || failed "Check that kubectl reaches the cluster and that you may create namespaces there."
}

# The password of an ECR is valid for 12 hours.
log_in() {
  if [[ $registry =~ \.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com$ ]]; then
    printf '  $ aws ecr get-login-password --region %s   (into a variable)\n' "${BASH_REMATCH[1]}"
    user=AWS
    [[ -n $dry_run ]] || REGISTRY_PASSWORD=$(aws ecr get-login-password --region "${BASH_REMATCH[1]}") || failed
  fi
  [[ -n $user ]] || return 0
  printf '  $ docker login --username %q --password-stdin %q\n' "$user" "$registry"
  [[ -n $dry_run ]] ||
    printf %s "$REGISTRY_PASSWORD" | docker login --username "$user" --password-stdin "$registry" || failed
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
spark_namespace=SPARK_NAMESPACE s3_secret=S3_SECRET_NAME
if [[ -n $dry_run ]]; then
  echo "This is a plan: nothing is changed. SPARK_NAMESPACE and S3_SECRET_NAME stand for the names in the chart's"
  echo "values: by default spark-operator and s3-credentials."
else
  needed=(kubectl helm curl python3)
  ! wanted build && ! wanted push || needed+=(docker)
  for program in "${needed[@]}"; do
    command -v "$program" >/dev/null || misused "$program is not on PATH: install it."
  done
  echo "Into $(kubectl config current-context 2>/dev/null || echo "kubectl's cluster"), namespace $namespace"
fi

step "Check the chart's values"
read_settings
if [[ -z $dry_run ]]; then
  spark_namespace=$(setting SPARK_NAMESPACE) s3_secret=$(setting S3_SECRET_NAME)
fi

if wanted build; then
  step "Build $image and $spark_image"
  run docker build -t "$image" . || failed
  run docker build -f spark.Dockerfile -t "$spark_image" . || failed
fi

if wanted push; then
  step "Push both to $registry"
  log_in
  run docker push "$image" || failed "Is docker logged in there? Set REGISTRY_USERNAME and REGISTRY_PASSWORD to log in."
  run docker push "$spark_image" || failed
fi

step "Namespaces $namespace and $spark_namespace"
needs_namespace "$namespace"
needs_namespace "$spark_namespace"

if wanted secrets; then
  step "Secrets for S3 and the registry"
  for into in "$namespace" "$spark_namespace"; do
    if [[ -n ${AWS_ACCESS_KEY_ID:-} ]]; then
      apply_secret "$into" "$s3_secret" Opaque \
        AWS_ACCESS_KEY_ID "$AWS_ACCESS_KEY_ID" AWS_SECRET_ACCESS_KEY "$AWS_SECRET_ACCESS_KEY"
    elif [[ -n $dry_run ]]; then
      run kubectl get secret "$s3_secret" -n "$into"
    elif [[ -z $(version_of "$into" "$s3_secret") ]]; then
      failed "$into has no Secret $s3_secret: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or, if AWS's" \
        "own chain supplies credentials, use --set awsCredentials=chain --without secrets."
    fi
  done
  if [[ -n $user ]]; then
    login=$(printf '%s:%s' "$user" "${REGISTRY_PASSWORD:-}" | base64 | tr -d '\n')
    for into in "$namespace" "$spark_namespace"; do
      apply_secret "$into" ecr-credentials kubernetes.io/dockerconfigjson \
        .dockerconfigjson "{\"auths\":{\"$registry\":{\"auth\":\"$login\"}}}"
    done
  fi
fi

if wanted spark-account; then
  step "The account of Spark's drivers in $spark_namespace"
  account=(helm template "${release[@]}" --set sparkRbac.create=true -s templates/spark-rbac.yaml)
  after=' | kubectl apply -f -' show "${account[@]}"
  if [[ -z $dry_run ]]; then
    "${account[@]}" >"$work/account.yaml" || failed
    kubectl apply -f - <"$work/account.yaml" || failed
  fi
fi

if wanted schemas; then
  step "Schemas of silver and gold"
  names=(TRINO_HOST TRINO_PORT TRINO_USER TRINO_HTTP_SCHEME TRINO_CATALOG SILVER_SCHEMA GOLD_SCHEMA S3_BUCKET)
  if [[ -z $dry_run ]]; then
    for name in "${names[@]}"; do export "$name=$(setting "$name")"; done
  fi
  echo "  (with ${names[*]} from the chart's values)"
  run ./script/create-schemas.sh || failed "To continue without them, use --without schemas: Asgard also creates them, through the catalog."
fi

step "Install the release"
deployed=""
[[ -n $dry_run ]] ||
  deployed=$(kubectl get deployment asgard-app -n "$namespace" --ignore-not-found \
    -o jsonpath='{.spec.template.spec.containers[0].image}') || failed
run helm upgrade --install "${release[@]}" --wait --timeout 10m ||
  failed "kubectl get pods -n $namespace; kubectl logs -n $namespace job/asgard-schemas, or deploy/asgard-app" \
    "show the reason."

step "Wait for its pods"
# Kubernetes does not notice another image under the same name.
if wanted push && [[ $deployed == "$image" ]]; then restart=yes; fi
if [[ -n $restart ]]; then
  run kubectl rollout restart deployment asgard-app -n "$namespace" || failed
fi
run kubectl rollout status deployment asgard-app -n "$namespace" --timeout=10m || failed

if wanted smoke-test; then
  step "Smoke test"
  run ./script/production-test-dbt-api.sh --namespace "$namespace" || failed
fi
[[ -n $dry_run ]] || printf '\n%s is deployed.\n' "$image"
