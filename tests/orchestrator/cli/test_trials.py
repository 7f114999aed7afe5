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
        "n_kept": 1,
        "n_selectable": 2,
        "n_steps": 3,
        **dict.fromkeys(numbers, 0.5),
    }


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
    sweep: Any = SimpleNamespace(method="selective")
    print_trials(sweep, table)
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert shown == ["t003", "t002", "t001", "t000", "arm-random"]
