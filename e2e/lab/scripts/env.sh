# Paths and addresses. SRC: these scripts (read-only). LAB: binaries, images, state; everything the lab writes.
SRC=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LAB=${KUBE_LAB:-${XDG_CACHE_HOME:-$HOME/.cache}/rmq/kube}
BIN=${BIN:-$LAB/bin}
NET=10.199.0            # node network (bridge ks0), host = .1, node N = .1N
HOST_IP=$NET.1
PODNET=10.200           # pod CIDR of node N = 10.200.N.0/24
SVC_CIDR=10.96.0.0/16
SVC_FIRST=10.96.0.1
DNS_IP=$HOST_IP         # CoreDNS listens on the bridge address
BR=ks0
CG=kubelab              # cgroup root of all nodes
SHM=/dev/shm/kubelab-etcd
MAXNODES=3
NODES=${NODES:-1}
RUN=$LAB/run
STATE=$LAB/state
LOGS=$LAB/logs
