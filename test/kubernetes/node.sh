#!/usr/bin/env bash
# One node of the Kubernetes of cluster.sh, to be run in its namespaces: containerd, kubelet, kube-proxy, and a bridge for pods
# with Istio's CNI plugin behind it, which lets pods alone that have istio-init.
#
#   node.sh NUMBER PROGRAMS FOLDER IMAGES…
#
# Node 1 lives in the network of the control plane, another one in a network of its own, linked by a cable. FOLDER is that of
# cluster.sh; what the node writes is in FOLDER/nodeNUMBER: `up` once it is ready.
set -euo pipefail

number=$1 programs=$2 folder=$3
name=node$number address=10.99.0.$number etc=$folder/etc own=$folder/$name log=$folder/log/$name
if [ "$number" != 1 ] && [ "${IN_OWN_NETWORK:-}" != yes ]; then
  ip netns add "$name"
  ip link add "$name" type veth peer name eth0 netns "$name"
  ip link set "$name" up
  ip route add "$address" dev "$name" src 10.99.0.1
  ip route add "10.88.$number.0/24" via "$address" dev "$name" onlink
  export IN_OWN_NETWORK=yes
  exec nsenter --net="/run/netns/$name" unshare --mount --propagation private "$0" "$@"
fi
shift 3
mkdir -p "$own"/{cni,kubelet,pods,istio-cni} "$log"
hyper() { exec "$programs/hyper" "$@"; }
until_ok() { # SECONDS COMMAND…
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { echo "node.sh: not in time: $*" >&2 && exit 1; }
    sleep 0.1
  done
}

# ── what another node must not see of it ──────────────────────────────────────────────────────────────────────────────

cgroup_root=/
if [ "$number" != 1 ]; then
  mount --make-rshared /
  mount -t tmpfs tmpfs /run
  mkdir -p /run/lock /run/netns
  ip link set lo up
  ip address add "$address/24" dev eth0
  ip link set eth0 up
  ip route add default via 10.99.0.1
  sysctl -qw net.ipv4.ip_forward=1
  # A kubelet removes pods that it does not know from its part of the tree.
  cgroup_root=/byname-$name
  for hierarchy in /sys/fs/cgroup/*/; do
    mkdir -p "$hierarchy$cgroup_root"
    [ ! -e "$hierarchy/cpuset.cpus" ] || for file in cpuset.cpus cpuset.mems; do cat "$hierarchy/$file" >"$hierarchy$cgroup_root/$file"; done
  done
fi
for fixed in /var/lib/cni /var/lib/kubelet /usr/libexec/kubernetes /var/log/containers; do
  mkdir -p "$fixed"
  mount -t tmpfs tmpfs "$fixed"
done

# ── containers ────────────────────────────────────────────────────────────────────────────────────────────────────────

mkdir "$own/cni-bin"
ln -s /usr/lib/cni/* "$programs/istio-cni" "$own/cni-bin/"
cp "$etc/admin.kubeconfig" "$own/istio-cni/istio-cni-kubeconfig"
cat >"$own/cni/10-bridge.conflist" <<EOF
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipam": {"type": "host-local",
    "dataDir": "/run/cni-ipam", "ranges": [[{"subnet": "10.88.$number.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}},
  {"type": "istio-cni", "name": "istio-cni", "cni_agent_run_dir": "$own/istio-cni", "exclude_namespaces": ["kube-system"],
    "pod_namespace": "istio-system", "plugin_log_level": "debug"}]}
EOF
cat >"$own/containerd.toml" <<EOF
version = 2
root = "$own/containerd"
state = "/run/containerd"
[grpc]
  address = "$own/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "/run/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  # Without CAP_SYS_RESOURCE no process may get a score below its parent's.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$own/cni-bin"
    conf_dir = "$own/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
EOF
containerd -c "$own/containerd.toml" >"$log/containerd.log" 2>&1 &
until_ok 60 ctr -a "$own/containerd.sock" version
for archive in "$@"; do ctr -a "$own/containerd.sock" -n k8s.io images import "$archive" >>"$log/images.log" 2>&1; done

echo 'nameserver 10.96.0.10' >"$own/resolv.conf"
cat >"$own/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://$own/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: $cgroup_root
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
featureGates: { KubeletInUserNamespace: true }
authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: $etc/ca.crt } }
authorization: { mode: Webhook }
tlsCertFile: $etc/$name.crt
tlsPrivateKeyFile: $etc/$name.key
podLogsDir: $own/pods
resolvConf: $own/resolv.conf
clusterDomain: cluster.local
clusterDNS: [10.96.0.10]
address: 0.0.0.0
makeIPTablesUtilChains: false
evictionHard: { memory.available: 100Mi }
syncFrequency: 10s
nodeStatusUpdateFrequency: 5s
EOF
hyper kubelet --config="$own/kubelet.yaml" --kubeconfig="$etc/$name.kubeconfig" --root-dir="$own/kubelet" \
  --hostname-override=$name --node-ip=$address -v=2 >"$log/kubelet.log" 2>&1 &
cat >"$own/kube-proxy.yaml" <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: { kubeconfig: $etc/admin.kubeconfig }
hostnameOverride: $name
mode: nftables
clusterCIDR: 10.88.0.0/16
conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s }
EOF
hyper kube-proxy --config="$own/kube-proxy.yaml" -v=2 >"$log/kube-proxy.log" 2>&1 &
until_ok 120 bash -c "KUBECONFIG='$etc/admin.kubeconfig' '$programs/kubectl' get node $name --no-headers | grep -qw Ready"
touch "$own/up"
wait
