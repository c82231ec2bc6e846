#!/usr/bin/env bash
# Tries ddjax under other versions of Python and JAX: `bash launch/versions.sh [PYTHON=JAX ...]`,
# by default 3.11=0.10.2 3.12=0.11 3.13=0.12. CI does not run it.
#
# Each pair has an environment of its own in `.versions/`, made once. What is tried: all imports,
# the fast tests of distillers, kernels and networks, and the first run of the README. A pair that
# cannot be installed or fails is named, and the others go on.

set -uo pipefail
CDPATH="" cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

pairs=("$@")
((${#pairs[@]})) || pairs=(3.11=0.10.2 3.12=0.11 3.13=0.12)
failures=0

try() { # Python, JAX
  local python="python$1" folder=".versions/$1-$2" log
  command -v "$python" >/dev/null || {
    echo "no $python here"
    return 1
  }
  mkdir -p .versions
  log="$folder.log"
  if [[ ! -f "$folder/done" ]]; then
    if ! "$python" -m venv --clear "$folder" ||
      ! "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
        -r requirements-dev.txt "jax==$2.*" "jaxlib==$2.*" >"$log" 2>&1; then
      echo "cannot be installed; see $log"
      return 1
    fi
    touch "$folder/done"
  fi
  DDJAX_CACHE_DIR="$(mktemp -d)"
  export DDJAX_CACHE_DIR
  "$folder/bin/python" -c 'import sys, jax; print("Python", sys.version.split()[0], "JAX", jax.__version__)'
  "$folder/bin/python" -m pytest -q -n auto --maxprocesses=2 --dist=loadfile --max-worker-restart=0 \
    tests/distillers tests/kernels tests/models >"$log" 2>&1
  local status=$?
  tail -n 1 "$log"
  "$folder/bin/python" -m ddjax.main --config=configs/kip.py:digits,smoke \
    --workdir="$DDJAX_CACHE_DIR/run" >>"$log" 2>&1 || status=1
  rm -rf "$DDJAX_CACHE_DIR"
  return "$status"
}

for pair in "${pairs[@]}"; do
  echo "== $pair"
  try "${pair%%=*}" "${pair#*=}" || {
    echo "FAILED"
    failures=$((failures + 1))
  }
done
exit "$failures"
