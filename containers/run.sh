#!/bin/sh
# What the container runs: snakemake with cryocore's Snakefile, or any other command, as any user.
set -eu
[ -w "${HOME:-/}" ] || export HOME=/tmp # compiled kernels are kept below it
export USER="${USER:-cryocore}"
[ "${1:-}" = snakemake ] && shift && set -- snakemake --snakefile /opt/cryocore/Snakefile "$@"
exec "$@"
