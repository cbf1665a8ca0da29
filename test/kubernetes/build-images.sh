#!/usr/bin/env bash
# build-images.sh PROGRAMS FOLDER: puts what the pods run into FOLDER/images.tar, an archive for containerd. FOLDER has
# byname's image already (test/image/build.sh); PROGRAMS is the folder of build-programs.sh.
set -euo pipefail

programs=$(realpath "$1") folder=$(realpath "$2")
here=$(cd "$(dirname "$0")" && pwd)
export CONTAINERS_STORAGE_CONF=$folder/storage.conf BUILDAH_ISOLATION=chroot
layout=$folder/images
rm -rf "$layout"

for target in pilot proxyv2 app pause; do
  buildah build --quiet --layers --build-arg BASE=localhost/byname-base --target "$target" --tag "localhost/$target:1" \
    --file "$here/images.Dockerfile" "$programs" >/dev/null
done
# One layout, as they share their layers. Two tags of byname, for upgrades.
for image in pilot:1 proxyv2:1 app:1 pause:1; do
  buildah push --quiet --disable-compression "localhost/$image" "oci:$layout:localhost/$image"
done
for tag in 1 2; do buildah push --quiet --disable-compression localhost/byname:test "oci:$layout:localhost/byname:$tag"; done
tar -C "$layout" -cf "$folder/images.tar" .
rm -rf "$layout"
