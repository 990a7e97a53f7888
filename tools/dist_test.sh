#!/usr/bin/env bash
# Test on several devices:
#     tools/dist_test.sh CONFIG CHECKPOINT DEVICES [options]
# On several machines, set NNODES, NODE_RANK and MASTER_ADDR on each.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT DEVICES [options of test.py]" >&2
    exit 2
fi
config=$1 checkpoint=$2 devices=$3
shift 3

exec torchrun \
    --nnodes="${NNODES:-1}" \
    --node-rank="${NODE_RANK:-0}" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" \
    --master-port="${PORT:-29500}" \
    --nproc-per-node="$devices" \
    "$(dirname "$0")/test.py" "$config" "$checkpoint" \
    --launcher pytorch "$@"
