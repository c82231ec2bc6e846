"""The task "export": a distilled set for other programs, see `configs/export.py`."""

from pathlib import Path

from ml_collections import ConfigDict

from ddjax.data.facts import FACTS
from ddjax.data.load import load_real_data
from ddjax.io.export import CARD_NAME, export_set
from ddjax.io.foreign.convert import check_alone, is_own, open_foreign
from ddjax.stages.estimate import Estimate
from ddjax.tasks.task import Outcome


def estimate(config: ConfigDict) -> Estimate:
  """What `run` would cost, in words."""
  return Estimate({}, {}, None, f"seconds, to write {config.format}")


def run(config: ConfigDict, workdir: Path, *, overwrite: bool = False) -> Outcome:
  """Writes the set at `config.distilled` in `config.format` into the folder `workdir`."""
  if not config.distilled:
    raise ValueError(
      "config.distilled is missing: a run folder, a `distilled` folder, or another project's file."
    )
  path, options = Path(config.distilled), config.foreign.to_dict()
  real = None
  if path.exists() and (not is_own(path) or options["layout"] is not None):
    if config.data.name not in FACTS:
      raise ValueError(
        f"{path} is another project's set. Name the real set that it stands for, such as "
        "--config.data.name=cifar10."
      )
    if (foreign := open_foreign(path, options)) is not None:
      check_alone(foreign, config.data, options["preprocessing"])
    real = load_real_data(config.data)
  files = export_set(
    path, workdir, config.format,
    report=config.report, overwrite=overwrite, real=real, options=options,
  )  # fmt: skip
  summary = "\n".join([f"Exported to {workdir}, with its card {CARD_NAME}:", *files])
  return Outcome(workdir, None, summary)
