from typing import Any

import pytest

from orchestrator.methods.sleepmg.review.recordings import by_recording


def test_mean_spread_and_worst_recording_after_averaging_seeds(made: Any) -> None:
    entry = made.entry(made.row_row(seed=1), made.row_row(seed=2))
    found = by_recording(
        entry,
        [
            made.recording("row-naivemg-seed1", "s1", macro_f1=0.1, kappa=0.2),
            made.recording("row-naivemg-seed2", "s1", macro_f1=0.7, kappa=0.4),
            made.recording("row-naivemg-seed1", "s2", macro_f1=0.3, kappa=None),
            made.recording("row-naivemg-seed2", "s2", macro_f1=0.3, kappa=None),
            made.recording("t000", "s3", macro_f1=0.0),
        ],
    )
    assert found.n_recordings == 2
    assert found.macro_f1.mean == pytest.approx(0.35)  # 0.4 and 0.3
    assert found.macro_f1.sd == pytest.approx(0.0707107)
    assert found.kappa.mean == pytest.approx(0.3)
    assert found.kappa.sd is None
    assert found.worst == "s2n1"
    assert found.worst_macro_f1 == pytest.approx(0.3)


def test_no_recording(made: Any) -> None:
    found = by_recording(made.entry(made.trial_row()), ())
    assert (found.n_recordings, found.macro_f1.mean, found.worst) == (0, None, None)
