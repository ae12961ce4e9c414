#!/bin/bash
# A whole run in one job of SLURM, for sites that take few jobs, and for short runs; options go to Snakemake:
#
#   sbatch --cpus-per-task=16 --gpus=2 --mem=64G --time=8:00:00 profiles/slurm/one-allocation.sh --configfile my.yaml
#
# It takes the cores, memory and GPUs of its allocation, on one node. Submitted again it does what is left.

#SBATCH --job-name=cryocore
#SBATCH --dependency=singleton
#SBATCH --signal=B:TERM@60
#SBATCH --output=cryocore-%j.log

command=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=//p')
checkout=${command%/profiles/slurm/one-allocation.sh*}
gpus=$(tr ',' '\n' <<<"${CUDA_VISIBLE_DEVICES:-}" | grep -c .)
limits=("gpu=$gpus")
[ -n "${SLURM_MEM_PER_NODE:-}" ] && limits+=("mem_mb=$SLURM_MEM_PER_NODE")
run=(snakemake --snakefile "$checkout/Snakefile")

# One that was killed has left its lock; of two jobs of this name only one runs.
"${run[@]}" --quiet all --unlock "$@"

# Before its time is over the job is told so: Snakemake then ends its stages as it does on Ctrl-C.
set -m
"${run[@]}" --cores "${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}" --resources "${limits[@]}" --rerun-incomplete "$@" &
trap 'kill -INT -- "-$!"' TERM
wait $!  # ends early at the signal
wait $!
