#!/usr/bin/env bash
# A Kubernetes, whole, in network, mount and pid namespaces of its own: etcd, API server, controllers, scheduler, and one node
# (node.sh). It stays in the foreground; SIGKILL ends it and everything in it.
#
#   cluster.sh PROGRAMS FOLDER IMAGES…
#
# PROGRAMS holds hyper, kubectl (build-programs.sh); FOLDER, which must be absolute and short, takes all that it writes:
# etc/admin.kubeconfig, log/, node1/up once the node is ready. IMAGES are archives for containerd.
set -euo pipefail

if [ "${1:-}" != --inside ]; then
  [ $# -ge 2 ] || { sed -n '2,9p' "$0" >&2; exit 2; }
  exec unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private "$0" --inside "$@"
fi
programs=$2 folder=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
etc=$folder/etc log=$folder/log address=10.99.0.1
mkdir -p "$etc" "$log" "$folder/etcd"
hyper() { exec "$programs/hyper" "$@"; }
until_ok() { # SECONDS COMMAND…
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { echo "cluster.sh: not in time: $*" >&2 && exit 1; }
    sleep 0.1
  done
}

# ── what the machine must not see of it ───────────────────────────────────────────────────────────────────────────────

mount --make-rshared /
# The kubelet takes cgroup v1 only where no v2 hierarchy hangs among them.
umount /sys/fs/cgroup/unified 2>/dev/null || true
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/netns /run/sysctl
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
for number in 1 2; do
  certificate "node$number" "/O=system:nodes/CN=system:node:node$number" clientAuth,serverAuth "DNS:node$number,IP:10.99.0.$number"
done
openssl genrsa -out sa.key 2048 2>/dev/null
openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
for name in admin controllers scheduler node1 node2; do
  cat >"$name.kubeconfig" <<EOF
apiVersion: v1
kind: Config
clusters: [{name: k, cluster: {server: "https://$address:16443", certificate-authority-data: $(base64 -w0 ca.crt)}}]
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

"$here/node.sh" 1 "$programs" "$folder" "$@" &
wait
