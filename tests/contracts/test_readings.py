"""Every reading of tau, by being listed."""

from pathlib import Path

import numpy as np
import pytest

from orchestrator.alignment.readings import READINGS, selected
from orchestrator.config.ranges import written
from orchestrator.config.sweep import load_sweep
from orchestrator.config.yaml_source import dump_yaml
from orchestrator.errors import ConfigError
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.methods.selective.results import TrialRow
from orchestrator.tables.rows import schema_of
from search_spaces.selective import PARAMETERS, TAU_READINGS
from search_spaces.space import Choice, Integer
from tests.orchestrator.config.sweep_files import SELECTIVE

REWARDS = np.random.default_rng(0).permutation(np.linspace(0.1, 9, 40))
OF_THE_FILE = "    tau_quantile: {uniform: [0.25, 0.75]}\n"

every_reading = pytest.mark.parametrize("name", READINGS)


def load(tmp_path: Path, space: str) -> SelectiveSweep:
    path = tmp_path / "probe.yaml"
    path.write_text(SELECTIVE.replace(OF_THE_FILE, space), encoding="utf-8")
    sweep = load_sweep(path)
    assert isinstance(sweep, SelectiveSweep)
    return sweep


def test_what_is_declared_is_what_there_is() -> None:
    assert tuple(READINGS) == TAU_READINGS


@every_reading
def test_a_sweep_file_can_vary_it(name: str, tmp_path: Path) -> None:
    declared = PARAMETERS[name].declared
    text = dump_yaml({name: {kind: list(ends) for kind, ends in written(declared).items()}})
    space = load(tmp_path, "".join(f"    {line}\n" for line in text.splitlines())).search.space
    assert space.tau_reading == name
    assert space.declared()[name] == declared


@every_reading
def test_a_slip_in_its_name_is_answered_with_the_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"Did you mean '{name}'"):
        load(tmp_path, f"    {name}s: {{uniform: [0.25, 0.75]}}\n")


@every_reading
def test_it_keeps_the_highest_rewards_and_says_where_it_cut(name: str) -> None:
    declared = PARAMETERS[name].declared
    assert not isinstance(declared, Choice)
    values = np.geomspace(max(declared.low, 0.05), min(declared.high, 40), 9)
    for value in map(int, values) if isinstance(declared, Integer) else values:
        found = selected(REWARDS, {name: float(value), "learning_rate": 1e-3})
        assert found.kept.tolist() == np.flatnonzero(found.tau_absolute < REWARDS).tolist()
        assert found.n_kept == len(found.kept)
        assert found.tau_quantile == pytest.approx(1 - found.n_kept / len(REWARDS), abs=1 / 40)


@every_reading
def test_an_earlier_sweeps_value_can_be_read_from_its_table(name: str) -> None:
    assert READINGS[name].column in schema_of(TrialRow).names
