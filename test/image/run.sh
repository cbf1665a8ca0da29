#!/usr/bin/env bash
# run.sh FOLDER: runs the image that build.sh has left in FOLDER as a container with nothing: a read-only root file system,
# no capabilities, no new privileges, a network of its own. It must get ready, answer, say how it is, and end when told.
set -euo pipefail

folder=$(realpath "$1")
export CONTAINERS_STORAGE_CONF=$folder/storage.conf
fail() {
  printf 'FAILED: %s\n' "$*"
  cat "$folder/log.txt" 2>/dev/null
  exit 1
}

container=$(buildah from localhost/byname:test)
root=$(buildah mount "$container")
in_container() { runc --root "$folder/runc" exec byname-test "$@"; }
end() {
  runc --root "$folder/runc" delete --force byname-test 2>/dev/null || true
  buildah rm "$container" >/dev/null
}
trap end EXIT

# ── what is in it ─────────────────────────────────────────────────────────────────────────────────────────────────────

megabytes=$(($(du -s --apparent-size --bytes "$root" | cut -f1) / 1000000))
printf 'unpacked: %s MB\n' "$megabytes"
[ "$megabytes" -le 150 ] || fail 'more than 150 MB'
for program in sh bash dash busybox apt dpkg npm curl; do
  [ -z "$(find "$root" -name "$program" -print -quit)" ] || fail "there is a $program in it"
done
[ -z "$(find "$root" -name '*.h' -print -quit)" ] || fail 'there are headers in it'
[ -z "$(find "$root" -perm /6000 -print -quit)" ] || fail 'there is a setuid program in it'
# What Node gets of the launcher where there is a shell, it gets of the image.
flags=$(sed -n "s/^SERVICE_FLAGS='\(.*\)'/\1/p" "$root/usr/lib/byname/bin/byname")
environment=$(sed -n "s/^SERVICE_ENVIRONMENT='\(.*\)'/\1/p" "$root/usr/lib/byname/bin/byname")
buildah inspect --type image localhost/byname:test >"$folder/image.json"
inspect() { node -p 'JSON.stringify(JSON.parse(fs.readFileSync(process.argv[1])).Docker.config[process.argv[2]])' "$folder/image.json" "$1"; }
inspect Entrypoint | tee "$folder/entrypoint.json"
for flag in $flags; do grep -q "\"$flag\"" "$folder/entrypoint.json" || fail "the entry point has no $flag"; done
for setting in $environment; do inspect Env | grep -q "\"$setting\"" || fail "the environment has no $setting"; done
[ "$(inspect User)" = '"1337:1337"' ] || fail 'its user is not 1337'
inspect Healthcheck | grep -q '"byname","health"' || fail 'it has no health check'
ls "$root"/usr/lib/byname/dist/.cache/run-* >/dev/null || fail 'there is no compiled code in it'

# ── that it runs ──────────────────────────────────────────────────────────────────────────────────────────────────────

mkdir -p "$folder/bundle" "$folder/data"
echo '{"table": {"web.default.svc.cluster.local": {"ips": ["10.96.0.77"], "registry": "Kubernetes", "shortname": "web", "namespace": "default"}}}' \
  >"$folder/data/table.json"
node - "$root" "$folder" "$(inspect Entrypoint)" "$(inspect Cmd)" "$(inspect Env)" <<'EOF' >"$folder/bundle/config.json"
const [root, folder, entry, command, env] = process.argv.slice(2)
const none = { bounding: [], effective: [], inheritable: [], permitted: [], ambient: [] }
console.log(JSON.stringify({
  ociVersion: '1.0.2',
  process: {
    user: { uid: 1337, gid: 1337 }, cwd: '/', noNewPrivileges: true, capabilities: none,
    args: [...JSON.parse(entry), ...JSON.parse(command)],
    env: [...JSON.parse(env), 'BYNAME_MESH_SOURCE_TABLE=/data/table.json', 'BYNAME_UPSTREAM_SERVERS=127.0.0.1:9'],
  },
  root: { path: root, readonly: true },
  mounts: [
    { destination: '/proc', type: 'proc', source: 'proc' },
    { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
    { destination: '/data', type: 'bind', source: `${folder}/data`, options: ['bind', 'ro'] },
  ],
  linux: {
    namespaces: ['pid', 'mount', 'ipc', 'uts', 'network'].map((type) => ({ type })),
    maskedPaths: ['/proc/kcore', '/proc/keys'], readonlyPaths: ['/proc/sys'],
  },
}))
EOF
runc --root "$folder/runc" run --bundle "$folder/bundle" byname-test >"$folder/log.txt" 2>&1 &
runtime=$!
end=$((SECONDS + 30))
until in_container byname health --ready 2>/dev/null; do
  [ "$SECONDS" -lt "$end" ] || fail 'it is not ready within 30 s'
  sleep 0.1
done
[ "$(in_container byname health)" = ok ] || fail 'byname health does not say ok'
in_container byname health --metrics 127.0.0.1:1 2>/dev/null && fail 'byname health finds a byname where there is none'
answer=$(in_container byname query web.default.svc.cluster.local +short)
[ "$answer" = 10.96.0.77 ] || fail "byname query says \"$answer\""
grep -q '"driver":"batch"' "$folder/log.txt" || fail 'it does without batched system calls'
runc --root "$folder/runc" kill byname-test TERM
status=0
wait "$runtime" || status=$?
[ "$status" = 0 ] || fail "SIGTERM ends it with status $status"
echo 'ready, answers, healthy; ends when told'
