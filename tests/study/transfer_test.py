"""The table of transfer between kernels."""

import pytest

from ddjax.study import section as page
from ddjax.study import transfer
from tests.study import made


def test_own_and_other_kernels():
  found = transfer.cells(made.transfer())
  assert found["rbf", "rbf"].value == 0.9 and found["rbf", "ntk"].value == 0.7
  assert found["random subset", "ntk"].value == 0.5


def test_the_section_in_words():
  section = page.numbered([transfer.build(made.transfer(), {})])[0]
  assert section["answer"] == (
    "Under other kernels 2 sets lose 0.200 of accuracy on average; 2 of 2 such cells are above a "
    "random subset (Table 1, Figure 1)."
  )
  assert [row[0] for row in section["tables"][0]["rows"]] == ["random subset", "rbf", "ntk"]
  assert section["tables"][0]["rows"][1][-1] == pytest.approx(0.7)


def test_a_single_set_is_known_by_its_path():
  maker, record = made.transfer()[0], made.transfer()[2]
  del record.report["sets"]
  record.report["run"]["distilled"] = ["/somewhere/cells/kip-rbf"]
  found = transfer.cells([maker, record])
  assert set(found) == {("rbf", "rbf"), ("random subset", "rbf")}


def test_a_study_without_transfer_has_no_section():
  assert transfer.build(made.study(seeds=(0,)), {}) is None


def test_not_run_is_a_dash():
  records = [one._replace(report=None, state="too dear") if one.role == "transfer" else one
             for one in made.transfer()]  # fmt: skip
  assert transfer.build(records, {})["answer"] == page.NOTHING
