"""NCFM: distilled sets by matching characteristic functions of features (Wang et al. 2025).

  python -m ddjax.main --config=configs/ncfm.py                       digits, ipc 1
  python -m ddjax.main --config=configs/ncfm.py:cifar10,ipc=10        the published settings
  python -m ddjax.main --config=configs/ncfm.py:mnist,ipc=1           short and narrow

Words behind the colon: data set, `ipc=N`, `seed=N`, `steps=N` (updates of the images), `width=N`
(of the networks that are matched, and of the evaluation's), `experts=N` (networks that are trained
on the real set first), `epochs=N` (of that training), `smoke` (a few steps, short evaluation).
`factor=N`: cells a side of the grid that an image holds, 2 as published; 1 is what digits take.
Networks that are missing are trained first and lie in the cache folder, or in
`--config.experts.path=DIR`; every epoch is kept: 20 networks of 60 epochs at width 128 take 1.6 GB.
Published: CIFAR-10 .495 / .718 / .774 at ipc 1 / 10 / 50, by the protocol `ncfm` at the best epoch
on the test set; here accuracy is that of the last epoch.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from ddjax.config import arguments, groups, matching, tables

# Steps, rates, batches and networks are those of the released code at its first release, with the
# weight 1 of the calibration that its settings by ipc have. The rows of digits and MNIST are
# shortened and narrowed by us, for two cores. Digits are no grids: of 8x8 pixels a cell would have
# 16.
_RECIPES = {
  (None, None): dict(
    num_steps=20000,
    real_batch_size=1024,
    num_frequencies=4096,
    width=128,
    num_experts=20,
    network_epochs=60,
    factor=2,
  ),
  ("digits", None): dict(
    num_steps=300,
    real_batch_size=256,
    num_frequencies=512,
    width=32,
    network="convnet(depth=2)",
    num_experts=4,
    network_epochs=30,
    factor=1,
  ),
  ("mnist", None): dict(
    num_steps=200,
    real_batch_size=256,
    num_frequencies=1024,
    width=16,
    num_experts=2,
    network_epochs=3,
  ),
  ("fake", None): dict(
    num_steps=20,
    real_batch_size=16,
    num_frequencies=32,
    width=4,
    num_experts=2,
    network_epochs=3,
  ),
}
_EPOCHS = dict(digits=500, mnist=300)  # of the evaluation, ours, in place of 2000
_SMOKE = dict(num_experts=2, network_epochs=1, num_frequencies=64, width=8)


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, such as `cifar10,ipc=10`."""
  words = matching.ARGUMENTS | dict(experts=0, epochs=0, factor=0)
  args = arguments.parse_argument(arg, words, flags=("smoke",))
  recipe = tables.settings_for(_RECIPES, args["dataset"], args["ipc"])
  recipe["augmentation"] = "color_crop_cutout"
  if args["smoke"]:
    recipe |= _SMOKE
  given = dict(num_experts="experts", network_epochs="epochs", factor="factor")
  recipe |= {name: args[word] for name, word in given.items() if args[word]}
  recipe = matching.with_augmentation(args["dataset"], recipe)
  config = matching.with_evaluation(_groups, "ncfm", args, recipe, "ncfm")
  names = [f"{word}{args[word]}" for word in ("factor", "experts", "epochs") if args[word]]
  config.variant = "-".join(filter(None, [*names, config.variant]))
  if not args["smoke"] and args["dataset"] in _EPOCHS:
    config.accuracy_evaluation.num_epochs = _EPOCHS[args["dataset"]]
  return config


def _groups(
  *,
  ipc: int,
  num_steps: int,
  real_batch_size: int,
  num_frequencies: int,
  num_experts: int,
  network_epochs: int,
  factor: int,
  augmentation: str,
  width: int,
  network: str = "convnet",
) -> ConfigDict:
  """NCFM's own groups, and the kernel of its reports."""
  experts = groups.experts(num_experts)
  experts.update(
    dict(  # SGD at .01 in batches of 128, as released
      method="ncfm",  # whose networks `configs/study.py` trains in a cell of their own
      momentum=0.9,
      weight_decay=5e-4,
      batch_size=128,
      drop_epochs=tuple(sorted({round(network_epochs * share) for share in (2 / 3, 5 / 6)})),
      drop_factor=0.2,  # of the rate at each of these
      augmentation_mode="idc",  # of `augmentation`, an operation for each image
      mix_probability=0.5,  # share of the batches that CutMix mixes
    )
  )
  return ConfigDict(
    dict(
      synthetic=dict(
        ipc=ipc,
        init="grid",  # or real, noise, saved
        init_from=placeholder(str),  # for "saved": a run folder, a `distilled` folder, or an npz
        factor=factor,  # cells a side of the grid that an image holds
      ),
      network=dict(
        name=network,  # may carry options: "convnet(norm=batch)"
        width=width,  # where the name has none; 0: its published width
      ),
      augmentation=augmentation,  # siamese, of pixels; and of the networks' training
      outer=dict(
        num_steps=num_steps,
        learning_rate=0.01,  # of AdamW, in pixels of [0, 1]
        weight_decay=5e-4,
        rate_factor=0.5,  # by which the rate falls
        patience=500,  # steps without a lower loss, of which one more makes it fall
        real_batch_size=real_batch_size,  # of each class, over all devices
        num_frequencies=num_frequencies,  # drawn anew for each class
        amplitude_weight=0.5,  # alpha
        phase_weight=0.5,  # beta
        loss_scale=300.0,
        calibration_weight=1.0,  # of the trained network's cross-entropy; 0: no such steps
        network_epochs=network_epochs,  # after which the networks count as trained
      ),
      experts=experts,
      kernel=groups.kernel(),
      ridge=1e-6,
    )
  )
