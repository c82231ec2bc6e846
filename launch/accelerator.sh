#!/usr/bin/env bash
# What to run on a borrowed accelerator:
#   bash launch/accelerator.sh [--minutes=9] [--out=DIR] [--only=check,speed,reproduce]
# Further arguments are those of `python -m benchmarks.accelerator`. Started again, it goes on.
#
# Where $PYTHON, or else the Python of `.venv`, or else `python3` can already import what ddjax needs,
# it is taken as it is; else launch/setup.sh makes `.venv` first, which needs a package index.

set -euo pipefail
# shellcheck source=launch/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

python="${PYTHON:-python3}"
[[ -z "${PYTHON:-}" && -x .venv/bin/python ]] && python=.venv/bin/python
needs='import importlib.util, sys
import flax, jax, jinja2, matplotlib, orbax.checkpoint, rich, sklearn, tensorboardX, ddjax.tasks.start
sys.exit(importlib.util.find_spec("neural_tangents") is None)' # it is imported by way of ddjax only
if ! "$python" -c "$needs" >/dev/null 2>&1; then
  accelerator_flags=()
  previous=""
  for argument in "$@"; do
    [[ "$previous" == --accelerator ]] && argument="--accelerator=$argument"
    [[ "$argument" == --accelerator=c* || "$argument" == --accelerator=t* ]] &&
      accelerator_flags+=("$argument")
    previous="$argument"
  done
  prepare_environment requirements.txt ${accelerator_flags[@]+"${accelerator_flags[@]}"}
  python=.venv/bin/python
fi
exec "$python" -m benchmarks.accelerator "$@"
