#!/usr/bin/env bash
# A Kubernetes of one node, whole, in network, mount and pid namespaces of its own: etcd, API server, controllers, scheduler,
# containerd, kubelet, kube-proxy. It stays in the foreground; SIGKILL ends it and everything in it.
#
#   node.sh PROGRAMS FOLDER IMAGES…
#
# PROGRAMS holds hyper, kubectl (build-programs.sh); FOLDER, which must be absolute and short, takes all that it writes:
# etc/kubeconfig, log/, `up` once the node is ready. IMAGES are archives for containerd.
set -euo pipefail

if [ "${1:-}" != --inside ]; then
  [ $# -ge 2 ] || { sed -n '2,8p' "$0" >&2; exit 2; }
  exec unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private "$0" --inside "$@"
fi
programs=$2 folder=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
etc=$folder/etc log=$folder/log address=10.99.0.1
mkdir -p "$etc/cni" "$log" "$folder"/{etcd,kubelet,pods}
hyper() { exec "$programs/hyper" "$@"; }
until_ok() { # SECONDS COMMAND…
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { echo "node.sh: not in time: $*" >&2 && exit 1; }
    sleep 0.1
  done
}

# ── what the machine must not see of it ───────────────────────────────────────────────────────────────────────────────

mount --make-rshared /
# The kubelet takes cgroup v1 only where no v2 hierarchy hangs among them.
umount /sys/fs/cgroup/unified 2>/dev/null || true
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/netns /run/sysctl
for fixed in /var/lib/cni /var/lib/kubelet /usr/libexec/kubernetes /var/log/containers; do
  mkdir -p "$fixed"
  mount -t tmpfs tmpfs "$fixed"
done
# What the kubelet asks of the machine's sysctls is shown to it, and the machine stays as it is.
while read -r key value; do
  echo "$value" >"/run/sysctl/${key//\//-}"
  mount --bind "/run/sysctl/${key//\//-}" "/proc/sys/$key"
done <<'EOF'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
EOF
ip link set lo up
ip address add "$address/32" dev lo
sysctl -qw net.ipv4.ip_forward=1
# The API server's own way to webhooks behind Services.
ip route add 10.96.0.0/16 dev lo src "$address"

# ── certificates ──────────────────────────────────────────────────────────────────────────────────────────────────────

cd "$etc"
key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
openssl req -x509 "${key[@]}" -keyout ca.key -out ca.crt -days 30 -subj /CN=kubernetes 2>/dev/null
certificate() { # NAME SUBJECT USAGE [ALTERNATIVE NAMES]
  openssl req "${key[@]}" -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
  printf 'keyUsage=digitalSignature\nextendedKeyUsage=%s\n%s\n' "$3" "${4:+subjectAltName=$4}" >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
}
certificate apiserver /CN=kube-apiserver serverAuth \
  "DNS:localhost,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:10.96.0.1,IP:$address"
certificate admin /O=system:masters/CN=admin clientAuth
certificate controllers /CN=system:kube-controller-manager clientAuth
certificate scheduler /CN=system:kube-scheduler clientAuth
certificate front-proxy /CN=front-proxy clientAuth
certificate to-kubelet /O=system:masters/CN=to-kubelet clientAuth
certificate kubelet /O=system:nodes/CN=system:node:node1 clientAuth,serverAuth "DNS:node1,IP:$address"
openssl genrsa -out sa.key 2048 2>/dev/null
openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
for name in admin controllers scheduler kubelet; do
  cat >"$name.kubeconfig" <<EOF
apiVersion: v1
kind: Config
clusters: [{name: k, cluster: {server: "https://127.0.0.1:16443", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: u, user: {client-certificate-data: $(base64 -w0 $name.crt), client-key-data: $(base64 -w0 $name.key)}}]
contexts: [{name: c, context: {cluster: k, user: u}}]
current-context: c
EOF
done
export KUBECONFIG=$etc/admin.kubeconfig

# ── control plane ─────────────────────────────────────────────────────────────────────────────────────────────────────

etcd --data-dir "$folder/etcd" --unsafe-no-fsync --listen-client-urls http://127.0.0.1:12379 \
  --advertise-client-urls http://127.0.0.1:12379 --listen-peer-urls http://127.0.0.1:12380 >"$log/etcd.log" 2>&1 &
hyper kube-apiserver --etcd-servers=http://127.0.0.1:12379 --bind-address=0.0.0.0 --secure-port=16443 \
  --advertise-address=$address --service-cluster-ip-range=10.96.0.0/16 --authorization-mode=Node,RBAC \
  --enable-admission-plugins=NodeRestriction --allow-privileged=true --profiling=false \
  --tls-cert-file=apiserver.crt --tls-private-key-file=apiserver.key --client-ca-file=ca.crt \
  --service-account-issuer=https://kubernetes.default.svc.cluster.local \
  --service-account-signing-key-file=sa.key --service-account-key-file=sa.pub \
  --kubelet-client-certificate=to-kubelet.crt --kubelet-client-key=to-kubelet.key \
  --kubelet-certificate-authority=ca.crt --kubelet-preferred-address-types=InternalIP \
  --requestheader-client-ca-file=ca.crt --requestheader-allowed-names=front-proxy \
  --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
  --requestheader-extra-headers-prefix=X-Remote-Extra- >"$log/apiserver.log" 2>&1 &
until_ok 120 "$programs/kubectl" get --raw /readyz
hyper kube-controller-manager --kubeconfig=controllers.kubeconfig --authentication-kubeconfig=controllers.kubeconfig \
  --authorization-kubeconfig=controllers.kubeconfig --bind-address=127.0.0.1 --leader-elect=false \
  --use-service-account-credentials=true --service-account-private-key-file=sa.key --root-ca-file=ca.crt \
  --cluster-signing-cert-file=ca.crt --cluster-signing-key-file=ca.key >"$log/controllers.log" 2>&1 &
hyper kube-scheduler --kubeconfig=scheduler.kubeconfig --authentication-kubeconfig=scheduler.kubeconfig \
  --authorization-kubeconfig=scheduler.kubeconfig --bind-address=127.0.0.1 --leader-elect=false >"$log/scheduler.log" 2>&1 &

# ── node ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

cat >"$etc/cni/10-bridge.conflist" <<'EOF'
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipam": {"type": "host-local",
    "dataDir": "/run/cni-ipam", "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
EOF
cat >"$etc/containerd.toml" <<EOF
version = 2
root = "$folder/containerd"
state = "/run/containerd"
[grpc]
  address = "$folder/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "/run/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  # Without CAP_SYS_RESOURCE no process may get a score below its parent's.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$etc/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
EOF
containerd -c "$etc/containerd.toml" >"$log/containerd.log" 2>&1 &
until_ok 60 ctr -a "$folder/containerd.sock" version
for archive in "$@"; do ctr -a "$folder/containerd.sock" -n k8s.io images import "$archive" >>"$log/images.log" 2>&1; done

echo 'nameserver 10.96.0.10' >"$folder/resolv.conf"
cat >"$etc/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://$folder/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
featureGates: { KubeletInUserNamespace: true }
authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: $etc/ca.crt } }
authorization: { mode: Webhook }
tlsCertFile: $etc/kubelet.crt
tlsPrivateKeyFile: $etc/kubelet.key
podLogsDir: $folder/pods
resolvConf: $folder/resolv.conf
clusterDomain: cluster.local
clusterDNS: [10.96.0.10]
address: 0.0.0.0
makeIPTablesUtilChains: false
evictionHard: { memory.available: 100Mi }
syncFrequency: 10s
nodeStatusUpdateFrequency: 5s
EOF
hyper kubelet --config="$etc/kubelet.yaml" --kubeconfig="$etc/kubelet.kubeconfig" --root-dir="$folder/kubelet" \
  --hostname-override=node1 --node-ip=$address -v=2 >"$log/kubelet.log" 2>&1 &
cat >"$etc/kube-proxy.yaml" <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: { kubeconfig: $KUBECONFIG }
hostnameOverride: node1
mode: nftables
clusterCIDR: 10.88.0.0/16
conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s }
EOF
hyper kube-proxy --config="$etc/kube-proxy.yaml" -v=2 >"$log/kube-proxy.log" 2>&1 &
until_ok 120 bash -c "'$programs/kubectl' get node node1 --no-headers | grep -qw Ready"
touch "$folder/up"
wait
