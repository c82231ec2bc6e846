#!/usr/bin/env bash
# Makes `.venv`, or finds it fresh. local.sh and test.sh source this file; by itself,
# `bash launch/setup.sh [--accelerator=cpu|cuda|tpu]` only sets up.
#
# For each requirements file that is fully installed, `.venv` holds a stamp: Python, accelerator and
# the text of the file and of those that it names. A stamp is written last, so an installation that
# broke off leaves none.

set -euo pipefail
CDPATH="" cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'ddjax: %s\n' "$*" >&2; }

fail() {
  say "$@"
  exit 1
}

# Splits `--accelerator` from the arguments; leaves `accelerator`, `asked_for` and the array `arguments`.
parse_arguments() {
  accelerator=""
  arguments=()
  while (($#)); do
    case "$1" in
      --accelerator=*) accelerator="${1#*=}" ;;
      --accelerator)
        accelerator="${2:-}"
        shift $(($# > 1))
        ;;
      *)
        arguments+=("$1")
        shift
        continue
        ;;
    esac
    case "$accelerator" in
      cpu | cuda | tpu) ;;
      *) fail "--accelerator is '$accelerator'; it must be cpu, cuda or tpu." ;;
    esac
    shift
  done
  # shellcheck disable=SC2034  # local.sh reads it: what was only found was not asked for
  asked_for="$accelerator"
  : "${accelerator:=$(found_accelerator)}"
}

found_accelerator() {
  if nvidia-smi --list-gpus 2>/dev/null | grep -q '^GPU'; then
    echo cuda
  elif compgen -G '/dev/accel[0-9]*' >/dev/null || [[ -n "${TPU_ACCELERATOR_TYPE:-}" ]]; then
    echo tpu
  else
    echo cpu
  fi
}

# Whether "$1" starts and is a Python that ddjax runs on, with what `venv` needs.
is_usable_python() {
  "$1" -c 'import sys, venv, ensurepip
sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

find_python() {
  local candidate
  if [[ -n "${PYTHON:-}" ]]; then
    is_usable_python "$PYTHON" ||
      fail "PYTHON is '$PYTHON', which is no Python 3.11 to 3.13 with the venv module."
    echo "$PYTHON"
    return
  fi
  for candidate in python3.13 python3.12 python3.11 python3 python; do
    if is_usable_python "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  fail "No Python 3.11 to 3.13 with the venv module found. Install one (on Debian and Ubuntu:" \
    "apt install python3 python3-venv), or name it: PYTHON=/path/to/python3.12 bash launch/..."
}

stamp_path() { echo ".venv/installed-$1"; }

stamp_text() { # requirements file
  printf '%s, %s\n' "$python_version" "$accelerator"
  cat "$1"
  sed -n 's/^-r  *//p' "$1" | while read -r file; do cat "$file"; done
}

is_fresh() { # requirements file
  [[ -x .venv/bin/python && -f "$(stamp_path "$1")" ]] &&
    stamp_text "$1" | cmp -s - "$(stamp_path "$1")"
}

install() { # requirements file
  local log=.venv/install.log list
  list=".venv/$(basename "$1")"
  # The texts of the stamp, without its first line.
  stamp_text "$1" | sed '1d; /^-r /d; /^neural-tangents/d' >"$list"
  local packages=(-r "$list")
  case "$accelerator" in
    cuda) packages+=("jax[cuda12]") ;;
    tpu) packages+=("jax[tpu]") ;;
  esac
  say "installing $1 (log: $log)"
  # Of what is installed the smaller part is ever imported: let imports compile it, not pip.
  if ! .venv/bin/python -m pip install --disable-pip-version-check --no-input --no-compile \
    "${packages[@]}" >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    fail "installing $1 failed; all of its messages are in $log."
  fi
  install_neural_tangents "$log"
  stamp_text "$1" >"$(stamp_path "$1").part"
  mv "$(stamp_path "$1").part" "$(stamp_path "$1")"
}

# It asks for TensorFlow, 2 GB, in its metadata. ddjax uses the parts that do not.
install_neural_tangents() { # log
  local wanted
  wanted="$(sed -n 's/^\(neural-tangents[^ ]*\).*/\1/p' requirements.txt)"
  .venv/bin/python -m pip install --disable-pip-version-check --no-input --no-compile --no-deps \
    "$wanted" >>"$1" 2>&1 || fail "installing $wanted failed; all of its messages are in $1."
}

# What a --workdir at a remote address needs.
install_for_address() {
  local pair package
  for pair in gs=gcsfs s3=s3fs; do
    package="${pair#*=}"
    [[ " $* " =~ \ --workdir[=\ ]"${pair%=*}":// ]] || continue
    .venv/bin/python -c "import $package" 2>/dev/null && continue
    say "installing $package"
    .venv/bin/python -m pip install --disable-pip-version-check --no-input --quiet -r .venv/requirements.txt "$package" ||
      fail "installing $package failed."
  done
}

# Waits for another set-up of this folder, and for what one that was killed left running. Systems
# without `flock` go without.
lock() {
  exec 9>.venv.lock
  if command -v flock >/dev/null && ! flock --nonblock 9; then
    say "waiting for another set-up of $PWD/.venv"
    flock 9
  fi
}

unlock() { exec 9>&-; }

# Sets up for the requirements file "$1"; the other arguments are the caller's own.
prepare_environment() {
  local python python_version wanted="$1"
  shift
  parse_arguments "$@"
  lock
  python="$(find_python)"
  python_version="$("$python" --version)"
  if ! is_fresh requirements.txt; then
    say "making .venv with $python_version for $accelerator (a minute or two, about 1 GB)"
    "$python" -m venv --clear .venv || fail "$python -m venv .venv failed."
    install requirements.txt
  fi
  is_fresh "$wanted" || install "$wanted"
  install_for_address "$@"
  unlock
}

if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then
  prepare_environment requirements.txt "$@"
  say ".venv is ready: $(.venv/bin/python --version), $accelerator"
fi
