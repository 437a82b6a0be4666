#!/usr/bin/env bash
# build.sh OUTDIR : builds helm, helm-unittest and kubeconform from the Go module proxy alone.
# go.mod and go.sum are committed, so what is built never moves.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?outdir}
mkdir -p "$out"
export GOFLAGS="-buildvcs=false -p=2 -mod=readonly" GOTOOLCHAIN=local CGO_ENABLED=0
# As Helm's own Makefile says: without it, Helm takes every cluster that it does not ask for 1.20.
kube="-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=34"
kube+=" -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=34"

for tool in helm/helm.sh/helm/v3/cmd/helm \
  kubeconform/github.com/yannh/kubeconform/cmd/kubeconform \
  helm-unittest/github.com/helm-unittest/helm-unittest/cmd/helm-unittest; do
  name=${tool%%/*} package=${tool#*/}
  [[ -x $out/$name ]] && continue
  echo "building $name" >&2
  # A build that is interrupted leaves no half a binary under the final name.
  (cd "$here/$name" && nice go build -ldflags "-s -w $kube" -o "$out/.$name" "$package")
  mv "$out/.$name" "$out/$name"
done
