"""Every objective of a search, by being listed."""

import pytest

from orchestrator.config.objectives import OBJECTIVES, further_text, objectives_text
from orchestrator.methods.pretrain import config as pretrain
from orchestrator.methods.selective.config import search as selective_search
from orchestrator.methods.sleepmg.config import search as sleepmg_search

OFFERED = {
    *selective_search.OFFERED_OBJECTIVES,
    *selective_search.OFFERED_FURTHER,
    *sleepmg_search.OFFERED_FURTHER,
    sleepmg_search.Search.model_fields["objective"].default,
    pretrain.Search.model_fields["objective"].default,
}

every_objective = pytest.mark.parametrize("name", OBJECTIVES)


def test_what_methods_offer_is_what_there_is() -> None:
    assert OBJECTIVES.keys() == OFFERED


@every_objective
def test_reference_page_and_command_line_have_words_for_it(name: str) -> None:
    objective = OBJECTIVES[name]
    assert not objective.what.endswith(".")
    assert objective.what in objectives_text(["source_val", name])
    assert objective.what in further_text([name])
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
