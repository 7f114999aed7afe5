"""Keys that a sweep file leaves out mean what its number of defaults says."""

from pathlib import Path

import pytest

from orchestrator.config import defaults
from orchestrator.config.defaults import Change, as_meant, newest
from orchestrator.config.sweep import dump, load_sweep
from orchestrator.errors import ConfigError
from orchestrator.methods.selective.config.sweep import SelectiveSweep

BARE = """\
name: probe
method: selective
source: {dataset: home, validation: [s1, s2]}
target: {dataset: clinic}
search: {n_trials: 12, n_steps: 30}
"""

CHANGES = (
    Change(number=1, method="selective", key=("score", "aggregate"), before="min"),
    Change(number=1, method="sleepmg", key=("seed",), before=9),
    Change(number=2, method="selective", key=("seed",), before=3),
    Change(number=3, method="selective", key=("seed",), before=4),
    Change(number=3, method="selective", key=("search", "replicates"), before=5),
)


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "CHANGES", CHANGES)


def read(folder: Path, text: str, unnumbered: int | None = None) -> SelectiveSweep:
    file = folder / "probe.yaml"
    file.write_text(text, encoding="utf-8")
    sweep = load_sweep(file, unnumbered=unnumbered)
    assert isinstance(sweep, SelectiveSweep)
    return sweep


def meanings(sweep: SelectiveSweep) -> tuple[str, int, int]:
    return sweep.score.aggregate, sweep.seed, sweep.search.replicates


@pytest.mark.parametrize(
    ("number", "meant"),
    [
        (0, ("min", 3, 5)),  # of two changes of the seed, the first says what 0 meant
        (1, ("mean", 3, 5)),
        (2, ("mean", 4, 5)),
        (3, ("mean", 1, 1)),
    ],
)
@pytest.mark.usefixtures("changed")
def test_a_missing_key_means_what_the_number_says(
    tmp_path: Path, number: int, meant: tuple[str, int, int]
) -> None:
    assert meanings(read(tmp_path, BARE, number)) == meant
    assert meanings(read(tmp_path, f"{BARE}defaults: {number}\n")) == meant


@pytest.mark.usefixtures("changed")
def test_without_a_number_they_are_those_of_today(tmp_path: Path) -> None:
    sweep = read(tmp_path, BARE)
    assert (sweep.defaults, meanings(sweep)) == (3, ("mean", 1, 1))


@pytest.mark.usefixtures("changed")
def test_a_key_that_is_given_stays(tmp_path: Path) -> None:
    sweep = read(tmp_path, f"{BARE}seed: 8\nscore: {{layer: afr_flat}}\n", 0)
    assert meanings(sweep) == ("min", 8, 5)
    assert sweep.score.layer == "afr_flat"


@pytest.mark.usefixtures("changed")
def test_what_is_written_keeps_its_number(tmp_path: Path) -> None:
    sweep = read(tmp_path, BARE, 1)
    assert "defaults: 1\n" in dump(sweep)
    assert read(tmp_path, dump(sweep)) == sweep


@pytest.mark.parametrize("number", [-1, newest() + 1])
def test_defaults_that_nobody_here_knows_are_refused(tmp_path: Path, number: int) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"{BARE}defaults: {number}\n")
    assert str(caught.value) == (
        f"{tmp_path / 'probe.yaml'}:6:11: defaults is {number}: unknown: this version knows the defaults 0 to "
        f"{newest()}. Use the version of the program that wrote it, or a later one."
    )


@pytest.mark.usefixtures("changed")
@pytest.mark.parametrize(
    "data", [{"method": "selective", "score": None}, {"method": ["selective"]}, {}]
)
def test_mistakes_are_left_to_the_model(data: dict[str, object]) -> None:
    assert as_meant(data, 0).get("score") is None


def test_the_numbers_of_the_table_rise_one_by_one() -> None:
    numbers = [change.number for change in defaults.CHANGES]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, newest() + 1))


def test_a_section_that_may_be_absent_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    change = Change(
        number=1,
        method="sleepmg",
        key=("search", "max_concurrent"),
        before=4,
        in_optional_section=True,
    )
    monkeypatch.setattr(defaults, "CHANGES", (change,))
    assert as_meant({"method": "sleepmg"}, 0) == {"method": "sleepmg"}
    meant = {"method": "sleepmg", "search": {"max_concurrent": 4}}
    assert as_meant({"method": "sleepmg", "search": {}}, 0) == meant
