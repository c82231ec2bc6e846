"""Numbers of tables and figures, and references to them."""

from ddjax.study import fairness, privacy, robustness
from ddjax.study import section as page
from tests.study import made


def _section(answer, *names):
  tables = [page.table(name, f"Of [[{name}]].", [("a", "text")], [["x"]]) for name in names]
  return page.section("s", "Q?", answer, tables=tables)


def test_tables_are_numbered_through_all_sections():
  first, second = page.numbered([_section("See [[a]].", "a"), _section("As ([[b]], [[a]]).", "b")])
  assert first["answer"] == "See Table 1." and second["answer"] == "As (Table 2, Table 1)."
  assert first["tables"][0]["caption"] == "Of Table 1."


def test_references_to_what_is_left_out_go():
  (one,) = page.numbered([_section("Shown ([[a]], [[gone]]) and ([[gone]]).", "a")])
  assert one["answer"] == "Shown (Table 1) and."


def test_columns_without_a_value_are_left_out():
  table = page.table("t", "", [("a", "text"), ("b", "number")], [["x", None], ["y", None]])
  assert [column["name"] for column in table["columns"]] == ["a"] and table["rows"] == [
    ["x"],
    ["y"],
  ]


def test_tables_without_rows_are_left_out():
  empty = page.table("t", "", [("a", "text")], [])
  assert page.section("s", "Q?", "A.", tables=[empty, None])["tables"] == []


def test_words():
  assert page.joined([]) == "" and page.joined(["a"]) == "a"
  assert page.joined(["a", "b", "c"]) == "a, b and c"
  assert page.with_interval({"value": 0.5, "low": None, "high": None}) == "0.500"
  assert page.with_interval(None) == "–"


def test_baselines_stand_below_the_sets_without_a_test():
  reports = {
    "privacy": made.privacy(0.6),
    "robustness": made.robustness(0.2),
    "fairness": made.fairness(0.3),
  }
  records = [made.record(reports=reports, seed=seed) for seed in range(2)]
  records += [made.record("baseline", reports, method=name) for name in ("k_means", "herding")]
  for module, place in ((privacy, 0), (robustness, 0), (robustness, 1), (fairness, 0)):
    section = module.build(records, made.CONFIG)
    table = section["tables"][place]
    assert [row[0] for row in table["rows"]] == ["DM", "herding", "k-means"], table["name"]
    names = [column["name"] for column in table["columns"]]
    for column in (i for i, name in enumerate(names) if name == "p, Holm"):
      assert [row[column] is None for row in table["rows"]] == [False, True, True]
    assert (page.BESIDE in table["caption"]) == (table["name"] != "corruptions-table")
    assert "herding" not in section["answer"] and "of 3" not in section["answer"]
