"""The final table as text."""

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from orchestrator.cli.trials import print_trials


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
    given = {"also": (), "replicates": 1, **search}
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
