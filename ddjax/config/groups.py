"""Groups of config fields that several configs share, each a fresh ConfigDict.

Lengths say their unit. A field that may be absent is a typed placeholder, so that it can be set
from the command line.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from ddjax.config import audit


def base(method: str, dataset: str) -> ConfigDict:
  """What every run has, whatever its method.

  Args:
    method: name in `ddjax.registry.DISTILLERS`.
    dataset: name in `ddjax.data.facts.FACTS`.
  """
  return ConfigDict(
    dict(
      task="distill",  # what ddjax.main does with this config: a name in ddjax.tasks.start.TASKS
      method=method,
      variant="",  # a word in the name of the run folder, for what the config argument chose
      seed=0,
      num_replicas=1,  # distillations at once: seeds seed to seed + num_replicas - 1
      shares_draws=False,  # whether replicas, after their start, draw alike: DM then embeds once
      member_fraction=1.0,  # of each class; below 1 every replica distils a random part of its own
      num_devices=0,  # 0: all there are
      resume_from=placeholder(str),  # a run folder whose last checkpoint starts this run
      precision="float32",  # or float64, for kernels; or bfloat16, in which the
      # networks of the method compute: faster on accelerators only
      memory_budget_gb=0.0,  # of a blocked kernel call, of classes at once, of what MTT keeps;
      # 0: a quarter of what JAX may take of the device, on CPUs 4
      data=data(dataset),
      trainer=trainer(),
      evaluators=("kernel", "accuracy"),
      evaluate_initial=True,  # the set at step 0 too
      curve=curve(),
      choose_by="none",  # or kernel, accuracy: it chooses a snapshot on the validation split
      num_random_subsets=5,  # of the real set, of equal size: the baseline beside every figure
      coreset_baselines=(),  # herding, k_center, k_means: further baselines of networks
      kernel_evaluation=kernel_evaluation(),
      accuracy_evaluation=accuracy_evaluation(),
      **audit.groups(),
    )
  )


def evaluation(task: str, dataset: str) -> ConfigDict:
  """What evaluations without a distillation have; networks and protocol as published.

  Args:
    task: name in `ddjax.tasks.start.TASKS`.
    dataset: name in `ddjax.data.facts.FACTS`.
  """
  config = ConfigDict(
    dict(
      task=task,
      method=task,
      variant="",
      seed=0,
      num_devices=0,  # 0: all there are
      precision="float32",
      memory_budget_gb=0.0,  # 0: a quarter of what JAX may take of the device, on CPUs 4
      data=data(dataset),
      evaluators=("accuracy",),
      num_random_subsets=5,
      coreset_baselines=(),
      kernel=kernel(),  # of the evaluator "kernel"
      ridge=1e-6,
      kernel_evaluation=kernel_evaluation(),
      accuracy_evaluation=accuracy_evaluation(),
      **audit.groups(),
    )
  )
  config.accuracy_evaluation.update(dict(networks=("convnet",), width=128, protocol="dc"))
  return config


# The network whose features coresets use, trained for at most a few minutes on two cores.
_FEATURES = {"digits": dict(width=32, num_epochs=20), "fake": dict(width=8, num_epochs=2)}


def coreset(method: str, dataset: str) -> ConfigDict:
  """Real examples chosen in the features of a network.

  The network is ours: trained by the optimiser of DC's evaluation, without augmentation.
  """
  features = dict(width=64, num_epochs=5) | _FEATURES.get(dataset, {})
  return ConfigDict(
    dict(
      method=method,  # random, herding, k_center, k_means
      features="trained",  # or random (an untrained network), or pixels
      network="convnet",
      width=features["width"],
      num_epochs=features["num_epochs"],  # passes over the real set
      batch_size=256,
      learning_rate=0.01,
    )
  )


def data(dataset: str) -> ConfigDict:
  """Which real set, and how it becomes arrays."""
  return ConfigDict(
    dict(
      name=dataset,  # or "npz" or "folder", with `path`
      path=placeholder(str),  # a user's own data
      channels=placeholder(str),  # first or last, where the shape of an npz's images does not say
      max_value=placeholder(float),  # white in an npz or in 16-bit pictures; None: 255, 65535 or 1,
      # by their type
      image_size=placeholder(int),  # of a folder: central squares resized to so many pixels a side
      data_dir=placeholder(str),  # of packed sets (configs/pack.py) or TFDS's, packed ones first;
      # default: TFDS_DATA_DIR, then TFDS's own
      download=True,  # let TFDS download and prepare what is absent
      num_classes=placeholder(int),  # the first so many classes only
      max_train_examples=placeholder(int),  # a stratified cap on the train split
      validation_fraction=0.0,  # stratified, taken from train; nothing is held out by default
      split_seed=0,  # of the validation split, the cap, and the test split of a user's own data
      preprocessing="standardise",  # or none, published, zca_kip, zca_kornia, zca_frepo
      zca_regularisation=0.1,  # the published value of all three kinds
      colour_bias=placeholder(float),  # grey images coloured: so many in their class's own colour
    )
  )


def trainer() -> ConfigDict:
  """The loop: how often it looks up, not what it computes."""
  return ConfigDict(
    dict(
      steps_per_call=10,  # at most; fewer where they would take more than ten seconds
      checkpoint_every_steps=200,
      checkpoint_every_minutes=5.0,  # and where so much time went by without one
      log_every_steps=10,
      keep_checkpoints=2,
      tensorboard=True,
    )
  )


def kernel(family: str = "fc", depth: int = 1, kind: str = "ntk") -> ConfigDict:
  """A kernel for `ddjax.kernels.make_kernel`."""
  return ConfigDict(
    dict(
      family=family,  # fc, conv, convnet, myrtle, rbf, laplace, linear, arccos, random_feature
      depth=depth,  # fc, conv: hidden layers; convnet: blocks; myrtle: 5, 7 or 10; arccos: layers
      kind=kind,  # ntk or nngp, for the infinite networks
      engine="auto",  # or neural_tangents, closed_form, pooled (networks with pooling): the same
      # numbers to rounding; auto takes the fastest
      weight_std=2.0**0.5,
      bias_std=0.1,  # released settings of KIP; the paper says sigma_b^2 = 1e-4, i.e. 0.01
      readout_weight_std=2.0**0.5,  # the readout layer has its own pair
      readout_bias_std=0.1,
      bandwidth=1.0,  # rbf, laplace: in units of the mean pixel distance sqrt(d)
      num_features=1024,  # random_feature: width of each finite random network
      num_networks=4,  # random_feature: networks averaged
      feature_seed=0,  # random_feature
    )
  )


def curve(models: str = "kernel") -> ConfigDict:
  """The running curve, on the first test images: it selects nothing."""
  return ConfigDict(
    dict(
      models=models,  # kernel, networks (the first of accuracy_evaluation, protocol quick), or none
      steps=(),  # of the curve and the snapshots; () for the series 0 1 2 5 10 ... and the last
      num_networks=1,  # for each distillation
      num_epochs=300,  # of the protocol quick
      num_test=10000,  # test images; 0 for all
    )
  )


def kernel_evaluation() -> ConfigDict:
  """Kernel ridge regression on the distilled set, tested on real images."""
  return ConfigDict(dict(num_bootstrap=2000))


def accuracy_evaluation() -> ConfigDict:
  """Finite networks trained on the distilled set."""
  return ConfigDict(
    dict(
      networks=("mlp", "convnet"),  # names may carry options: "convnet(norm=batch,depth=4)"
      width=32,  # of every network that names none itself; 0: its published width
      num_seeds=5,  # networks per distilled set, and per coreset
      random_subset_seeds=1,  # networks per random subset
      protocol="quick",  # or dc, mtt, idc, kip, frepo, ...: see ddjax.fitting.protocols
      num_epochs=placeholder(int),  # these seven: None keeps the protocol's own
      batch_size=placeholder(int),
      learning_rate=placeholder(float),
      augmentation=placeholder(str),  # operations joined by "_", or "none", then no mixing
      labels=placeholder(str),  # own or hard; a run that learns labels takes them as own
      mix=placeholder(str),  # none, cutmix or mixup
      ema_decay=placeholder(float),  # of an average of the weights, which is then tested; 0: none
      feature_ridge=placeholder(float),  # of regressions on each network's features; FRePo: 1e-6
      full_set="cached",  # networks on the full train set: cached, train (may take days), or none
      full_epochs=placeholder(int),  # of the full set; None for as many as the small sets get
      full_steps=placeholder(int),  # of a batch on the full set, instead of epochs
      full_seeds=1,  # networks on the full set
      use_robust_scores=False,  # label- and augmentation-robust scores: three more fits of the set
      num_bootstrap=2000,
    )
  )


def kip(
  *,
  ipc: int,
  num_steps: int,
  learning_rate: float,
  target_batch_size: int,
  label_learning_rate: float = 0.04,
  schedule: str = "constant",
  learn_labels: bool = False,
  init: str = "real",
  fraction: float = 0.0,
  flip: bool = False,
  max_shift: int = 0,
) -> ConfigDict:
  """KIP's own groups: synthetic, ridge, outer, augment; without the kernel."""
  return ConfigDict(
    dict(
      synthetic=dict(ipc=ipc, init=init, learn_labels=learn_labels),  # init: real, noise, kmeans
      ridge=1e-6,  # relative to the mean diagonal of K_ss
      outer=dict(
        num_steps=num_steps,
        learning_rate=learning_rate,
        label_learning_rate=label_learning_rate,
        schedule=schedule,  # constant or cosine
        target_batch_size=target_batch_size,  # over all devices, class-balanced; 0: up to 5000,
        # with pooling up to 200
      ),
      augment=dict(  # of target batches; see ddjax.augment.targets
        fraction=fraction,  # of the examples of a batch
        flip=flip,
        max_shift=max_shift,  # pixels
        max_rotation=0.0,  # degrees
        channel_shift=0.0,  # network units
      ),
    )
  )


def matching(
  *,
  ipc: int,
  num_steps: int,
  learning_rate: float,
  real_batch_size: int,
  augmentation: str,
  init: str = "real",
  network: str = "convnet",
  width: int = 128,
  outer: dict | None = None,
  synthetic: dict | None = None,
) -> ConfigDict:
  """What DC, DSA, DM and IDC share, and the kernel of their reports.

  Args:
    ipc: images per class.
    num_steps: updates of the synthetic images.
    learning_rate: of the images, in the units of their space.
    real_batch_size: real examples of each class a step.
    augmentation: siamese; operations joined by "_", or "none".
    init: how the images begin.
    network: that is matched, by name.
    width: of it.
    outer: further fields of the group `outer`.
    synthetic: further fields of the group `synthetic`.
  """
  return ConfigDict(
    dict(
      synthetic=dict(
        ipc=ipc,
        init=init,  # real, noise, saved; kmeans, but for IDC; grid, of IDC alone
        init_from=placeholder(str),  # for "saved": a run folder, a `distilled` folder, or an npz
        learn_labels=False,  # networks then train on them as they are
      )
      | (synthetic or {}),
      network=dict(
        name=network,  # may carry options: "convnet(norm=batch)"
        width=width,  # where the name has none; 0: its published width
      ),
      augmentation=augmentation,
      classes_at_once=0,  # 0: as many as memory_budget_gb and, on CPUs, the cache allow
      outer=dict(
        num_steps=num_steps,
        learning_rate=learning_rate,
        label_learning_rate=0.01,  # ours; of labels that are learned, as log-probabilities
        momentum=0.5,  # of both
        real_batch_size=real_batch_size,  # of each class, over all devices
      )
      | (outer or {}),
      kernel=kernel(),
      ridge=1e-6,
    )
  )


def trajectories(
  *,
  ipc: int,
  num_steps: int,
  learning_rate: float,
  rate_learning_rate: float,
  student_learning_rate: float,
  student_steps: int,
  expert_epochs: int,
  max_start_epoch: int,
  num_experts: int,
  augmentation: str,
  student_batch_size: int = 0,
  network: str = "convnet",
  width: int = 128,
) -> ConfigDict:
  """MTT's own groups, and the kernel of its reports.

  Args:
    ipc: images per class.
    num_steps: updates of the synthetic images.
    learning_rate: of the images, in the units of their space.
    rate_learning_rate: of the student's learning rate.
    student_learning_rate: the student's, at the start.
    student_steps: N.
    expert_epochs: M.
    max_start_epoch: T+.
    num_experts: that trajectories are drawn from.
    augmentation: of the student and of the experts; operations joined by "_", or "none".
    student_batch_size: synthetic images of a student step; 0 for all.
    network: of student and experts, by name.
    width: of it.
  """
  return ConfigDict(
    dict(
      synthetic=dict(
        ipc=ipc,
        init="real",  # real, noise, kmeans, saved
        init_from=placeholder(str),  # for "saved": a run folder, a `distilled` folder, or an npz
        learn_labels=False,  # networks then train on them as they are
      ),
      network=dict(
        name=network,  # may carry options: "convnet(norm=batch)"
        width=width,  # where the name has none; 0: its published width
      ),
      augmentation=augmentation,
      unroll="checkpoint",  # or plain, constant: see ddjax.distillers.unroll
      checkpoint_policy="",  # what is not computed again: a name in ddjax.distillers.unroll
      # .POLICIES; "": "convolutions" where memory_budget_gb allows, else "nothing_saveable"
      outer=dict(
        num_steps=num_steps,
        learning_rate=learning_rate,
        label_learning_rate=0.01,  # ours; of labels that are learned, as log-probabilities
        rate_learning_rate=rate_learning_rate,  # of the student's rate; 0: it stays as it is
        momentum=0.5,  # of all three
        student_learning_rate=student_learning_rate,  # at the start
        student_steps=student_steps,
        student_batch_size=student_batch_size,
        expert_epochs=expert_epochs,
        min_start_epoch=0,
        max_start_epoch=max_start_epoch,  # start epochs lie below it
        first_max_start_epoch=1,  # with growth_steps: where the range of start epochs begins
        growth_steps=0,  # steps in which it grows to max_start_epoch; 0: it is there at once
        num_segments=1,  # pieces of trajectories a step, over all devices
        image_ema_decay=0.0,  # of an exponential average of the images, which is then published
      ),
      experts=experts(num_experts),
      kernel=kernel(),
      ridge=1e-6,
    )
  )


def experts(num_experts: int) -> ConfigDict:
  """Expert trajectories; network and augmentation are the config's own.

  SGD at .01 in batches of 256, without momentum or decay: the released settings of MTT.
  """
  return ConfigDict(
    dict(
      path=placeholder(str),  # of the buffer; default: the cache folder, by what it is of
      seed=0,
      num_experts=num_experts,
      num_epochs=0,  # 0: as many as the distillation needs
      learning_rate=0.01,
      momentum=0.0,
      weight_decay=0.0,
      batch_size=256,
      sharpness_radius=0.0,  # of sharpness-aware minimisation (flat trajectories); 0: plain SGD
      adversarial_epsilon=placeholder(float),  # images are first moved to where the loss is high,
      # in an l_inf ball of this radius, in pixels from 0 to 1; None: trained as they are
      adversarial_steps=placeholder(int),  # of signed gradient, to move them; None: 10
      dtype="float32",  # or float16: half the disk; the index says how much it rounds
      at_once=0,  # that a device trains together; 0: by the size of the network
      epochs_per_chunk=5,  # written together, and lost together when killed
    )
  )
