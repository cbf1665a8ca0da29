# The image of byname: Node, the bundles, one library of C functions (koffi), and the system libraries that Node needs.
# No shell, no package manager, no npm; it runs as user and group 1337 on a read-only root file system.
#
#   docker build -t byname .                          for the processor of this machine
#   docker build -t byname --platform linux/arm64 .   for the other one, built here, without emulation
#
# BASE is where it is built: Debian or a relative of it, with Node.js 24 or newer and npm. Of it only glibc, GCC's libraries
# and the root certificates come into the result. TARGETARCH is amd64 or arm64; docker and buildah set it from --platform.
ARG BASE=docker.io/library/node:26-bookworm-slim
FROM --platform=$BUILDPLATFORM ${BASE} AS build
WORKDIR /source
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY packaging/image-libraries.sh packaging/
ARG TARGETARCH=amd64
RUN packaging/image-libraries.sh install "$TARGETARCH"
COPY . .
RUN npm run --silent stage -- --output /image/usr/lib/byname --arch "$(packaging/image-libraries.sh node-arch "$TARGETARCH")" \
  && packaging/image-libraries.sh copy "$TARGETARCH" /image

FROM scratch
COPY --from=build /image /
# The memory settings and flags are those of bin/byname, which needs a shell to give them to Node.
ENV PATH=/usr/bin MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=65536 SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 1337:1337
EXPOSE 15053/udp 15053/tcp 9153/tcp
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s CMD ["byname", "health"]
ENTRYPOINT ["/usr/lib/byname/node_modules/.bin/node", "--disable-sigusr1", "--max-semi-space-size=1", "--single-threaded-gc", "/usr/lib/byname/bin/byname"]
CMD ["run"]
