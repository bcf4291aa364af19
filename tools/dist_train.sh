#!/usr/bin/env bash
# Train on several processes of this machine: tools/dist_train.sh PROCESSES CONFIG [options of tools/train.py]
# On several machines run it on each of them with NODES, NODE_RANK and MASTER_ADDR set; see docs/training.md.
set -euo pipefail
if [ "$#" -lt 2 ]; then
    echo "usage: $0 PROCESSES CONFIG [options of tools/train.py]" >&2
    exit 2
fi
processes=$1
shift
if ! [[ "$processes" =~ ^[1-9][0-9]*$ ]]; then
    echo "error: PROCESSES must be a whole number of at least 1, got '$processes'" >&2
    exit 2
fi
if [ -n "${MASTER_PORT:-}" ] || [ "${NODES:-1}" -gt 1 ]; then
    rendezvous=(--master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${MASTER_PORT:-29500}")
else
    rendezvous=(--rdzv-backend c10d --rdzv-endpoint 127.0.0.1:0) # any free port
fi
exec "${PYTHON:-python}" -m torch.distributed.run --nnodes "${NODES:-1}" --node-rank "${NODE_RANK:-0}" \
    --nproc-per-node "$processes" "${rendezvous[@]}" \
    "$(dirname "$0")/train.py" "$@" --launcher pytorch
