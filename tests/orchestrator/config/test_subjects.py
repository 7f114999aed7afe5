"""Globs over subjects."""

import pytest

from orchestrator.config.subjects import resolve_subjects
from orchestrator.errors import ConfigError


def test_resolve_subjects_sorts_and_counts_each_once() -> None:
    there = ["b2", "a1", "b1", "B3"]
    assert resolve_subjects(["b*", "b1", "a?"], ["b2"], there) == ["a1", "b1"]
    assert resolve_subjects(["[aB]*"], [], iter(there)) == ["B3", "a1"]


@pytest.mark.parametrize(
    ("patterns", "exclude", "message"),
    [
        (["ucddb18"], [], "No subject matches 'ucddb18'. Did you mean 'ucddb018'? Available: ucddb002, ucddb018."),
        (["*"], ["ucddb081"], "No subject matches 'ucddb081'. Did you mean"),
        (["*"], ["ucddb*"], "No subject is left of * after excluding ucddb*. Available: ucddb002, ucddb018."),
        (["UCDDB*"], [], "No subject matches 'UCDDB*'."),
    ],
)  # fmt: skip
def test_a_glob_that_finds_nothing_is_an_error(
    patterns: list[str], exclude: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_subjects(patterns, exclude, ["ucddb018", "ucddb002"])
    assert str(caught.value).startswith(message)


def test_unlabelled_subjects_are_left_out_and_named_where_they_are_all_that_matches() -> None:
    labelled, everybody = ["a1", "a2"], ["a1", "a2", "b1", "b2"]
    assert resolve_subjects(["*"], ["b1"], labelled, everybody) == labelled
    with pytest.raises(ConfigError, match=r"'b\*' matches unlabelled subjects alone \(b1, b2\)"):
        resolve_subjects(["b*"], [], labelled, everybody)


def test_a_long_list_of_subjects_is_cut() -> None:
    with pytest.raises(ConfigError, match="s029, and 970 more"):
        resolve_subjects(["zz"], [], [f"s{n:03d}" for n in range(1000)])
    with pytest.raises(ConfigError, match="Available: none"):
        resolve_subjects(["*"], [], [])
