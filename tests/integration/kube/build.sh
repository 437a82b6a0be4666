#!/bin/bash
# build.sh OUTDIR NAME... : builds parts of the control plane from the Go module proxy alone.
# go.mod and go.sum are committed, so what is built never moves.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?outdir}
shift
mkdir -p "$out"
export GOFLAGS="-buildvcs=false -p=2 -mod=readonly" GOTOOLCHAIN=local CGO_ENABLED=0
version=k8s.io/component-base/version
flags="-s -w -X $version.gitVersion=v1.34.4 -X $version.gitMajor=1 -X $version.gitMinor=34"

for name in "$@"; do
  case $name in
    etcd) module=etcd package=go.etcd.io/etcd/server/v3 ;;
    kwok) module=kwok package=sigs.k8s.io/kwok/cmd/kwok ;;
    *) module=kube package=k8s.io/kubernetes/cmd/$name ;;
  esac
  [ -x "$out/$name" ] && continue
  echo "building $name" >&2
  # A build that is interrupted leaves no half a binary under the final name.
  (cd "$here/$module" && nice go build -ldflags "$flags" -o "$out/.$name" "$package")
  mv "$out/.$name" "$out/$name"
done
