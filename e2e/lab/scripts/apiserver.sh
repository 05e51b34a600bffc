#!/bin/bash
# apiserver.sh start|stop
set -eu
. "$(dirname "$0")/env.sh"; . "$SRC/lib.sh"; cd "$LAB"
P=$LAB/etc/pki
case $1 in
stop) stop $RUN/apiserver.pid; exit 0 ;;
start) ;;
*) echo "start or stop"; exit 2 ;;
esac
start apiserver $BIN/kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
  --bind-address=$HOST_IP --advertise-address=$HOST_IP --secure-port=6443 \
  --service-cluster-ip-range=$SVC_CIDR \
  --tls-cert-file=$P/apiserver.crt --tls-private-key-file=$P/apiserver.key --client-ca-file=$P/ca.crt \
  --token-auth-file=$P/tokens.csv --authorization-mode=Node,RBAC \
  --service-account-issuer=https://kubernetes.default.svc.cluster.local \
  --service-account-key-file=$P/sa.pub --service-account-signing-key-file=$P/sa.key \
  --kubelet-client-certificate=$P/kubelet-client.crt --kubelet-client-key=$P/kubelet-client.key \
  --kubelet-certificate-authority=$P/ca.crt --kubelet-preferred-address-types=InternalIP \
  --requestheader-client-ca-file=$P/ca.crt --requestheader-allowed-names=front-proxy-client \
  --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group --requestheader-extra-headers-prefix=X-Remote-Extra- \
  --allow-privileged=true --enable-admission-plugins=NodeRestriction --event-ttl=1h --v=1
until curl -sf --cacert $P/ca.crt -o /dev/null https://$HOST_IP:6443/readyz; do
  alive $(cat $RUN/apiserver.pid) || { echo "apiserver died"; tail -5 $LOGS/apiserver.log; exit 1; }; sleep 0.1; done
