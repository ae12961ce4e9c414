#!/bin/sh
# install.sh VENV EXTRAS: cryocore, with what it needs at the versions that are tested together, into a virtual environment.
# Run beside pyproject.toml.
set -eu
venv=$1 extras=$2
pins=$(mktemp)
case ",$extras," in
    *,gpu-cu12,*) grep -v -E '^(torch|nvidia-.*)==' constraints.txt > "$pins" ;; # pinned for CUDA 13
    *) cp constraints.txt "$pins" ;;
esac
"$venv/bin/python" -m pip install --no-cache-dir --constraint "$pins" --editable ".${extras:+[$extras]}"
"$venv/bin/python" -m pip uninstall --yes --quiet pip
find "$venv" -type d -name tests -prune -exec rm -rf {} + # a fifth of all files, and nothing imports them
"$venv/bin/python" -m compileall -q cryocore
rm -f "$pins"
