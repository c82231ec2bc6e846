"""The task "full_set": networks on the whole train set, see `configs/full_set.py`."""

import pathlib
import shutil
import time

from ml_collections import ConfigDict

from ddjax.config import compare
from ddjax.data.facts import get_facts
from ddjax.evaluators.accuracy import make_accuracy_evaluator
from ddjax.fitting.fit import fit_full
from ddjax.random_streams import stream
from ddjax.stages import estimate as costs
from ddjax.stages import present
from ddjax.stages.prepare import data_fingerprint, load, numerics, prepare_real
from ddjax.stages.run_folder import RunFolder
from ddjax.stages.sessions import begin, watch_of
from ddjax.tasks.task import Outcome, outcome
from ddjax.training.parallel import is_main_process, local_devices
from ddjax.training.trainer import StopRequest


def run(config: ConfigDict, workdir: pathlib.Path, *, overwrite: bool = False) -> Outcome:
  """Trains networks on the full train set, keeps them in the cache, and writes a report.

  Evaluations of small sets by the same protocol find them there.

  Args:
    config: see `configs/full_set.py`.
    workdir: the run folder.
    overwrite: whether to delete an earlier run in it.
  """
  with numerics(config), RunFolder(workdir, overwrite, is_writer=is_main_process()) as folder:
    job = prepare_real(config, folder.path, load(config))
    evaluation = config.accuracy_evaluation
    use_flip = get_facts(job.real.info.name).use_flip
    measure = make_accuracy_evaluator(
      evaluation, job.real.info, "full set", use_flip=use_flip, is_alone=True
    )
    folder.claim(compare.plain(config), data_fingerprint(job.real))
    if (report := folder.finished_report(compare.plain(config))) is not None:
      return outcome(folder.path, report)
    planned = costs.estimate_full(job)
    begin(job, planned)
    started = time.monotonic()
    with StopRequest() as stop:
      models = fit_full(
        evaluation,
        job.real,
        stream(config.seed, "fit networks"),
        use_flip=use_flip,
        is_trained=True,
        devices=local_devices(job.layout),
        watch=watch_of(job, stop),
      )
    trained = time.monotonic()
    report = measure({"distilled": models}, job.real, stream(config.seed, "measure accuracy"))
    seconds = {"train": trained - started, "evaluate accuracy": time.monotonic() - trained}
    facts = {"method": "full set", "seconds": seconds, "estimates": planned.facts()}
    written = present.present(job, None, None, {"accuracy": report}, facts)
    shutil.rmtree(folder.path / "fits", ignore_errors=True)
    return outcome(folder.path, written)


def estimate(config: ConfigDict) -> costs.Estimate:
  """What `run` would cost."""
  with numerics(config):
    return costs.estimate_full(prepare_real(config, pathlib.Path(), load(config)))
