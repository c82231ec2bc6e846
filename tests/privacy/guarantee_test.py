"""What is refused, warned of and said of a guarantee."""

import json

import pytest

from ddjax.api import get_config
from ddjax.config import compare
from ddjax.data.load import load_real_data
from ddjax.privacy import accounting, guarantee


def _config(method="dp_kip", **changes):
  config = get_config(f"configs/{method}.py:fake,ipc=1")
  with config.unlocked():
    config.update_from_flattened_dict(
      {name.replace("__", "."): value for name, value in changes.items()}
    )
  return config


def _read(**changes):
  config = _config(**changes)
  info = load_real_data(config.data).info
  size = config.outer.target_batch_size
  return guarantee.read_guarantee(config, info, size, "outer.target_batch_size")


@pytest.mark.parametrize("method", ["dp_kip", "dp_dm"])
@pytest.mark.parametrize(
  "changes, message",
  [
    (dict(guarantee__epsilon=0.0), "guarantee.epsilon=0.0 must be positive"),
    (dict(guarantee__epsilon=-1.0), "guarantee.epsilon=-1.0 must be positive"),
    (dict(guarantee__clip_norm=0.0), "guarantee.clip_norm=0.0 must be positive"),
    (dict(guarantee__delta=0.0), r"guarantee.delta=0.0 must lie in \(0, 1\)"),
    (dict(guarantee__delta=1.0), r"guarantee.delta=1.0 must lie in \(0, 1\)"),
    (dict(guarantee__noise_seed=-3), "guarantee.noise_seed must lie between 0 and"),
    (dict(synthetic__init="real"), "synthetic.init='real' is not private.*'noise'"),
    (dict(synthetic__init="kmeans"), "synthetic.init='kmeans' is not private"),
    (dict(synthetic__init="saved"), "synthetic.init='saved' is not private"),
    (dict(data__preprocessing="standardise"), "data.preprocessing='standardise' is fitted"),
    (dict(data__preprocessing="zca_kip"), "data.preprocessing='zca_kip' is fitted"),
    (dict(choose_by="kernel"), "choose_by='kernel' chooses on real examples"),
    (dict(resume_from="runs/other"), "resume_from='runs/other'.*not known"),
  ],
)
def test_what_would_break_a_guarantee_is_refused(method, changes, message):
  with pytest.raises(ValueError, match=message):
    guarantee.check_config(_config(method, **changes))


def test_a_secret_is_not_told_in_an_error():
  with pytest.raises(ValueError) as caught:
    guarantee.check_config(_config(guarantee__noise_seed=2**64 + 12345))
  assert "12345" not in str(caught.value) and str(2**64 + 12345) not in str(caught.value)


def test_other_methods_and_the_configs_as_they_stand_pass():
  for name in ("kip", "dm", "dp_kip", "dp_dm"):
    guarantee.check_config(get_config(f"configs/{name}.py:fake"))
  guarantee.check_config(_config(data__preprocessing="published"))


@pytest.mark.parametrize(
  "changes, message",
  [
    (dict(outer__target_batch_size=65), "outer.target_batch_size: 65 .* the 64 that"),
    (dict(outer__target_batch_size=0), "outer.target_batch_size: 0 examples"),
    (dict(outer__target_batch_size=60, member_fraction=0.5), "60 .* the 36 that"),
    (dict(member_fraction=0.0), "member_fraction=0.0"),
    (dict(outer__num_steps=0), "outer.num_steps=0"),
  ],
)
def test_impossible_settings_of_the_mechanism_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    _read(**changes)


def test_the_noise_is_for_the_wanted_epsilon_and_the_whole_length():
  short, long = _read(outer__num_steps=5), _read(outer__num_steps=50)
  for found in (short, long):
    again = accounting.spent(
      found.noise_multiplier, found.sampling_rate, found.num_updates, 0.99 * found.delta
    )
    assert 9.9 <= again.epsilon <= 10.0 and again == found.spent
    assert found.noise_scale == found.noise_multiplier * found.clip_norm
  assert long.noise_multiplier > 1.5 * short.noise_multiplier
  assert short.sampling_rate == 0.5 and short.batch_size == 32


def test_sets_of_one_run_add_up():
  one, four = _read(), _read(num_replicas=4)
  assert one.together == one.spent.epsilon == four.spent.epsilon
  assert 1.5 * four.spent.epsilon < four.together < 4 * four.spent.epsilon
  sentences = " ".join(guarantee.record(four, "so.")["sentences"])
  assert f"4 sets of the same examples. All of them together have epsilon {four.together:.4g}." in (
    sentences
  )


def test_a_large_delta_is_warned_of_and_not_refused():
  sentences = guarantee.warnings(_read(guarantee__delta=0.02, guarantee__noise_seed=1))
  assert len(sentences) == 1 and "delta=0.02 is above 1/N = 0.016" in sentences[0]
  assert guarantee.warnings(_read(guarantee__noise_seed=1)) == ()


def test_the_record_says_what_holds_and_keeps_the_secret():
  seed = 987654321987654321
  found = guarantee.record(_read(guarantee__noise_seed=seed), "an example is clipped.")
  text = json.dumps(found)
  assert str(seed) not in text and found["has_secret_noise_seed"]
  assert found["epsilon"] == 10.0 and found["delta"] == 1e-5 and found["accountant"] == "pld"
  for words in (
    "differentially private", "one example, added or removed", "Covered: an example is clipped.",
    "Not covered: the number of examples", "no cryptographic guarantee", "RDP says epsilon",
  ):  # fmt: skip
    assert words in text, words
  open_seed = guarantee.record(_read(), "so.")
  assert not open_seed["has_secret_noise_seed"]
  assert any("take it away" in sentence for sentence in open_seed["warnings"])


def test_what_is_published_of_a_config_lacks_the_secret():
  config = compare.plain(_config(guarantee__noise_seed=987654321))
  assert "987654321" in json.dumps(config)
  assert "987654321" not in json.dumps(compare.published(config))
  plain = compare.plain(get_config("configs/kip.py:fake"))
  assert compare.published(plain) == plain


def test_the_length_of_a_private_run_alters_its_noise():
  long = compare.plain(_config(outer__num_steps=40))
  assert compare.differing_fields(compare.plain(_config()), long) == ["outer.num_steps: 20 -> 40"]
  kip = [compare.plain(get_config("configs/kip.py:digits")) for _ in range(2)]
  kip[1]["outer"]["num_steps"] = 40
  assert compare.differing_fields(*kip) == []
