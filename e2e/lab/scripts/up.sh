#!/bin/bash
# up.sh [--control-plane-only]   env: NODES=1..3, BIN=dir with binaries, OWNER=process whose end stops it all
set -eu
. "$(dirname "$0")/env.sh"; . "$SRC/lib.sh"; mkdir -p "$LAB"; cd "$LAB"
T0=$(now)
if [ -f $RUN/etcd.pid ] && alive $(cat $RUN/etcd.pid); then echo "already up; run down.sh first"; exit 1; fi
mkdir -p $RUN $STATE $LOGS etc
[ -z "${OWNER:-}" ] || $SRC/watch.sh start $OWNER
$SRC/certs.sh >/dev/null 2>$LOGS/certs.log
P=$LAB/etc/pki
# --- bridge
ip link show $BR >/dev/null 2>&1 || { ip link add $BR type bridge; ip addr add $HOST_IP/24 dev $BR; ip link set $BR up; }
# --- etcd (data on tmpfs)
mkdir -p $SHM; chmod 700 $SHM
start etcd $BIN/etcd --name=e0 --data-dir=$SHM --unsafe-no-fsync \
  --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
  --listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=http://127.0.0.1:2380 \
  --initial-cluster=e0=http://127.0.0.1:2380 --logger=zap --log-level=warn
# --- kube-apiserver
$SRC/apiserver.sh start
say "apiserver /readyz"
start kcm $BIN/kube-controller-manager --kubeconfig=etc/kcm.kubeconfig --authentication-kubeconfig=etc/kcm.kubeconfig \
  --authorization-kubeconfig=etc/kcm.kubeconfig --bind-address=127.0.0.1 --secure-port=10257 --cert-dir=$RUN/kcm-certs \
  --service-account-private-key-file=$P/sa.key --root-ca-file=$P/ca.crt \
  --cluster-signing-cert-file=$P/ca.crt --cluster-signing-key-file=$P/ca.key \
  --use-service-account-credentials=true --leader-elect=false --controllers='*,bootstrap-signer-controller,token-cleaner-controller' \
  --node-monitor-period=2s --node-monitor-grace-period=16s --service-cluster-ip-range=$SVC_CIDR --v=1 ${KCM_EXTRA:-}
cat > etc/scheduler.yaml <<EOY
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection: {kubeconfig: $LAB/etc/scheduler.kubeconfig}
leaderElection: {leaderElect: false}
EOY
start scheduler $BIN/kube-scheduler --config=etc/scheduler.yaml --authentication-kubeconfig=etc/scheduler.kubeconfig \
  --authorization-kubeconfig=etc/scheduler.kubeconfig --bind-address=127.0.0.1 --secure-port=10259 --cert-dir=$RUN/sched-certs --v=1
if [ "${1:-}" = --control-plane-only ]; then exit 0; fi
for i in $(seq 1 $NODES); do $SRC/node.sh up $i; done
[ ! -x $BIN/coredns ] || $SRC/dns.sh
$BIN/kubectl --kubeconfig=etc/admin.kubeconfig apply -f $SRC/storage-classes.yaml >/dev/null
start provisioner $SRC/provisioner.sh
for i in $(seq 1 $NODES); do
  until $BIN/kubectl --kubeconfig=etc/admin.kubeconfig get node n$i -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null | grep -q True; do
    awk -v a=$T0 -v b=$(now) 'BEGIN{exit !(b-a > 240)}' && { echo "node n$i is not ready after 240 s"; tail -5 $LOGS/n$i-kubelet.log; exit 1; }
    sleep 0.3; done
  say "node n$i Ready"
done
