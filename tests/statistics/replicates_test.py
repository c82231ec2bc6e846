"""Draws of means: their spread is Student's, and what shares seeds moves together."""

import numpy as np
import pytest
import scipy.stats

from ddjax.statistics.replicates import draw_means, sample_mean


def test_a_mean_of_seeds_varies_as_student_says():
  sample = {0: [0.1], 1: [0.4], 2: [0.15, 0.25]}
  (drawn,) = draw_means([sample], 40000, np.random.default_rng(0))
  assert sample_mean(sample) == pytest.approx(0.7 / 3)
  error = np.std([0.1, 0.4, 0.2], ddof=1) / np.sqrt(3)
  scaled = (drawn - 0.7 / 3) / error
  assert scipy.stats.kstest(scaled, scipy.stats.t(2).cdf).pvalue > 0.01
  assert scipy.stats.kstest(scaled, scipy.stats.norm.cdf).pvalue < 1e-6


def test_networks_of_one_seed_stand_in_for_seeds():
  values = [0.1, 0.4, 0.2, 0.3]
  (drawn,) = draw_means([{7: values}], 40000, np.random.default_rng(0))
  scaled = (drawn - np.mean(values)) / (np.std(values, ddof=1) / 2)
  assert scipy.stats.kstest(scaled, scipy.stats.t(3).cdf).pvalue > 0.01


def test_a_single_number_varies_by_its_error_alone():
  drawn = draw_means([{0: [0.5]}, {0: [0.5]}], 20000, np.random.default_rng(0), [0.0, 0.1])
  assert np.all(drawn[0] == 0.5) and drawn[1].std() == pytest.approx(0.1, rel=0.03)


def test_differences_of_the_same_seeds_are_those_of_the_paired_test():
  rng = np.random.default_rng(0)
  shared = rng.normal(size=3)
  a, b = shared + 0.1 * rng.normal(size=3), shared + 0.1 * rng.normal(size=3)
  drawn = draw_means([{i: [x] for i, x in enumerate(one)} for one in (a, b)], 40000, rng)
  difference = drawn[0] - drawn[1]
  scaled = (difference - (a - b).mean()) / (np.std(a - b, ddof=1) / np.sqrt(3))
  assert scipy.stats.kstest(scaled, scipy.stats.t(2).cdf).pvalue > 0.01


def test_other_seeds_are_apart():
  samples = [{0: [0.0], 1: [1.0], 2: [0.5]}, {3: [0.0], 4: [1.0], 5: [0.5]}]
  drawn = draw_means(samples, 20000, np.random.default_rng(0))
  assert abs(scipy.stats.spearmanr(*drawn).statistic) < 0.03
