"""What the configs of studies have in common: study, kernel_ablation and privacy of `configs/`."""

import pathlib
from typing import Any, Mapping

from ml_collections import ConfigDict

from ddjax.config import audit, groups
from ddjax.config.read import get_config as read_config

CORESETS = ("random", "herding", "k_center", "k_means")


def make_study(
  preset: str,
  *,
  folder: pathlib.Path,
  methods: tuple[str, ...],
  dataset: str,
  ipc: tuple[int, ...],
  seed: tuple[int, ...],
  init: tuple[str, ...] = (),
  num_classes: tuple[int, ...] = (),
  words: str = "",
  evaluators: tuple[str, ...] = ("accuracy",),
  evaluation: Mapping[str, Any] | None = None,
  is_full_audit: bool = False,
) -> ConfigDict:
  """A study of methods on one data set.

  Args:
    preset: its name.
    folder: that of the methods' config files.
    methods: distillation methods, and coresets ("random", "herding", ...).
    dataset: name in `ddjax.data.facts.FACTS`.
    ipc: images per class.
    seed: of the distillations.
    init: how images begin, for methods that have a choice.
    num_classes: the first so many classes; 0 for all.
    words: further arguments of the methods' config files, such as ",smoke".
    evaluators: of every cell.
    evaluation: fields of `accuracy_evaluation`, of every cell.
    is_full_audit: whether attacks have the settings of their papers.
  """
  plans = {}
  for method in dict.fromkeys((*methods, "random")):
    for count in ipc:
      file = f"{'coreset' if method in CORESETS else method}.py"
      coreset = f",method={method}" if method in CORESETS else ""
      plan = read_config(f"{folder / file}:{dataset},ipc={count}{coreset}{words}")
      plans[f"{method}-{dataset}-ipc{count}"] = plan
  plans[f"full-{dataset}"] = groups.evaluation("full_set", dataset)
  plans[f"transfer-{dataset}"] = _transfer(dataset)
  plans[f"data-{dataset}"] = read_config(f"{folder / 'pack.py'}:{dataset}")
  accuracy = groups.accuracy_evaluation()
  accuracy.update(dict(full_set="cached", num_seeds=3, full_seeds=3))
  accuracy.update(dict(evaluation or {}))
  return ConfigDict(
    dict(
      task="study",
      method="study",
      preset=preset,
      variant=preset,
      seed=0,  # of the bootstraps of the tables
      axes=dict(  # all combinations are cells
        method=methods,
        dataset=(dataset,),
        ipc=ipc,
        init=init,  # real, noise, ...; methods without a choice have one cell
        num_classes=num_classes,  # the first so many; 0 for all
        variant=(),  # names of `variants`
        seed=seed,
      ),
      variants=ConfigDict(),  # {name: fields of a config that are set together}
      vary=(),  # further axes, such as "outer.learning_rate=(0.1, 1.0)"
      exclude=(),  # combinations that are left out, such as "method=mtt,init=noise"
      preset_exclude=(),  # the preset's own, left out besides where the grid has them
      only="",  # such as "method=dm,ipc=1": these cells, and what they need
      plans=plans,  # configs/METHOD.py of each
      full_set=True,  # networks on the full train set, beside which cells are judged
      subset_ipcs=(),  # further sizes of random subsets: what a set is worth
      real_steps=(),  # lengths of trainings on the full set, in steps: likewise
      transfer=False,  # whether all sets are evaluated under the kernel of every variant
      pack_data=False,  # whether the real set is written into the folder once, for machines without
      # TFDS
      evaluators=evaluators,
      first_seed_only=("privacy",),  # evaluators that only the first seed gets
      num_random_subsets=5,
      accuracy_evaluation=accuracy,
      kernel_evaluation=groups.kernel_evaluation(),
      **audit.groups(is_full_audit),
      claims_attacks=("lira", "lira_offline", "loss"),  # whose AUC is compared between cells
      estimate_for="",  # machine whose time `--dry_run` says, where JAX computes on a CPU; "": this
      max_cell_minutes=0.0,  # a cell estimated above this is "too dear" on this machine; 0: none
      max_minutes=0.0,  # after which a worker stops, in the middle of a cell too; 0: never
      max_attempts=3,  # workers that may die in a cell before it counts as failed
      retry_failed=False,  # run cells again that failed before, or whose report is lost
      any_code=False,  # go on with a study that other code began
      watch=False,  # show the cells until all have ended, and run none
      patience_seconds=120.0,  # after which a worker that is not heard of counts as dead
      launcher="none",  # or slurm: queue the workers below; or local: processes of this machine
      slurm=dict(workers=4, minutes=480, gpus=1, cpus=8, memory_gb=32, partition=""),
    )
  )


def _transfer(dataset: str) -> ConfigDict:
  """The evaluation of sets under one kernel."""
  config = groups.evaluation("evaluate", dataset)
  config.distilled, config.evaluators = "", ("kernel",)
  config.foreign = ConfigDict()
  return config
