"""Why particles are left out, in the report."""

from __future__ import annotations

from cryocore.report.reasons import kinds_table, reasons_section

KINDS = {
    "correct": {"correct": 940.0, "misoriented": 50.0, "junk": 10.0},
    "misoriented": {"correct": 10.0, "misoriented": 80.0, "junk": 10.0},
    "junk": {"correct": 5.0, "misoriented": 30.0, "junk": 15.0},
}


def test_kinds_are_told_apart_where_most_of_them_are_of_it() -> None:
    table = kinds_table(KINDS)
    assert [row[-1] for row in table.rows] == ["yes", "yes", "no"]
    assert table.rows[2] == ("no particle", "50", "30 %", "60 % another view", "no")


def test_a_kind_of_which_there_are_few_is_not_told_apart() -> None:
    few = {
        "correct": {"correct": 700.0, "misoriented": 0.0, "junk": 0.0},
        "misoriented": {"correct": 0.0, "misoriented": 290.0, "junk": 0.0},
        "junk": {"correct": 0.0, "misoriented": 2.0, "junk": 8.0},
    }
    assert [row[-1] for row in kinds_table(few).rows] == ["yes", "yes", "no"]


def test_reasons_of_the_recommended_round() -> None:
    chosen = {"round": 2, "n_particles": 1000, "n_kept": 800, "reasons": {"orientation": 150, "quality": 50}}
    section = reasons_section(chosen, {"kinds": KINDS}, "assessed.star")
    assert section.answer.startswith("Round 2 leaves out 200 of 1,000 particles. assessed.star holds all particles")
    assert [row[1:] for row in section.tables[0].rows] == [("150", "15.0 %"), ("50", "5.0 %")]
    assert [row[0] for row in section.tables[0].rows] == ["orientation", "quality"]
    guarded = {**chosen, "reasons": {"orientation": 200, "view_guard": 7}}
    assert "7 are listed for their rare views alone" in reasons_section(guarded, {"kinds": None}, "").answer
    everything = reasons_section({**chosen, "n_kept": 1000, "reasons": {}}, {"kinds": KINDS}, "assessed.star")
    assert "None is left out" in everything.answer and not everything.tables
