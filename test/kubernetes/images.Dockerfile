# Everything but byname that runs in the proof's pods, as one set of layers under several names. BASE is Debian with Node.js:
# the base of byname's own image in CI. The context is the folder of programs (build-programs.sh).
ARG BASE
FROM ${BASE} AS programs
# iptables: istio-init needs it. ip: the link-local address of node mode. dig: the most literal of applications.
RUN apt-get update -q && apt-get install -q -y --no-install-recommends iptables iproute2 bind9-dnsutils && rm -rf /var/lib/apt/lists/*
COPY pilot-discovery pilot-agent envoy /usr/local/bin/
COPY envoy_bootstrap.json /var/lib/istio/envoy/envoy_bootstrap_tmpl.json
RUN mkdir -p /etc/istio/proxy && chmod 777 /etc/istio/proxy
COPY coredns /usr/local/bin/

# The names, users and entry points of Istio's own images.
FROM programs AS pilot
USER 1337:1337
ENTRYPOINT ["/usr/local/bin/pilot-discovery"]

FROM programs AS proxyv2
ENTRYPOINT ["/usr/local/bin/pilot-agent"]

FROM programs AS app
CMD ["sleep", "infinity"]

FROM scratch AS pause
COPY pause /
ENTRYPOINT ["/pause"]
