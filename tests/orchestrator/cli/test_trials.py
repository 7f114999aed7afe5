"""The final table of a sweep as text."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from orchestrator.cli.trials import print_trials
from orchestrator.config.sweep import load_sweep
from orchestrator.methods.selective.config.objectives import FURTHER
from orchestrator.methods.sleepmg.results import TrialRow
from orchestrator.tables.rows import schema_of


def row(trial: str, objective: float | None, kind: str = "trial") -> dict[str, Any]:
    numbers = ("tau_quantile", "tau_absolute", "learning_rate", "target_macro_f1")
    return {
        "trial": trial,
        "kind": kind,
        "objective": objective,
        "state": "complete" if objective is not None else "failed",
        "reused_from": None,
        "on_front": None,
        "stopped_after": None,
        "n_kept": 1,
        "n_selectable": 2,
        "n_steps": 3,
        **dict.fromkeys(numbers, 0.5),
    }


def sweep(**search: Any) -> Any:
    space = SimpleNamespace(declared=dict)
    given = {"also": (), "replicates": 1, "space": space, "further": FURTHER, **search}
    return SimpleNamespace(method="selective", search=SimpleNamespace(**given))


def test_the_best_comes_first_below_zero_too(capsys: pytest.CaptureFixture[str]) -> None:
    table = pa.Table.from_pylist(
        [
            row("arm-random", 2.0, "arm"),
            row("t000", None),
            row("t001", -7.0),
            row("t002", -2.0),
            row("t003", 0.0),
        ]
    )
    print_trials(sweep(), table)
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert shown == ["t003", "t002", "t001", "t000", "arm-random"]


def test_a_column_that_the_table_of_an_earlier_version_lacks_is_a_dash(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = pa.Table.from_pylist([row("t000", 0.5)]).drop_columns(["target_macro_f1"])
    print_trials(sweep(), table)
    titles, values = capsys.readouterr().out.splitlines()
    assert titles.endswith("target F1")
    assert values.split()[-2:] == ["0.500", "-"]


def test_seeds_further_objectives_and_ends_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    more = {"objective_low": 0.4, "objective_high": 0.6, "cost": 12800.0, "transfer_margin": -0.05}
    ended = dict.fromkeys(more) | {"state": "stopped", "stopped_after": 3}
    table = pa.Table.from_pylist(
        [
            row("t000", 0.5) | more | {"on_front": True},
            row("t001", 0.4) | more | {"on_front": False, "reused_from": "t000"},
            row("t002", None) | ended,
        ]
    )
    print_trials(sweep(also=("cost", "transfer_margin"), replicates=3), table)
    titles, best, reused, stopped = capsys.readouterr().out.splitlines()
    for title in ("low", "high", "cost", "transfer margin"):
        assert title in titles
    assert "0.400     0.600  1.28e+04           -0.050" in best
    assert best.endswith("  on the front")
    assert reused.endswith("  as t000")
    assert stopped.endswith("  ended after report 3")


SWEEP = """\
name: probe
method: sleepmg
dataset: home
search:
  n_trials: 2
  space: {alpha_y: {uniform: [0, 1]}%s}
"""
VALUES = {
    **{"state": "complete", "kind": "trial", "alpha_f": 0.2, "alpha_d": 0.2, "grl_weight": 0.01},
    **{"learning_rate": 1e-3, "n_folds": 3, "n_steps": 30, "objective": 0.5},
}


@pytest.mark.parametrize("searched", ["", ", ratio: {choice: [mean_pairwise, mean_others]}"])
def test_a_choice_has_a_column_where_it_is_searched(
    searched: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "probe.yaml"
    path.write_text(SWEEP % searched, encoding="utf-8")
    rows: list[dict[str, Any]] = [
        {**VALUES, "trial": "t000", "alpha_y": 0.125, "ratio": "mean_pairwise"},
        {
            **VALUES,
            "trial": "t001",
            "alpha_y": 0.125,
            "ratio": "mean_others",
            "reused_from": "t000",
        },
    ]
    print_trials(load_sweep(path), pa.Table.from_pylist(rows, schema=schema_of(TrialRow)))
    titles, first, second = capsys.readouterr().out.splitlines()
    assert ("ratio" in titles) == ("mean_pairwise" in first) == bool(searched)
    assert second.endswith("  as t000")
    end = titles.index("kappa") + len("kappa")  # columns are flush right
    assert len(first) == end
    if searched:
        assert titles.index("ratio") + len("ratio") == first.index("mean_pairwise") + 13
        assert "0.125" in first.split("mean_pairwise")[0]
