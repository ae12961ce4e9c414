#!/bin/bash
# A whole run in one job of SLURM, for sites that take few jobs, and for short runs; options go to Snakemake:
#
#   sbatch --cpus-per-task=16 --gpus=2 --mem=64G --time=8:00:00 profiles/slurm/one-allocation.sh --configfile my.yaml
#   sbatch --nodes=2 --ntasks-per-node=1 --cpus-per-task=16 --gpus-per-node=2 --mem=64G ...      for data in shards
#
# It takes the cores, memory and GPUs of its allocation. Submitted again it does what is left, and so it does by itself
# where SLURM puts it back into the queue, as after the loss of a node.

#SBATCH --job-name=cryocore
#SBATCH --dependency=singleton
#SBATCH --signal=B:TERM@60
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=cryocore-%j.log

job=$(scontrol --details show job "$SLURM_JOB_ID")
command=$(sed -n 's/^ *Command=//p' <<<"$job")
checkout=${command%/profiles/slurm/one-allocation.sh*}
run=(snakemake --snakefile "$checkout/Snakefile")
gpus=$(tr ',' '\n' <<<"${CUDA_VISIBLE_DEVICES:-}" | grep -c .)
nodes=${SLURM_JOB_NUM_NODES:-1}

least() { grep -o '^[0-9]*' | sort -n | head -n 1; }

if [ "$nodes" -eq 1 ]; then
  resources=("gpu=$gpus")
  [ -n "${SLURM_MEM_PER_NODE:-}" ] && resources+=("mem_mb=$SLURM_MEM_PER_NODE")
  limits=(--cores "${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}" --resources "${resources[@]}")
else
  # Each stage is a step of the job, on one node; those that find no room wait. The nodes count as the least of them.
  cores=$(tr ',' '\n' <<<"$SLURM_JOB_CPUS_PER_NODE" | least)
  mb=$(sed -n 's/.* Mem=\([0-9]*\).*/\1/p' <<<"$job" | least)
  export CRYOCORE_STEP="python -P -m cryocore.workflow.step --node-mb ${mb:=0}"
  [ "$mb" -gt 0 ] || mb=$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
  limits=(--cores $((nodes * cores)) --max-threads "$cores" --resources "gpu=$((nodes * gpus))" "mem_mb=$((nodes * mb))")
  limits+=(--retries 2 --latency-wait 60)  # as profiles/slurm/config.yaml
  if [ "$gpus" -gt 1 ]; then  # a node has as many shards at work as it has GPUs
    limits+=(--set-threads)
    for stage in cache sum score; do limits+=("$stage=$((cores > gpus ? cores / gpus : 1))"); done
  fi
fi

# One that was killed has left its lock; of two jobs of this name only one runs.
"${run[@]}" --quiet all --unlock "$@"

# Before its time is over the job is told so: Snakemake then ends its stages as it does on Ctrl-C.
set -m
"${run[@]}" "${limits[@]}" --rerun-incomplete "$@" &
trap 'echo "The job is told to end, as by its time limit. Submitted again it goes on from here." >&2; kill -INT -- "-$!"' TERM
wait $!  # ends early at the signal
wait $!
