"""Figures of two runs, paired by seed."""

import pytest

from benchmarks.paired_runs import by_seed

REPORT = {"reports": {"fairness": {"per_model": {"deo_max": [0.1, 0.3, 0.5, 0.7]}}}}


def test_a_seed_has_the_mean_of_its_networks():
  config = {"seed": 7, "num_replicas": 2, "method": "dm"}
  assert by_seed(REPORT, config, "fairness/deo_max") == pytest.approx({7: 0.2, 8: 0.6})


def test_what_has_no_value_by_network_or_by_seed_is_named():
  with pytest.raises(ValueError, match="fairness/gap has no values by network in the report of dm"):
    by_seed(REPORT, {"seed": 0, "num_replicas": 2, "method": "dm"}, "fairness/gap")
  with pytest.raises(ValueError, match="4 values, which 3 seeds do not divide"):
    by_seed(REPORT, {"seed": 0, "num_replicas": 3, "method": "dm"}, "fairness/deo_max")
