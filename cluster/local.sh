#!/usr/bin/env bash
# Several Ray nodes on this machine, to try out a cluster before there is one:
#   cluster/local.sh up        start them, and say how to launch on them
#   cluster/local.sh status    what runs, and what is in use
#   cluster/local.sh down      end what `up` started, and nothing else
# Nodes ask for this user's token (~/.ray/auth_token, or what RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH gives; made if there
# is none); the dashboard listens on loopback only. Settings can be given in the environment: NODES=5 cluster/local.sh up
set -euo pipefail

NODES=${NODES:-3}
CPUS=${CPUS:-$(nproc)}                  # divided among the nodes, at least one each
GCS_PORT=${GCS_PORT:-6379}              # where nodes and drivers meet
DASHBOARD_PORT=${DASHBOARD_PORT:-8265}  # dashboard and Jobs API
CLIENT_PORT=${CLIENT_PORT:-10001}       # Ray Client (ray://), which Ray always opens
RESULTS=${RESULTS:-$PWD/results}        # in the line that `up` prints
NODES_FOLDER=${NODES_FOLDER:-/tmp/tlsweep-nodes-$(id -u)}  # logs, and sockets, whose paths must be short
REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${VENV:-$REPOSITORY/.venv}         # has ray and tlsweep; if it is not there, they are looked for in PATH

export PATH="$VENV/bin:$PATH" RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0

fail() {
  echo "error: $1" >&2
  exit 2
}

# The nodes' processes that still run. A number may be somebody else's by now: its command tells.
running() {
  local file pid
  for file in "$NODES_FOLDER"/node*.pid; do
    [ -e "$file" ] || continue
    pid=$(<"$file")
    if tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "--temp-dir=$NODES_FOLDER/"; then echo "$pid"; fi
  done
}

# The GPUs of node $1, a slice of those that are visible here: 0,1,2.
gpus() {
  local all
  if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
    IFS=, read -ra all <<<"$CUDA_VISIBLE_DEVICES"
  else
    mapfile -t all < <(nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null || true)
  fi
  local from=$((${#all[@]} * $1 / NODES)) to=$((${#all[@]} * ($1 + 1) / NODES))
  (IFS=,; echo "${all[*]:from:to-from}")
}

start_node() {
  local number=$1 cpus=$((CPUS * ($1 + 1) / NODES - CPUS * $1 / NODES)) devices
  shift
  devices=$(gpus "$number")
  # A temp dir of its own, as on a machine of its own: nodes that share one unpack the code of a job over each other's.
  # Ray takes 127.0.0.1 for "any address of mine"; 127.0.0.2 and on are loopback too, and each node has its own.
  # Ports of workers and agents are any free ones: nodes on one machine would take each other's.
  CUDA_VISIBLE_DEVICES=$devices setsid ray start --block "$@" --node-ip-address="127.0.0.$((number + 2))" \
    --num-cpus=$((cpus > 0 ? cpus : 1)) --num-gpus="$(awk -F, '{print NF}' <<<"$devices")" \
    --min-worker-port=0 --max-worker-port=0 --dashboard-agent-listen-port=0 --temp-dir="$NODES_FOLDER/node$number" \
    </dev/null >"$NODES_FOLDER/node$number.log" 2>&1 &
  echo $! >"$NODES_FOLDER/node$number.pid"
}

wait_for_node() {
  local log=$NODES_FOLDER/node$1.log pid
  pid=$(<"$NODES_FOLDER/node$1.pid")
  # tail ends with the process, and then nothing was found.
  if ! grep -qm1 'Ray runtime started' < <(tail -n +1 -F --pid="$pid" "$log" 2>/dev/null); then
    cat "$log" >&2
    down
    fail "node $1 did not start; its log is above"
  fi
}

up() {
  command -v ray >/dev/null || fail "no ray in $VENV or PATH; install tlsweep first: pip install -e '$REPOSITORY'"
  [ "$NODES" -ge 1 ] || fail "NODES=$NODES: at least 1"
  [ -z "$(running)" ] || fail "it runs already; '$0 down' ends it"
  mkdir -p "$NODES_FOLDER"
  [ -O "$NODES_FOLDER" ] || fail "$NODES_FOLDER is somebody else's; name another one: NODES_FOLDER=/tmp/mine $0 up"
  chmod 700 "$NODES_FOLDER"
  (umask 077 && ray get-auth-token --generate >/dev/null 2>&1) || fail "no token: 'ray get-auth-token --generate' failed"

  start_node 0 --head --port="$GCS_PORT" --dashboard-host=127.0.0.1 --dashboard-port="$DASHBOARD_PORT" \
    --ray-client-server-port="$CLIENT_PORT"
  wait_for_node 0
  local number
  for ((number = 1; number < NODES; number++)); do start_node "$number" --address="127.0.0.2:$GCS_PORT"; done
  for ((number = 1; number < NODES; number++)); do wait_for_node "$number"; done

  echo "$NODES nodes run; logs are in $NODES_FOLDER"
  echo "dashboard: http://127.0.0.1:$DASHBOARD_PORT  (it asks for the token: ray get-auth-token)"
  echo "launch:    tlsweep submit digits http://127.0.0.1:$DASHBOARD_PORT --results $RESULTS"
  echo "end:       $0 down"
}

down() {
  local pids
  mapfile -t pids < <(running)
  if [ ${#pids[@]} -gt 0 ]; then
    kill "${pids[@]}"
    # Not `wait`: they were started by another shell. A node gives its processes some seconds to end.
    for pid in "${pids[@]}"; do timeout 60 tail --pid="$pid" -f /dev/null || kill -KILL "$pid"; done
  fi
  rm -rf "$NODES_FOLDER"/node*
  echo "ended ${#pids[@]} nodes"
}

status() {
  local pids
  mapfile -t pids < <(running)
  echo "${#pids[@]} nodes run"
  [ ${#pids[@]} -eq 0 ] || ray status --address="127.0.0.2:$GCS_PORT"
}

case ${1:-} in
  up | down | status) "$1" ;;
  *) fail "say what to do: $0 up | down | status" ;;
esac
