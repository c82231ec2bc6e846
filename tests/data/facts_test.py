import pytest

from ddjax.data.facts import FACTS, get_facts


@pytest.mark.parametrize("name", FACTS)
def test_rows_are_consistent(name):
  facts = get_facts(name)
  assert (facts.mean is None) == (facts.std is None)
  if facts.mean:
    assert len(facts.mean) == len(facts.std) == facts.image_shape[-1]
  if facts.tfds_name:
    assert facts.probe_url and facts.download_mb > 0


def test_unknown_name_helps():
  with pytest.raises(ValueError, match="'minst'.*Did you mean 'mnist'"):
    get_facts("minst")
