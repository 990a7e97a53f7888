#!/usr/bin/env bash
# Train on several devices: tools/dist_train.sh CONFIG DEVICES [options]
# On several machines, set NNODES, NODE_RANK and MASTER_ADDR on each.
# With MAX_RESTARTS=3 and --resume, a run whose processes die is gone on with.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG DEVICES [options of train.py]" >&2
    exit 2
fi
config=$1 devices=$2
shift 2

exec torchrun \
    --nnodes="${NNODES:-1}" \
    --node-rank="${NODE_RANK:-0}" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" \
    --master-port="${PORT:-29500}" \
    --nproc-per-node="$devices" \
    --max-restarts="${MAX_RESTARTS:-0}" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
