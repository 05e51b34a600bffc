#!/bin/bash
# watch.sh start PID | stop: stops the cluster when process PID ends, however it ends
set -eu
. "$(dirname "$0")/env.sh"; . "$SRC/lib.sh"; cd "$LAB"
case $1 in
start) start watch $SRC/watch.sh wait $2 ;;
stop) stop $RUN/watch.pid KILL ;;
wait)
  tail --pid=$2 -f /dev/null
  # not itself
  rm -f $RUN/watch.pid
  exec $SRC/down.sh ;;
esac
