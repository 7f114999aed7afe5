"""The table that a terminal shows of a sweep: what stands in it, at which width, and that names stay as they are."""

import dataclasses
import io

import pytest
from rich.console import Console

from orchestrator.sweeps.watch.status import RunningTrial, SweepStatus
from orchestrator.sweeps.watch.status_table import StatusTable

STATUS = SweepStatus(
    name="tau",
    state="running",
    holder="process 7 on node",
    objective="source_val",
    n_trials=8,
    n_complete=3,
    n_reused=1,
    n_stopped=0,
    n_failed=1,
    n_lost=0,
    running=(
        RunningTrial(
            trial="t004",
            params={"alpha_d": 0.25, "learning_rate": 0.00012},
            kept={"n_kept": 30, "n_batches": 40, "mean_emd": 12.3456},
            n_parts_done=1,
            n_parts=3,
            unit="fold",
            running_s=41.9,
        ),
        RunningTrial(
            trial="t005",
            params={"alpha_d": 1.0, "learning_rate": 0.01},
            kept={"n_kept": 0, "n_batches": 40, "mean_emd": None},
            n_parts_done=0,
            n_parts=None,
            unit=None,
            running_s=3725,
        ),
    ),
    n_fixed=2,
    best_trial="t001",
    best_objective=0.71234,
    best_params={"alpha_d": 0.5, "learning_rate": 0.001},
    best_kept={"n_kept": 20, "n_batches": 40, "mean_emd": 10.0},
    last_ended="t003 failed: ValueError: no",
    last_event="trial_started",
    last_event_at="2026-01-01T10:00:00+00:00",
    minutes_run=2.5,
    minutes_left=7.0,
    data_wait=0.0314,
    stopped_because=None,
)


def shown(status: SweepStatus, width: int = 100, title: str | None = None) -> list[str]:
    # As the terminal is given here, whatever TERM, NO_COLOR and COLUMNS say of the one that tests run on.
    console = Console(
        record=True,
        width=width,
        height=40,
        file=io.StringIO(),
        force_terminal=True,
        color_system="standard",
        no_color=False,
    )
    console.print(StatusTable(status, title))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_all_that_is_known_of_a_sweep() -> None:
    assert shown(STATUS) == [
        "sweep tau: running, process 7 on node",
        "━━━━━━━━━━━━╺━━━━━━━━━━━ 4 of 8 done, 3 complete (1 reused), 1 failed",
        "elapsed 2 min 30 s; left about 7 min; data wait: 3.1 % of training; fixed configurations: 2 done",
        "last: t003 failed: ValueError: no",
        "trial      source_val  parameters                           kept      mean EMD  progress",
        "t001 best  0.712       alpha_d 0.5, learning_rate 0.001     20 of 40  10",
        "t004                   alpha_d 0.25, learning_rate 0.00012  30 of 40  12.35     fold 2 of 3, 41 s",
        "t005                   alpha_d 1, learning_rate 0.01        0 of 40             1 h 2 min",
    ]


def test_a_method_that_selects_nothing_has_no_columns_for_it() -> None:
    running = tuple(dataclasses.replace(trial, kept=None) for trial in STATUS.running)
    lines = shown(dataclasses.replace(STATUS, running=running, best_kept=None))
    assert lines[4].split() == ["trial", "source_val", "parameters", "progress"]


def test_a_narrow_terminal_loses_nothing() -> None:
    lines = shown(STATUS, width=60)
    assert max(map(len, lines)) <= 60
    words = " ".join(" ".join(lines).split())
    for part in ("3 complete (1 reused)", "left about 7 min", "fold 2 of 3, 41 s", "t001 best"):
        assert part in words
    # Columns stand side by side, so the words of one of them are apart.
    for word in ("alpha_d", "0.00012;", "batches", "12.35"):
        assert word in words.split()


@pytest.mark.parametrize("width", [1, 10, 30])
def test_a_terminal_without_room_breaks_nothing(width: int) -> None:
    assert shown(STATUS, width)


@pytest.mark.parametrize("name", ["a[bold]b[/bold]", "night [1]", "n[/]", ":warning:"])
def test_names_stand_as_they_are(name: str) -> None:
    named = dataclasses.replace(
        STATUS,
        name=name,
        objective=name,
        best_params={name: 1},
        last_ended=f"t003 failed: {name}",
        stopped_because=name,
    )
    lines = shown(named)
    assert lines[0].startswith(f"sweep {name}: ")
    assert f"last: t003 failed: {name}" in lines
    assert f"because: {name}" in lines
    assert f"{name} 1 " in "\n".join(lines)
    assert name in next(line for line in lines if line.startswith("trial "))


def test_a_title_of_its_own() -> None:
    assert shown(STATUS, title="sweep tau")[0] == "sweep tau"


def test_before_the_search_there_is_no_table() -> None:
    before = dataclasses.replace(
        STATUS,
        n_trials=None,
        running=(),
        best_trial=None,
        minutes_left=None,
        data_wait=None,
        last_ended=None,
    )
    assert shown(before) == [
        "sweep tau: running, process 7 on node",
        "elapsed 2 min 30 s; fixed configurations: 2 done",
    ]
