"""Every objective of a search, by being listed."""

import pytest

from orchestrator.config.methods import METHODS, room
from orchestrator.config.objectives import MACRO_F1, Objective, further_text, objectives_text
from orchestrator.methods.selective.config.objectives import OBJECTIVES as OF_SELECTIVE
from orchestrator.methods.selective.run.objective_values import WITHOUT_LABELS

OBJECTIVES: dict[str, Objective] = {
    name: objective
    for method in METHODS
    for table in (room(method, "config").OBJECTIVES, room(method, "config").FURTHER)
    for name, objective in table.items()
}
SOME = Objective(what="something", reads="nothing")

every_objective = pytest.mark.parametrize("name", OBJECTIVES)


def test_what_reads_no_label_is_computed_without_any() -> None:
    reads = {name: objective.reads for name, objective in OF_SELECTIVE.items()}
    assert {name for name in reads if reads[name] == "target signals"} == WITHOUT_LABELS.keys()
    for name in OF_SELECTIVE.keys() - WITHOUT_LABELS.keys():
        assert OF_SELECTIVE[name].measure == MACRO_F1, "which is what all others are"


@every_objective
def test_reference_page_and_command_line_have_words_for_it(name: str) -> None:
    objective = OBJECTIVES[name]
    assert not objective.what.endswith(".")
    assert objective.what in objectives_text([SOME, objective])
    assert objective.what in further_text([objective])
    assert objective.title
    assert objective.measure
    assert objective.caption.endswith(".")
    assert format(0.51234, objective.format)


@every_objective
def test_it_is_an_oracle_where_it_says_so_and_nowhere_else(name: str) -> None:
    assert OBJECTIVES[name].is_oracle == name.startswith("oracle_")


@every_objective
def test_less_is_better_where_the_reference_says_so(name: str) -> None:
    objective = OBJECTIVES[name]
    assert (objective.direction == "minimize") == ("less is better" in objective.what)
