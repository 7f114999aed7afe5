"""Sleep statistics against YASA's numbers, agreement against scikit-learn, and nights without sleep by hand."""

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as oracle

from orchestrator.predict.statistics import (
    SleepStatistics,
    agreement,
    bouts,
    sleep_statistics,
)
from orchestrator.psg.synthetic_hypnogram import draw_stages
from trainables.errors import EpochsError
from trainables.stages import STAGE_NAMES, UNSCORED, Stage

HERE = Path(__file__).parent
YASA: dict[str, Any] = json.loads((HERE / "yasa_statistics.json").read_text(encoding="utf-8"))
NAMES = {
    "TIB": "tib_min",
    "SPT": "spt_min",
    "WASO": "waso_min",
    "TST": "tst_min",
    "SE": "sleep_efficiency_percent",
    "SME": "sleep_maintenance_percent",
    "SFI": "fragmentation_per_h",
    "SOL": "sol_min",
    "SOL_5min": "sol_persistent_min",
    "Lat_REM": "rem_latency_min",
    "UNS": "unstaged_min",
}
CODES = {**{name: i for i, name in enumerate(STAGE_NAMES)}, "UNS": UNSCORED}


def stages_of(text: str) -> np.ndarray[Any, np.dtype[np.int8]]:
    """``"2W 1REM"`` -> 0, 0, 4."""
    counted = re.findall(r"(\d+)([A-Z]+\d?)", text)
    return np.array([CODES[name] for n, name in counted for _ in range(int(n))], np.int8)


def ours_in_yasas_names(found: SleepStatistics) -> dict[str, float | None]:
    names = {stage: "WAKE" if stage == Stage.W else stage.name for stage in Stage}
    return {
        **{theirs: getattr(found, mine) for theirs, mine in NAMES.items()},
        **{names[stage]: minutes for stage, minutes in found.stage_min.items()},
        **{f"%{names[stage]}": percent for stage, percent in found.stage_percent.items()},
    }


@pytest.mark.parametrize("name", YASA["hypnograms"])
def test_statistics_equal_those_of_yasa(name: str) -> None:
    expected = YASA["hypnograms"][name]["statistics"]
    found = ours_in_yasas_names(sleep_statistics(stages_of(YASA["hypnograms"][name]["stages"])))
    if "UNS" not in expected:  # which YASA leaves out where it is 0
        assert found.pop("UNS") == 0
    assert found == pytest.approx(expected, abs=5.1e-5)  # YASA rounds to four digits


@pytest.mark.parametrize("name", YASA["hypnograms"])
def test_transitions_equal_those_of_yasa(name: str) -> None:
    expected = YASA["hypnograms"][name]["transitions"]
    found = sleep_statistics(stages_of(YASA["hypnograms"][name]["stages"]))
    for first in Stage:
        for second in Stage:
            one, other = ("WAKE" if s == Stage.W else s.name for s in (first, second))
            # A stage that does not occur is no row of YASA's.
            assert found.transitions[first, second] == expected.get(one, {}).get(other, 0)


def test_the_cases_from_yasa_differ_in_what_they_are_for() -> None:
    statistics = [case["statistics"] for case in YASA["hypnograms"].values()]
    assert [case["Lat_REM"] is None for case in statistics] == [False, True, False]
    assert ["UNS" in case for case in statistics] == [False, True, False]
    assert [case["SOL"] == case["SOL_5min"] for case in statistics] == [True, False, False]


@pytest.mark.heavy
@pytest.mark.skipif(importlib.util.find_spec("yasa") is None, reason="needs the extra 'parity'")
def test_the_stored_numbers_are_what_yasa_says_now() -> None:
    script = HERE / "yasa_statistics.py"
    said = subprocess.run([sys.executable, script], capture_output=True, check=True, timeout=120)
    assert json.loads(said.stdout)["hypnograms"] == YASA["hypnograms"]


def test_rem_latency_of_the_aasm_manual_begins_with_sleep() -> None:
    found = sleep_statistics(stages_of("10W 4N1 20N2 6REM"))
    assert (found.rem_latency_min, found.rem_latency_from_onset_min) == (17.0, 12.0)


def test_changes_over_a_gap_are_no_transitions() -> None:
    found = sleep_statistics(np.array([0, 1, -1, 2, 2, 0], np.int8))
    assert found.n_transitions == 2
    assert found.transitions.sum() == 3


def test_without_sleep_nothing_is_made_up() -> None:
    found = sleep_statistics(np.array([0, 0, -1, 0], np.int8))
    assert (found.tib_min, found.spt_min, found.tst_min) == (2.0, 0.0, 0.0)
    assert found.sleep_efficiency_percent == 0
    undefined = {f.name for f in fields(found) if getattr(found, f.name) is None}
    assert undefined == {
        "waso_min",
        "sleep_maintenance_percent",
        "fragmentation_per_h",
        "sol_min",
        "sol_persistent_min",
        "rem_latency_min",
        "rem_latency_from_onset_min",
    }
    assert set(found.stage_percent.values()) == {None}


def test_five_minutes_of_sleep_are_persistent_and_less_is_not() -> None:
    assert sleep_statistics(stages_of("1W 9N2 1W 10N1")).sol_persistent_min == 5.5
    assert sleep_statistics(stages_of("1W 9N2 1UNS 9N1")).sol_persistent_min is None


def test_agreement_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    reference = draw_stages(rng, 300)
    reference[reference == Stage.N1] = Stage.N2  # a stage that only the model uses
    said = np.where(rng.random(300) < 0.3, rng.integers(0, 3, 300), reference).astype(np.int8)
    reference[:20], said[10:40] = UNSCORED, UNSCORED
    found = agreement(reference, said)
    assert found is not None
    true, predicted = reference[40:], said[40:]
    assert found.n_epochs == 260
    assert found.accuracy == pytest.approx(oracle.accuracy_score(true, predicted))
    assert found.macro_f1 == pytest.approx(oracle.f1_score(true, predicted, average="macro"))
    assert found.kappa == pytest.approx(oracle.cohen_kappa_score(true, predicted))
    assert (found.confusion == oracle.confusion_matrix(true, predicted, labels=range(5))).all()


def test_a_stage_that_neither_uses_does_not_lower_the_macro_f1() -> None:
    stages = np.array([0, 2, 2], np.int8)
    found = agreement(stages, stages)
    assert found is not None
    assert found.macro_f1 == 1


def test_nothing_in_common_is_no_agreement() -> None:
    assert agreement(np.array([-1, 0]), np.array([0, -1])) is None


def test_hypnograms_of_other_lengths_are_refused() -> None:
    with pytest.raises(EpochsError, match=r"reference has 2 epochs .* 3"):
        agreement(np.zeros(2, np.int8), np.zeros(3, np.int8))


@pytest.mark.parametrize(
    "stages", [np.zeros(0, np.int8), np.zeros(3), np.zeros((2, 2), np.int8), np.array([0, 5])]
)
def test_what_is_no_hypnogram_is_refused(stages: np.ndarray[Any, Any]) -> None:
    with pytest.raises(EpochsError, match="allowed"):
        sleep_statistics(stages)


def test_bouts_of_nothing_are_none() -> None:
    assert list(bouts(np.zeros(0))) == []
