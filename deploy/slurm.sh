#!/bin/bash
# Slurm: a Ray cluster inside one allocation, and a search on it. The arguments are harness.tune's:
#
#   sbatch --nodes=4 deploy/slurm.sh --dataset officehome --data-root /shared/officehome \
#       --out /shared/results --storage /shared/checkpoints
#
# An allocation that ended too early: submit the same command again, it goes on where it stopped.
#SBATCH --job-name=uxretrieval
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=B:INT@120
set -euo pipefail

cd "${SLURM_SUBMIT_DIR:?run this with sbatch}"
if [[ -x .venv/bin/ray ]]; then
    export PATH="$PWD/.venv/bin:$PATH"
fi

# A token of this job's own, so that no other user of the nodes can run code in this cluster.
umask 077
RAY_AUTH_TOKEN="$(python -c 'import secrets; print(secrets.token_hex(32))')"
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
# Images are decoded once per node; $TMPDIR is the node's own disk on most systems.
export HARNESS_CACHE_DIR="${HARNESS_CACHE_DIR:-${TMPDIR:-/tmp}/uxretrieval-$USER}"

cpus="${SLURM_CPUS_PER_TASK:-1}"
gpus="${SLURM_GPUS_ON_NODE:-0}"
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head="${nodes[0]}"
port=$((20000 + SLURM_JOB_ID % 20000))
head_ip="$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address)"
address="${head_ip%% *}:$port"

srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --head --node-ip-address="${head_ip%% *}" --port="$port" \
    --include-dashboard=false --num-cpus="$cpus" --num-gpus="$gpus" --block &
for _ in $(seq 60); do
    if (: < "/dev/tcp/${head_ip%% *}/$port") 2> /dev/null; then break; fi
    sleep 1
done

if ((${#nodes[@]} > 1)); then
    others="$(IFS=,; echo "${nodes[*]:1}")"
    srun --overlap --nodes="$((${#nodes[@]} - 1))" --ntasks-per-node=1 --nodelist="$others" \
        ray start --address="$address" --num-cpus="$cpus" --num-gpus="$gpus" --block &
fi

# Everything that was started in the background ends with the allocation. Slurm's warning before
# the time limit reaches the search as Ctrl-C.
srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
    python -m harness.tune --address "$address" "$@" &
search=$!
trap 'kill -INT "$search"' INT TERM
code=0
wait "$search" || code=$?
if kill -0 "$search" 2> /dev/null; then wait "$search" || code=$?; fi
exit "$code"
