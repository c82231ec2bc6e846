"""Every file in configs/ builds, for every data set, and runs one step on fake data."""

import pathlib

import numpy as np
import pytest

from ddjax.api import get_config
from ddjax.config.compare import flatten
from ddjax.data.facts import FACTS
from ddjax.data.load import load_real_data
from ddjax.distillers import coreset
from ddjax.fitting.host import Watch
from ddjax.fitting.protocols import PROTOCOLS
from ddjax.stages import experts
from ddjax.stages.prepare import prepare
from ddjax.tasks.start import TASKS
from ddjax.training import parallel, trainer

CONFIGS = sorted(path.name for path in pathlib.Path("configs").glob("*.py"))
EVALUATIONS = ["evaluate.py", "full_set.py"]  # they make no set; tests/tasks/evaluate_test.py
STUDIES = ["export.py", "pack.py"]  # of sets that there are
GRIDS = ["kernel_ablation.py", "privacy.py", "study.py"]  # tests/study/grid_test.py
METHODS = sorted(set(CONFIGS) - set(EVALUATIONS) - set(STUDIES) - set(GRIDS))


def test_there_are_configs():
  assert {"kip.py", "label_solve.py", "coreset.py", *EVALUATIONS, *GRIDS} <= set(CONFIGS)


@pytest.mark.parametrize("name", EVALUATIONS)
def test_evaluations_build_for_every_data_set_and_protocol(name):
  for dataset in FACTS:
    for protocol in PROTOCOLS:
      config = get_config(f"configs/{name}:{dataset},protocol={protocol}")
      assert config.data.name == dataset and config.accuracy_evaluation.protocol == protocol
      assert config.task in TASKS
      config.lock()


@pytest.mark.parametrize("words", ["audit", "audit,full", "audit,smoke"])
def test_the_audit_builds_for_every_data_set(words):
  for dataset in FACTS:
    config = get_config(f"configs/evaluate.py:{dataset},{words}")
    assert set(config.evaluators) == {"accuracy", "privacy", "robustness", "fairness", "features"}
    assert (config.robustness.num_test == 200) == ("full" not in words)
    config.lock()
  with pytest.raises(ValueError, match="`full` goes with `audit`"):
    get_config("configs/evaluate.py:digits,full")


def test_every_data_set_can_be_packed():
  for dataset in FACTS:
    config = get_config(f"configs/pack.py:{dataset}")
    assert config.data.name == dataset and config.task in TASKS
    config.lock()
  with pytest.raises(ValueError, match="'ipc'.*dataset"):
    get_config("configs/pack.py:digits,ipc=1")


@pytest.mark.parametrize("method", sorted(coreset.METHODS))
def test_a_coreset_as_it_stands_is_evaluated_by_dc_on_five_networks_of_width_128(method):
  config = get_config(f"configs/coreset.py:cifar10,method={method},ipc=10")
  evaluation = config.accuracy_evaluation
  assert (evaluation.protocol, evaluation.width, evaluation.num_seeds) == ("dc", 128, 5)
  assert config.coreset.method == method and list(evaluation.networks) == ["convnet"]


@pytest.mark.parametrize("dataset", ["mnist", "cifar10", "digits", "npz", "fake"])
def test_kernels_over_pixels_whiten_colour_and_learn_labels(dataset):
  config = get_config(f"configs/kip.py:{dataset},ipc=1,family=convnet")
  assert (config.kernel.family, config.kernel.depth) == ("convnet", 3)
  assert config.data.preprocessing == ("zca_kip" if dataset == "cifar10" else "standardise")
  assert config.synthetic.learn_labels and config.outer.target_batch_size <= 200
  assert config.outer.learning_rate == (0.01 if dataset == "mnist" else 0.04)
  assert config.variant == "convnet3"
  solved = get_config(f"configs/label_solve.py:{dataset},ipc=1,family=convnet,depth=3")
  assert solved.data.preprocessing == config.data.preprocessing


def test_the_kernel_of_kip_is_chosen_by_words():
  assert get_config("configs/kip.py:mnist,ipc=1,family=myrtle").kernel.depth == 5
  assert get_config("configs/kip.py:mnist,ipc=1,depth=2").kernel.depth == 2
  assert get_config("configs/kip.py:mnist,ipc=1").kernel.depth == 3
  assert get_config("configs/kip.py:mnist,ipc=1,family=fc").kernel.depth == 1
  with pytest.raises(ValueError, match="Unknown kernel family 'convnett'. Did you mean 'convnet'"):
    get_config("configs/kip.py:mnist,family=convnett")
  with pytest.raises(ValueError, match="`curve` is that of FC-1"):
    get_config("configs/kip.py:cifar10,curve,family=convnet")


_SIAMESE = "color_crop_cutout_flip_scale_rotate"
_DC = {
  "outer.learning_rate": 0.1,
  "outer.momentum": 0.5,
  "outer.real_batch_size": 256,
  "outer.network_learning_rate": 0.01,
  "outer.network_batch_size": 256,
  "matching.distance": "cosine",
  "matching.only_convolutions": False,
  "synthetic.init": "noise",
  "augmentation": "none",
  "accuracy_evaluation.protocol": "dc",
  "accuracy_evaluation.augmentation": "none",
  "accuracy_evaluation.num_epochs": 300,
}
_DSA = _DC | {
  "synthetic.init": "real",
  "augmentation": _SIAMESE,
  "accuracy_evaluation.augmentation": None,
  "accuracy_evaluation.num_epochs": None,
}
_DM = {
  "outer.num_steps": 20000,
  "outer.num_networks": 1,
  "outer.learning_rate": 1.0,
  "outer.momentum": 0.5,
  "outer.real_batch_size": 256,
  "synthetic.init": "real",
  "augmentation": _SIAMESE,
  "accuracy_evaluation.protocol": "dc",
}
_IDC = {
  "outer.num_steps": 200000,
  "outer.inner_loop": 100,
  "outer.learning_rate": 5e-3,
  "outer.momentum": 0.5,
  "outer.base_side": 32,
  "outer.real_batch_size": 64,
  "outer.synthetic_batch_size": 128,
  "outer.network_examples": 500,
  "outer.network_learning_rate": 0.01,
  "outer.network_momentum": 0.9,
  "outer.network_weight_decay": 5e-4,
  "outer.network_batch_size": 64,
  "matching.distance": "squared",
  "matching.only_convolutions": True,
  "mix.probability": 0.5,
  "mix.beta": 1.0,
  "synthetic.factor": 2,
  "synthetic.init": "grid",
  "augmentation": "color_crop_cutout",
  "accuracy_evaluation.protocol": "idc",
  "accuracy_evaluation.mix": None,
}
_NCFM = {
  "outer.num_steps": 20000,
  "outer.learning_rate": 0.01,
  "outer.weight_decay": 5e-4,
  "outer.rate_factor": 0.5,
  "outer.patience": 500,
  "outer.real_batch_size": 1024,
  "outer.num_frequencies": 4096,
  "outer.amplitude_weight": 0.5,
  "outer.phase_weight": 0.5,
  "outer.loss_scale": 300.0,
  "outer.calibration_weight": 1.0,
  "outer.network_epochs": 60,
  "experts.num_experts": 20,
  "experts.learning_rate": 0.01,
  "experts.momentum": 0.9,
  "experts.weight_decay": 5e-4,
  "experts.batch_size": 128,
  "experts.drop_factor": 0.2,
  "experts.mix_probability": 0.5,
  "synthetic.factor": 2,
  "synthetic.init": "grid",
  "augmentation": "color_crop_cutout",
  "accuracy_evaluation.protocol": "ncfm",
  "accuracy_evaluation.num_epochs": None,
}
_DATM = {
  "outer.num_steps": 10000,
  "outer.student_steps": 80,
  "outer.expert_epochs": 2,
  "outer.min_start_epoch": 0,
  "outer.momentum": 0.5,
  "outer.label_momentum": 0.9,
  "outer.rate_learning_rate": 1e-5,
  "outer.student_learning_rate": 0.01,
  "outer.loss_threshold": 1.0,
  "synthetic.init": "experts",
  "synthetic.learn_labels": True,
  "experts.num_experts": 100,
  "experts.sharpness_radius": 2.0,
  "experts.sharpness_alpha": 0.4,
  "experts.sharpness_is_adaptive": True,
  "data.preprocessing": "zca_kornia",
  "accuracy_evaluation.protocol": "mtt",
}


def _datm(first, last, steps, images, labels, batch, average, **fields):
  """A row of DATM's table; no `first` where the range of start epochs does not grow."""
  growing = {"outer.first_max_start_epoch": first} if first else {}
  named = {f"outer.{name}": value for name, value in fields.items()}
  return (
    _DATM
    | growing
    | named
    | {
      "outer.max_start_epoch": last,
      "outer.growth_steps": steps,
      "outer.learning_rate": images,
      "outer.label_learning_rate": labels,
      "outer.student_batch_size": batch,  # 0: all
      "outer.image_ema_decay": average,
    }
  )


_ABSOLUTE = _IDC | {"matching.distance": "absolute", "outer.learning_rate": 1e-4}
_MNIST_IDC = {
  name: _ABSOLUTE[name] for name in ("matching.distance", "outer.learning_rate", "mix.beta")
} | {"outer.base_side": 28}


@pytest.mark.parametrize(
  "argument,published",
  [
    ("dc:cifar10,ipc=1", _DC | {"outer.num_steps": 1000}),
    ("dc:cifar100,ipc=10", _DC | {"outer.num_steps": 10000}),
    ("dc:cifar10,ipc=50", _DC | {"outer.num_steps": 50000}),
    ("dsa:cifar10,ipc=1", _DSA | {"outer.num_steps": 1000}),
    ("dsa:cifar100,ipc=10", _DSA | {"outer.num_steps": 10000}),
    ("dsa:fashion_mnist,ipc=50", _DSA | {"outer.num_steps": 50000}),
    ("dsa:svhn_cropped,ipc=1", _DSA | {"augmentation": "color_crop_cutout_scale_rotate"}),
    ("dm:cifar10,ipc=1", _DM),
    ("dm:cifar100,ipc=10", _DM),
    ("dm:fashion_mnist,ipc=50", _DM),
    ("dm:cifar10,ipc=100", _DM | {"outer.learning_rate": 10.0}),
    ("dm:svhn_cropped,ipc=10", _DM | {"augmentation": "color_crop_cutout_scale_rotate"}),
    ("idc:cifar10,ipc=10", _IDC | {"outer.network_examples": 2000}),
    ("idc:cifar100,ipc=1", _IDC | {"outer.network_examples": 2000, "outer.learning_rate": 5e-4}),
    ("idc:svhn_cropped,ipc=50", _IDC | {"outer.learning_rate": 2.5e-2}),
    (
      "idc:svhn_cropped,ipc=1,factor=1",
      {
        "accuracy_evaluation.mix": "none",
        "accuracy_evaluation.augmentation": "color_crop_cutout_scale_rotate",
      },
    ),
    ("idc:fashion_mnist,ipc=10", _ABSOLUTE),
    (
      "datm:cifar10,ipc=1",
      _datm(0, 4, 0, 100.0, 5.0, 0, 0.995, loss_threshold=1.1, rate_learning_rate=1e-7),
    ),
    ("datm:cifar10,ipc=10", _datm(10, 20, 1000, 100.0, 2.0, 0, 0.9995)),
    ("datm:cifar10,ipc=50", _datm(20, 40, 2000, 1000.0, 2.0, 500, 0.995)),
    ("datm:cifar100,ipc=10", _datm(30, 50, 2000, 1000.0, 10.0, 1000, 0.9995)),
    ("datm:cifar100,ipc=50", _datm(0, 70, 0, 1000.0, 10.0, 1000, 0.9995, min_start_epoch=20)),
    ("ncfm:cifar10,ipc=10", _NCFM),
    ("ncfm:cifar100,ipc=50", _NCFM),
    (
      "idc:mnist,ipc=10",
      _MNIST_IDC
      | {"augmentation": "color_crop", "mix.probability": 0.0, "accuracy_evaluation.mix": "none"},
    ),
    (
      "idc:mnist,ipc=10,factor=1",
      _MNIST_IDC
      | {
        "augmentation": "color_crop_cutout",
        "mix.probability": 0.5,
        "accuracy_evaluation.mix": None,
      },
    ),
  ],
)
def test_settings_are_the_published_ones(argument, published):
  method, words = argument.split(":")
  config = get_config(f"configs/{method}.py:{words}")
  found = flatten(config.to_dict())
  assert {name: found[name] for name in published} == pytest.approx(published)
  if method == "ncfm":
    assert config.experts.drop_epochs == (40, 50)
  if "mnist" not in words.replace("fashion_mnist", ""):
    assert config.network.width == config.accuracy_evaluation.width == 128
    assert config.network.name == "convnet"
    assert bool(config.synthetic.get("learn_labels")) == (method == "datm")


_FREPO = {
  "data.preprocessing": "zca_frepo",
  "data.zca_regularisation": 0.1,
  "synthetic.learn_labels": True,
  "synthetic.init": "real",
  "network.name": "frepo_convnet(norm=none)",
  "network.width": 128,
  "pool.num_networks": 10,
  "pool.online_steps": 100,
  "pool.learning_rate": 3e-4,
  "pool.batch_size": 500,
  "ridge": 1e-6,
  "outer.num_steps": 500000,
  "outer.learning_rate": 3e-4,
  "outer.schedule": "cosine",
  "outer.target_batch_size": 1024,
  "accuracy_evaluation.protocol": "frepo",
  "accuracy_evaluation.networks": ("frepo_convnet(norm=batch)",),
  "accuracy_evaluation.width": 128,
}


@pytest.mark.parametrize(
  "words, use_flips",
  [
    ("cifar10,ipc=10", True),
    ("cifar100,ipc=1", True),
    ("fashion_mnist,ipc=10", False),
    ("svhn_cropped,ipc=50", False),
  ],
)
def test_settings_of_frepo_are_the_published_ones(words, use_flips):
  found = flatten(get_config(f"configs/frepo.py:{words}").to_dict())
  assert {name: found[name] for name in _FREPO} == _FREPO
  assert found["synthetic.use_flips"] == use_flips


@pytest.mark.parametrize("method", ["dc", "dsa", "dm"])
def test_what_was_found_for_mnist_at_ipc_10_is_for_that_alone(method):
  found = get_config(f"configs/{method}.py:mnist,ipc=10")
  assert found.network.width == 16
  for ipc in (1, 50):
    other = get_config(f"configs/{method}.py:mnist,ipc={ipc}")
    assert other.network.width == other.accuracy_evaluation.width == 32
    assert other.outer.learning_rate == (1.0 if method == "dm" else 0.1)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dataset", sorted(set(FACTS) - {"npz", "folder"}))
def test_builds_for_every_data_set(name, dataset):
  for ipc in (1, 10, 50):
    config = get_config(f"configs/{name}:{dataset},ipc={ipc}")
    assert config.data.name == dataset and config.synthetic.ipc == ipc
    assert config.task in TASKS
    config.lock()


@pytest.mark.parametrize("name", METHODS)
def test_one_step_on_fake_data(name):
  config = get_config(f"configs/{name}:fake,ipc=1,smoke")
  if config.task == "experts":
    config.method = "mtt"
  config.num_devices = 1
  if "network" in config:  # built as it stands; run with what compiles fast
    prepare(config, pathlib.Path(), load_real_data(config.data))
    config.network.name, config.augmentation = "convnet(depth=1)", "crop"
  job = prepare(config, pathlib.Path(), load_real_data(config.data))
  state = job.initial_state()
  is_host_fed = job.distiller.batch_at is not None
  program = parallel.make_program(
    job.distiller.step, job.layout, steps_per_call=1, is_host_fed=is_host_fed
  )
  numbers = parallel.device_numbers(job.layout)
  if is_host_fed:
    job = experts.attach(job, Watch())
    seeds = trainer.seeds_of(state)
    span = trainer.Span(0, 1, 1)
    numbers = trainer.host_batches(job.distiller, job.host_data, seeds, span, job.layout)
  placed = parallel.place_state(state, job.layout)
  after, metrics = program(placed, job.data, 1, numbers)
  assert int(np.ravel(after.step)[0]) == 1
  assert all(np.isfinite(value).all() for value in metrics.values())
