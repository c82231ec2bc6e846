"""The recipes against the published figures, optimisers and losses against hand calculation."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ddjax.config import groups
from ddjax.fitting import protocols
from ddjax.fitting.protocols import Protocol

PUBLISHED = {  # by the papers and their released settings; what is not named is as in `SGD`
  "quick": dict(num_epochs=100, batch_size=256, learning_rate=0.01, drops={0.5: 0.1}),
  "dc": dict(
    num_epochs=1000,
    batch_size=256,
    learning_rate=0.01,
    drops={0.5: 0.1},
    augmentation={"color", "crop", "cutout", "flip", "scale", "rotate"},
    labels="hard",
  ),
  "mtt": dict(
    num_epochs=1000,
    batch_size=256,
    learning_rate=None,
    drops={0.5: 0.1},
    augmentation={"color", "crop", "cutout", "flip", "scale", "rotate"},
    labels="hard",
  ),
  "idc": dict(
    num_epochs=1000,
    batch_size=64,
    learning_rate=0.01,
    drops={2 / 3: 0.2, 5 / 6: 0.2},
    restarts_momentum=False,
    augmentation={"color", "crop", "flip", "scale", "rotate"},
    augmentation_mode="idc",
    mix="cutmix",
    mix_probability=0.5,
    labels="hard",
  ),
  "kip": dict(
    num_epochs=None,
    batch_size=100,
    learning_rate=0.01,
    weight_decay=1e-3,
    num_steps={math.inf: 5000},
    schedule="cosine",
    loss="mse",
  ),
  "frepo": dict(
    num_epochs=None,
    batch_size=500,
    learning_rate=3e-4,
    weight_decay=0.0,
    num_steps={10: 1000, 100: 2000, math.inf: 5000},
    optimizer="adam",
    schedule="cosine",
    warmup_steps=500,
    ema_decay=0.995,
    augmentation={"flip", "color", "crop", "rotate", "translate", "cutout"},
    loss="mse",
  ),
  "ncfm": dict(
    num_epochs=2000,
    batch_size=128,
    learning_rate=1e-3,
    optimizer="adamw",
    drops={0.2: 0.5, 0.4: 0.5, 0.6: 0.5, 0.8: 0.5},
    restarts_momentum=False,
    augmentation={"translate", "color", "crop", "cutout", "flip", "scale", "rotate"},
    augmentation_mode="ncfm",
    mix="cutmix",
    mix_probability=0.5,
    labels="hard",
  ),
}
SGD = dict(
  optimizer="sgd",
  momentum=0.9,
  weight_decay=5e-4,
  extra_epochs=0,
  drop_delay=0,
  restarts_momentum=True,
  schedule="constant",
  warmup_steps=0,
  drops={},
  num_steps={},
  augmentation=set(),
  augmentation_mode="single",
  mix="",
  mix_probability=0.0,
  mix_beta=1.0,
  labels="own",
  loss="",
  ema_decay=0.0,
  sharpness_radius=0.0,
  sharpness_alpha=0.0,
  sharpness_is_adaptive=False,
)


for _name in ("dc", "mtt"):
  PUBLISHED[f"{_name}_released"] = PUBLISHED[_name] | dict(extra_epochs=1, drop_delay=2)


def test_presets_are_as_published():
  assert set(protocols.PROTOCOLS) == set(PUBLISHED)
  for name, published in PUBLISHED.items():
    fields = protocols.find_protocol(name)._asdict()
    fields["augmentation"] = set(filter(None, fields["augmentation"].split("_")))
    fields |= {key: dict(fields[key]) for key in ("drops", "num_steps")}
    assert fields == SGD | published, name


@pytest.mark.parametrize(
  "name,num_examples,expected",
  [
    ("dc", 10, (1000, 1, {500: 0.1})),
    ("dc", 256, (1000, 1, {500: 0.1})),
    ("dc", 257, (2000, 2, {1000: 0.1})),
    ("dc_released", 10, (1001, 1, {502: 0.1})),
    ("mtt_released", 257, (2002, 2, {1004: 0.1})),
    ("idc", 100, (2000, 2, {1334: 0.2, 1666: 0.2})),  # epochs 667 and 833
    ("kip", 10, (5000, 1, {})),
    ("frepo", 10, (1000, 1, {})),
    ("frepo", 11, (2000, 1, {})),
    ("frepo", 100, (2000, 1, {})),
    ("frepo", 101, (5000, 1, {})),
    ("frepo", 1000, (5000, 2, {})),
    ("ncfm", 400, (8000, 4, {1600: 0.5, 3200: 0.5, 4800: 0.5, 6400: 0.5})),
  ],
)
def test_lengths(name, num_examples, expected):
  assert protocols.length(protocols.find_protocol(name), num_examples) == expected


def test_drops_count_in_steps_where_the_protocol_does():
  protocol = Protocol(None, 8, 0.1, num_steps=((4, 30), (math.inf, 90)), drops=((1 / 3, 0.5),))
  assert protocols.length(protocol, 4).drops == {10: 0.5}
  assert protocols.length(protocol, 5).drops == {30: 0.5}


def _parameters(optimizer, gradients):
  """Parameters f32[t 2] after every step, from (1, -2)."""
  start = jnp.array([1.0, -2.0])

  def step(carry, gradient):
    params, state = carry
    updates, state = optimizer.update(gradient, state, params)
    params = optax.apply_updates(params, updates)
    return (params, state), params

  return jax.jit(lambda g: jax.lax.scan(step, (start, optimizer.init(start)), g)[1])(gradients)


GRADIENTS = np.stack([np.sin(np.arange(8)), np.full(8, 0.5)], 1).astype(np.float32)


@pytest.mark.parametrize("restarts", [True, False])
@pytest.mark.parametrize("rate", [None, 0.02])
def test_sgd_by_hand(restarts, rate):
  """Decay enters the gradient before the momentum; a drop scales the rate, and may empty it."""
  protocol = Protocol(
    4, 8, 0.1, 0.9, 0.01, drops=((0.5, 0.1), (0.75, 0.5)), restarts_momentum=restarts
  )
  steps = _parameters(protocols.make_optimizer(protocol, 16, rate), GRADIENTS)
  rate = rate or 0.1
  expected, velocity = np.array([1.0, -2.0]), np.zeros(2)
  for step, gradient in enumerate(np.float64(GRADIENTS)):
    if step in (4, 6):
      velocity, rate = velocity * (not restarts), rate * (0.1 if step == 4 else 0.5)
    velocity = 0.9 * velocity + gradient + 0.01 * expected
    expected = expected - rate * velocity
    np.testing.assert_allclose(steps[step], expected, rtol=1e-5)


def test_idc_keeps_its_momentum_through_the_drops_and_dc_does_not():
  """With equal gradients, velocity 1 + .9 + .81 + ...; without decay, to see it alone."""
  ones = np.ones((6, 2), np.float32)
  for name, drops in (("dc", {3: 0.1}), ("idc", {4: 0.2, 5: 0.2})):
    protocol = protocols.find_protocol(name)._replace(num_epochs=6, weight_decay=0.0)
    steps = np.asarray(_parameters(protocols.make_optimizer(protocol, 10), ones))[:, 0]
    velocity, rate, expected = 0.0, 0.01, []
    for step in range(6):
      rate *= drops.get(step, 1.0)
      velocity = 1.0 + 0.9 * velocity * (name == "idc" or step not in drops)
      expected.append(rate * velocity)
    np.testing.assert_allclose(-np.diff(steps, prepend=1.0), expected, rtol=1e-3, err_msg=name)


@pytest.mark.parametrize("name", ["kip", "frepo"])
def test_cosine_to_zero_by_hand(name):
  shorter = dict(num_steps=((math.inf, 8),), warmup_steps=0)
  protocol = protocols.find_protocol(name)._replace(**shorter)
  steps = _parameters(protocols.make_optimizer(protocol, 10, 0.05), GRADIENTS)
  expected, first, second = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
  for step, gradient in enumerate(np.float64(GRADIENTS)):
    rate = 0.05 * (1 + np.cos(np.pi * step / 8)) / 2
    if name == "kip":
      first = 0.9 * first + gradient + 1e-3 * expected
      expected = expected - rate * first
    else:
      first = 0.9 * first + 0.1 * gradient
      second = 0.999 * second + 0.001 * gradient**2
      scale = np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8
      expected = expected - rate * first / (1 - 0.9 ** (step + 1)) / scale
    np.testing.assert_allclose(steps[step], expected, rtol=1e-4)


def test_adamw_by_hand():
  """Decay apart from the gradient, times the rate; the rate halves and the moments live on."""
  protocol = protocols.find_protocol("ncfm")._replace(num_epochs=10, weight_decay=0.1)
  steps = _parameters(protocols.make_optimizer(protocol, 10, 0.05), GRADIENTS)
  expected, first, second = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
  for step, gradient in enumerate(np.float64(GRADIENTS)):
    rate = 0.05 * 0.5 ** (step // 2)
    first = 0.9 * first + 0.1 * gradient
    second = 0.999 * second + 0.001 * gradient**2
    scaled = first / (1 - 0.9 ** (step + 1))
    scaled /= np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8
    expected = expected - rate * (scaled + 0.1 * expected)
    np.testing.assert_allclose(steps[step], expected, rtol=1e-4)


def test_a_rate_that_rises_first():
  """As FRePo's code: from zero in equal parts, then a cosine over what is left."""
  protocol = protocols.find_protocol("frepo")._replace(
    optimizer="sgd", momentum=0.0, num_steps=((math.inf, 10),), warmup_steps=4
  )
  steps = np.asarray(_parameters(protocols.make_optimizer(protocol, 10, 0.5), np.ones((10, 2))))
  rates = [0, 1 / 4, 2 / 4, 3 / 4] + [(1 + np.cos(np.pi * step / 6)) / 2 for step in range(6)]
  taken = -np.diff(steps[:, 0], prepend=1.0)
  np.testing.assert_allclose(taken, 0.5 * np.array(rates), atol=1e-6)
  longer = protocol._replace(warmup_steps=500)  # a short training rises for half of its steps
  steps = np.asarray(_parameters(protocols.make_optimizer(longer, 10, 0.5), np.ones((10, 2))))
  assert np.argmax(-np.diff(steps[:, 0])) + 1 == 5


def test_losses_on_numbers():
  logits, labels = np.float32([[1.0, 3.0]]), np.float32([[0.25, 0.75]])
  np.testing.assert_allclose(protocols.make_loss("mse")(logits, labels), [(0.75**2 + 2.25**2) / 2])
  log_normaliser = np.log(np.exp(1) + np.exp(3))
  np.testing.assert_allclose(
    protocols.make_loss("cross_entropy")(logits, labels),
    [log_normaliser - 0.25 - 2.25],
    rtol=1e-6,
  )


@pytest.mark.parametrize(
  "kind,protocol,loss",
  [
    ("one_hot", "quick", "cross_entropy"),
    ("probabilities", "quick", "cross_entropy"),
    ("centred", "quick", "mse"),
    ("logits", "quick", "mse"),
    ("logits", "dc", "cross_entropy"),  # hard labels
    ("one_hot", "kip", "mse"),
    ("probabilities", "frepo", "mse"),
    ("centred", None, "mse"),
  ],
)
def test_the_loss_suits_labels_and_protocol(kind, protocol, loss):
  protocol = protocol and protocols.find_protocol(protocol)
  assert protocols.find_loss(kind, protocol) == loss


def _config(**fields):
  config = groups.accuracy_evaluation()
  config.update(fields)
  return config


def test_a_config_that_sets_nothing_keeps_the_protocol():
  for name, protocol in protocols.PROTOCOLS.items():
    assert protocols.configure(_config(protocol=name)) == protocol


def test_a_config_overrides_the_protocol():
  fields = dict(
    num_epochs=7, batch_size=32, learning_rate=0.5, augmentation="crop_color", labels="own"
  )
  configured = protocols.configure(_config(protocol="dc", ema_decay=0.99, **fields))
  assert configured == protocols.find_protocol("dc")._replace(ema_decay=0.99, **fields)
  kip = protocols.configure(_config(protocol="kip", num_epochs=3))
  assert protocols.length(kip, 250).num_steps == 3 * 3  # epochs go before steps


def test_mixing_may_be_left_out_or_added():
  idc, dc = protocols.find_protocol("idc"), protocols.find_protocol("dc")
  assert protocols.configure(_config(protocol="idc", mix="none")) == idc._replace(mix="")
  assert protocols.configure(_config(protocol="idc", mix="cutmix")) == idc
  added = dc._replace(mix="mixup", mix_probability=1.0)
  assert protocols.configure(_config(protocol="dc", mix="mixup")) == added
  added = dc._replace(mix="cutmix", mix_probability=0.5)
  assert protocols.configure(_config(protocol="dc", mix="cutmix")) == added
  assert protocols.configure(_config(protocol="idc", augmentation="none")).mix == ""
  kept = protocols.configure(_config(protocol="idc", augmentation="none", mix="cutmix"))
  assert (kept.augmentation, kept.mix) == ("", "cutmix")
  assert "mix_probability" not in protocols.describe(idc._replace(mix=""))


def test_digits_are_not_mirrored_unless_the_config_says_so():
  def augmentation(**fields):
    return protocols.configure(_config(**fields), use_flip=False).augmentation

  assert augmentation(protocol="dc") == "color_crop_cutout_scale_rotate"
  assert augmentation(protocol="frepo") == "color_crop_rotate_translate_cutout"
  assert augmentation(protocol="ncfm") == "translate_color_crop_cutout_scale_rotate"
  assert augmentation(protocol="quick") == ""
  assert augmentation(protocol="dc", augmentation="flip_crop") == "flip_crop"
  assert augmentation(protocol="dc", augmentation="none") == ""


@pytest.mark.parametrize(
  "fields,message",
  [
    (dict(protocol="quik"), "'quik'.*Did you mean 'quick'"),
    (dict(num_epochs=0), "num_epochs=0 must be positive"),
    (dict(batch_size=-5), "batch_size=-5 must be positive"),
    (dict(learning_rate=0.0), r"learning_rate=0\.0 must be positive"),
    (dict(learning_rate=math.nan), "learning_rate=nan must be positive"),
    (dict(ema_decay=1.0), r"ema_decay=1\.0 must lie in \[0, 1\)"),
    (dict(ema_decay=-0.1), r"ema_decay=-0\.1 "),
    (dict(labels="soft"), "labels='soft' must be 'own' or 'hard'"),
    (dict(mix="cutmx"), "mix='cutmx' must be 'none' or one of cutmix, mixup"),
    (dict(augmentation="crop_colr"), "'colr'.*Did you mean 'color'"),
  ],
)
def test_bad_values_are_named(fields, message):
  with pytest.raises(ValueError, match=message):
    protocols.configure(_config(**fields))


def test_an_unknown_label_kind_is_named():
  with pytest.raises(ValueError, match="'onehot'.*Did you mean 'one_hot'"):
    protocols.find_loss("onehot")


def test_descriptions_are_plain_json_of_what_is_used():
  described = {
    name: json.loads(json.dumps(protocols.describe(protocol), allow_nan=False))
    for name, protocol in protocols.PROTOCOLS.items()
  }
  assert described["quick"] == dict(
    num_epochs=100,
    batch_size=256,
    learning_rate=0.01,
    momentum=0.9,
    weight_decay=5e-4,
    drops=[[0.5, 0.1]],
    restarts_momentum=True,
    optimizer="sgd",
    schedule="constant",
    labels="own",
  )
  assert described["frepo"]["num_steps"] == [[10, 1000], [100, 2000], [None, 5000]]
  assert "momentum" not in described["frepo"] and "restarts_momentum" not in described["frepo"]
  assert described["idc"]["restarts_momentum"] is False
  assert "restarts_momentum" not in described["ncfm"] and "momentum" not in described["ncfm"]
  assert described["idc"]["mix_beta"] == 1.0
  assert described["dc"]["augmentation_mode"] == "single"


def test_the_released_schedule():
  """As `for epoch in range(20 + 1)` with a new optimiser after the epoch 20 // 2 + 1."""
  protocol = protocols.configure(_config(protocol="dc_released", num_epochs=20))
  rates = [0.01]
  for epoch in range(20 + 1):
    rates.append(rates[-1] * 0.1 if epoch == 20 // 2 + 1 else rates[-1])
  ours = protocols.length(protocol, 10)
  assert ours.num_steps == 21 and ours.drops == {rates.index(0.001): 0.1} == {12: 0.1}
