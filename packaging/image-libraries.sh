#!/bin/sh
# What the image needs of the system it is built on, for amd64 or arm64, whichever of them the system itself is:
#
#   image-libraries.sh install ARCH       installs strip and the libraries (as root)
#   image-libraries.sh node-arch ARCH     what Node calls that processor
#   image-libraries.sh copy ARCH FOLDER   puts them, the root certificates, the user and the command byname below FOLDER
set -eu

case "$2" in
  amd64) gnu=x86_64-linux-gnu node=x64 loader=lib64/ld-linux-x86-64.so.2 ;;
  arm64) gnu=aarch64-linux-gnu node=arm64 loader=lib/ld-linux-aarch64.so.1 ;;
  *) echo "TARGETARCH is amd64 or arm64, not $2" >&2 && exit 2 ;;
esac

# The system's own libraries, or those of its cross compiler.
is_native() { [ "$(dpkg --print-architecture)" = "$1" ]; }

install_libraries() {
  if is_native "$1"; then
    set -- binutils libatomic1 libstdc++6
  else
    set -- "binutils-$(echo "$gnu" | tr _ -)" "libatomic1-$1-cross" "libstdc++6-$1-cross"
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  apt-get install -q -y --no-install-recommends ca-certificates "$@"
  rm -rf /var/lib/apt/lists/*
}

copy_libraries() {
  from=/usr/$gnu/lib
  ! is_native "$1" || from=/lib/$gnu
  libraries=$2/lib/$gnu
  mkdir -p "$libraries" "$2/$(dirname "$loader")" "$2/etc/ssl/certs" "$2/usr/bin"
  cp -L "$from/$(basename "$loader")" "$2/$loader"
  for library in libc.so.6 libm.so.6 libdl.so.2 libpthread.so.0 libstdc++.so.6 libgcc_s.so.1 libatomic.so.1; do
    file=$from/$library
    [ -e "$file" ] || file=/usr/lib/$gnu/$library
    cp -L "$file" "$libraries/$library"
  done
  cp -L /etc/ssl/certs/ca-certificates.crt "$2/etc/ssl/certs/"
  echo 'byname:x:1337:1337:byname:/:/usr/sbin/nologin' >"$2/etc/passwd"
  echo 'byname:x:1337:' >"$2/etc/group"
  # The launcher begins as a shell script. This one begins in Node, for probes and for whoever looks into a container.
  printf '#!%s\nrequire("%s")\n' /usr/lib/byname/node_modules/.bin/node /usr/lib/byname/bin/byname >"$2/usr/bin/byname"
  chmod 755 "$2/usr/bin/byname"
}

case "$1" in
  install) install_libraries "$2" ;;
  node-arch) echo "$node" ;;
  copy) copy_libraries "$2" "$3" ;;
esac
