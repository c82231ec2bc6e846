"""Command line: flags -> config -> task.

ddjax --config=kip:cifar10,ipc=10 --config.seed=1    runs a config that ddjax carries
ddjax --config=my_config.py                          runs one of your own
ddjax list                                           what there is to run; `ddjax list --help`
ddjax show runs/NAME                                 what a run folder holds
ddjax completion bash                                completion for a shell

In a checkout `python -m ddjax.main` is the same as `ddjax`.
"""

import os
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from ddjax import commands
from ddjax.config.command_line import parse
from ddjax.training import hosts

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to run.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Run folder, or gs://...; default runs/METHOD-...")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Start anew, deleting an earlier run.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the config and an estimate, and stop.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "Of several hosts: the first's HOST:PORT.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Of several hosts: how many.")
_PROCESS_NUMBER = flags.DEFINE_integer("process_number", None, "Of several hosts: which, from 0.")

_PACKAGE = os.path.dirname(os.path.abspath(__file__))  # whose log lines are shown
_INTERRUPTED = 130
_PREEMPTED = 143  # 128 + SIGTERM, which schedulers know


def main(argv: list[str]) -> int:
  """Runs the config; returns the exit code."""
  if len(argv) > 1:
    raise app.UsageError(f"Unexpected argument {argv[1]!r}; settings are given as flags.")
  if _CONFIG.value is None:
    raise app.UsageError(
      "--config is missing, for example --config=kip or --config=configs/kip.py. `ddjax list` "
      "shows what there is."
    )
  from ddjax import (
    backend,
    compilation,
    errors,
  )  # here, so that --help does not wait for JAX
  from ddjax.tasks.start import start

  code, sentence = 1, ""
  try:
    flagged = hosts.Place(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_NUMBER.value)
    hosts.join(hosts.find_place(given=flagged))
    overridden = list(config_flags.get_override_values(flags.FLAGS["config"]))
    compilation.use_cache()
    backend.begin()
    start(
      _CONFIG.value,
      workdir=_WORKDIR.value,
      overwrite=_OVERWRITE.value,
      dry_run=_DRY_RUN.value,
      overridden=overridden,
    )
    code = 0
  except errors.PREEMPTION as error:
    code, sentence = _PREEMPTED, str(error)
  except errors.EXPECTED as error:
    sentence = f"Error: {error}"
  except KeyboardInterrupt:
    code, sentence = _INTERRUPTED, "Interrupted; the same command goes on from the last checkpoint."
  finally:  # also where a bug leaves with a traceback
    if sentence:
      print(sentence, file=sys.stderr)
    hosts.leave(code, sentence)
  return code


def console() -> None:
  """Entry point of the `ddjax` command."""
  words = sys.argv[1:]
  if words and not words[0].startswith("-") or words == ["--version"]:
    sys.exit(commands.run(words))
  logging.set_verbosity(logging.INFO)  # before the flags: configs log too, and --verbosity wins
  logging.get_absl_handler().addFilter(lambda record: record.pathname.startswith(_PACKAGE))
  app.run(main, flags_parser=parse)


if __name__ == "__main__":
  console()
