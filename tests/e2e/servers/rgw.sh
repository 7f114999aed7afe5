#!/usr/bin/env bash
# A real S3 server on the loopback address: Ceph RGW with one monitor and one OSD that keeps objects in memory.
#
#   rgw.sh start DIR PORT KEY SECRET    returns when http://127.0.0.1:PORT answers and the user exists (2-4 s)
#   rgw.sh kill DIR                     kills the S3 server alone; the objects stay
#   rgw.sh resume DIR                   starts it again, on the same port
#   rgw.sh deny DIR                     refuses the user's keys, as if they had expired
#   rgw.sh allow DIR                    takes them again
#   rgw.sh stop DIR                     ends what start began there, by the process ids it wrote down
#
# RGW_ALSO_ON names a further address of this machine to listen on.
#
# Needs radosgw, ceph-mon and ceph-osd, but no root: all files are under DIR, and PORT and PORT+1 are the only
# ports that must be free (the OSD takes free ones from 6800 on). On Debian:
#   apt-get install -y --no-install-recommends ceph-mon ceph-osd radosgw
set -euo pipefail

START_TIMEOUT_S=60
DAEMONS=(rgw osd mon) # radosgw first: it cannot finish once its OSD is gone

die() {
  echo "rgw.sh: $*" >&2
  exit 1
}

is_ours() { # PID: whether it still is a daemon of this folder, and not a later process with a reused id
  tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -qF -- "$CONF"
}

stop() {
  for daemon in "${DAEMONS[@]}"; do
    [ -f "$DIR/$daemon.pid" ] || continue
    pid=$(<"$DIR/$daemon.pid")
    if is_ours "$pid"; then
      kill -9 "$pid" # nothing to save: objects are in memory
      while is_ours "$pid"; do sleep 0.05; done
    fi
    rm -f "$DIR/$daemon.pid"
  done
}

kill_server() {
  local pid
  pid=$(<"$DIR/rgw.pid")
  is_ours "$pid" || die "the S3 server of $DIR does not run"
  kill -9 "$pid"
  while is_ours "$pid"; do sleep 0.05; done
}

resume() {
  local port deadline=$((SECONDS + START_TIMEOUT_S))
  port=$(sed -n 's/^rgw frontends = .*://p' "$CONF")
  background rgw radosgw -n client.rgw -f -c "$CONF"
  until is_open "$port"; do
    [ "$SECONDS" -lt "$deadline" ] || die "no answer on port $port after $START_TIMEOUT_S s; logs are in $DIR"
    sleep 0.1
  done
}

admin() { # COMMAND...: of the user database, which the running server follows
  quietly timeout "$START_TIMEOUT_S" radosgw-admin -n client.rgw -c "$CONF" "$@" --uid=test
}

is_open() { # PORT: whether something listens there
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

background() { # NAME COMMAND...: in a session of its own, so that Ctrl-C in the terminal does not reach it
  local name=$1
  shift
  setsid "$@" >"$DIR/$name.out" 2>&1 </dev/null &
  echo $! >"$DIR/$name.pid"
}

quietly() { # COMMAND...: with its output in a file, shown only if the command fails
  "$@" >>"$DIR/setup.out" 2>&1 || die "'$*' failed: $(tail -n 5 "$DIR/setup.out")"
}

write_conf() {
  cat >"$CONF" <<END
[global]
fsid = $(</proc/sys/kernel/random/uuid)
mon host = [v2:127.0.0.1:$MON_PORT]
ms bind msgr1 = false
# cephx, not none: without it radosgw 16 never connects.
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
keyring = $DIR/keyring
# One monitor agrees with itself quickly: 2 s to start instead of 12.
paxos propose interval = 0.1
paxos min wait = 0.01
# One copy on one OSD, and no warnings about it.
osd objectstore = memstore
memstore device bytes = 4294967296
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
# A nearly full disk does not matter to objects in memory.
mon data avail crit = 1
mon osd nearfull ratio = .95
mon osd backfillfull ratio = .96
mon osd full ratio = .97
log file = $DIR/\$name.log
run dir = $DIR
pid file =
# Its path could exceed the 107 characters that a socket's may have.
admin socket =
[mon.a]
mon data = $DIR/mon
mon cluster log file = $DIR/cluster.log
[osd.0]
osd data = $DIR/osd
public addr = 127.0.0.1
cluster addr = 127.0.0.1
[client.rgw]
rgw data = $DIR/rgw
rgw frontends = beast ${RGW_ALSO_ON:+endpoint=$RGW_ALSO_ON:$PORT }endpoint=127.0.0.1:$PORT
rgw enable ops log = false
rgw enable usage log = false
END
}

write_keys() { # one keyring for all: nobody else reads this folder
  local key=(ceph-authtool "$DIR/keyring" --gen-key)
  quietly "${key[@]}" --create-keyring -n mon. --cap mon 'allow *'
  quietly "${key[@]}" -n client.admin --cap mon 'allow *' --cap osd 'allow *'
  quietly "${key[@]}" -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
  quietly "${key[@]}" -n client.rgw --cap mon 'allow rw' --cap osd 'allow rwx'
}

start() {
  umask 077
  rm -rf "$DIR"/{mon,osd,rgw,keyring,monmap,setup.out} # of an earlier start
  mkdir -p "$DIR"/{mon,osd,rgw}
  for port in "$PORT" "$MON_PORT"; do
    if is_open "$port"; then die "port $port is in use"; fi # two clusters on one port confuse each other
  done
  write_conf
  write_keys
  local fsid
  fsid=$(sed -n 's/^fsid = //p' "$CONF")
  quietly monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$MON_PORT]" "$DIR/monmap"
  quietly ceph-mon -i a --mkfs --monmap "$DIR/monmap" --keyring "$DIR/keyring" -c "$CONF"
  trap stop ERR EXIT # until all of it runs
  background mon ceph-mon -i a -f -c "$CONF"
  local ceph=(timeout "$START_TIMEOUT_S" ceph -c "$CONF")
  local osd_uuid
  osd_uuid=$(</proc/sys/kernel/random/uuid)
  quietly "${ceph[@]}" osd new "$osd_uuid" # waits for the monitor
  quietly ceph-osd -i 0 --mkfs --osd-uuid "$osd_uuid" -c "$CONF"
  quietly "${ceph[@]}" osd crush add osd.0 1.0 root=default host=localhost
  background osd ceph-osd -i 0 -f -c "$CONF"
  background rgw radosgw -n client.rgw -f -c "$CONF"
  local deadline=$((SECONDS + START_TIMEOUT_S))
  until is_open "$PORT"; do
    for daemon in "${DAEMONS[@]}"; do
      kill -0 "$(<"$DIR/$daemon.pid")" 2>/dev/null || die "$daemon ended: $(tail -n 5 "$DIR/$daemon.out")"
    done
    [ "$SECONDS" -lt "$deadline" ] || die "no answer on port $PORT after $START_TIMEOUT_S s; logs are in $DIR"
    sleep 0.1
  done
  admin user create --display-name=test --access-key="$KEY" --secret="$SECRET"
  trap - ERR EXIT
}

[ $# -ge 2 ] || die "usage: rgw.sh start DIR PORT KEY SECRET | rgw.sh kill|resume|deny|allow|stop DIR"
ACTION=$1
DIR=$(realpath -m -- "$2")
CONF=$DIR/ceph.conf
case "$ACTION $#" in
  "start 5")
    PORT=$3 MON_PORT=$(($3 + 1)) KEY=$4 SECRET=$5
    start
    ;;
  "kill 2") kill_server ;;
  "resume 2") resume ;;
  "deny 2") admin user suspend ;;
  "allow 2") admin user enable ;;
  "stop 2") stop ;;
  *) die "usage: rgw.sh start DIR PORT KEY SECRET | rgw.sh kill|resume|deny|allow|stop DIR" ;;
esac
