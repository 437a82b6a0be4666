# shellcheck shell=bash
# Read before the commands of a document. What changes something asks the API server to judge it and
# to leave it; what needs a kubelet has to name things that are there; the rest is simply done.

kubectl() {
  if [[ " $* " == *" --dry-run="* ]]; then command kubectl "$@"; return; fi
  case " $1 $2 " in
    " rollout restart ") command kubectl get -o name "$3" "$4" -n asgard > /dev/null; return ;;
    # "no" is an answer too.
    " auth can-i ") command kubectl "$@" || [[ $? -eq 1 ]]; return ;;
    # Under another name: of one that is there, kubectl 1.34 says something else than that it is.
    " autoscale "*) set -- "$@" --name=asgard-app-too --dry-run=server ;;
    " create "* | " apply "* | " delete "* | " scale "* | " run "*) set -- "$@" --dry-run=server ;;
    " exec "* | " logs "* | " port-forward "* | " top "*) needs_kubelet "$@"; return ;;
  esac
  local said
  if ! said=$(command kubectl "$@" 2>&1); then
    # The release that the documents lead to is already there.
    [[ "$said" =~ AlreadyExists|"already exists" ]] || { printf '%s\n' "kubectl $*: $said" >&2; return 1; }
  fi
  printf '%s\n' "$said"
}

needs_kubelet() {
  local verb=$1 namespace="" what="" label=""
  shift
  while (($#)); do
    case $1 in
      -n) namespace=$2; shift ;;
      -l) label=$2; shift ;;
      --) break ;;
      -*) ;;
      *) [[ -n "$what" ]] || what=$1 ;;
    esac
    shift
  done
  if [[ "$verb" == top ]]; then return; fi
  [[ -z "$label" ]] || { [[ -n "$(command kubectl get pods -n "$namespace" -l "$label" -o name)" ]]; return; }
  [[ "$what" == */* ]] || what=pod/$what
  command kubectl get "$what" -n "$namespace" -o name > /dev/null
}

# There is no container engine: what is built has to be here, what is pushed to have been built.
built=" "
docker() {
  [[ "$1 $2" != "build -t" ]] || { [[ -f "${5:-Dockerfile}" ]] && built+="$3 "; return; }
  [[ $1 == push && "$built" == *" $2 "* ]]
}

helm() {
  case $1 in
    upgrade) command helm "$@" --dry-run=server ;;
    rollback | uninstall) command helm "$@" --dry-run ;;
    test) command helm status "$2" -n asgard ;;
    *) command helm "$@" ;;
  esac
}
