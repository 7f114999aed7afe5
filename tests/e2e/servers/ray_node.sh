#!/usr/bin/env bash
# One node of a Ray cluster on the loopback address, in the foreground until SIGTERM, which ends this node alone.
#
#   ray_node.sh head PORT DIR            a head that keeps its files in DIR; others join at 127.0.0.1:PORT. Its job
#                                        server is at http://127.0.0.1:PORT+2
#   ray_node.sh join PORT                a further node; start one after the other, they look for free names
#
# Wants RAY_AUTH_MODE=token and RAY_AUTH_TOKEN in the environment, and a `python` with Ray on the PATH. Every node has one CPU.
set -euo pipefail

common=(--block --disable-usage-stats --num-cpus 1 --object-store-memory 157286400 --node-ip-address 127.0.0.1
  --min-worker-port 0 --max-worker-port 0 --dashboard-agent-listen-port 0 --metrics-export-port 0)
case "$1 $#" in
  "head 3")
    exec python -m ray.scripts.scripts start --head --port "$2" --temp-dir "$3" --ray-client-server-port "$(($2 + 1))" \
      --dashboard-host 127.0.0.1 --dashboard-port "$(($2 + 2))" "${common[@]}"
    ;;
  "join 2") exec python -m ray.scripts.scripts start --address "127.0.0.1:$2" "${common[@]}" ;;
  *)
    echo "usage: ray_node.sh head PORT DIR | ray_node.sh join PORT" >&2
    exit 2
    ;;
esac
