#!/usr/bin/env bash
# build.sh ROOT FOLDER: builds byname's image without a registry of images, with buildah, from the checkout it stands in.
#
# ROOT is an archive of a Debian root file system with apt (mmdebstrap --variant=apt). The base is that root with the
# Node.js and npm of this machine. Images are kept in FOLDER: localhost/byname-base and localhost/byname:test.
set -euo pipefail

root=$(realpath "$1") folder=$(realpath -m "$2")
checkout=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$folder/machine"
export CONTAINERS_STORAGE_CONF=$folder/storage.conf BUILDAH_ISOLATION=chroot
printf '[storage]\ndriver = "overlay"\ngraphroot = "%s/containers"\nrunroot = "%s/run"\n' "$folder" "$folder" >"$folder/storage.conf"

# A network whose certificates this machine trusts is trusted while the image is built, too.
cp -L /etc/ssl/certs/ca-certificates.crt "$folder/machine/"
base=$(buildah from scratch)
buildah add --quiet "$base" "$root" / >/dev/null
buildah copy --quiet "$base" "$(node -p process.execPath)" /usr/local/bin/node >/dev/null
buildah copy --quiet "$base" "$(npm root --global)/npm" /usr/local/lib/node_modules/npm >/dev/null
buildah run "$base" ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
buildah config --env NODE_EXTRA_CA_CERTS=/machine/ca-certificates.crt "$base"
buildah commit --quiet --rm "$base" localhost/byname-base >/dev/null
# HEALTHCHECK is of docker's format.
buildah build --quiet --format docker --build-arg BASE=localhost/byname-base --tag localhost/byname:test \
  --volume "$folder/machine:/machine:ro" --volume "$(npm config get cache):/root/.npm" "$checkout" >/dev/null
