from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from orchestrator.methods.sleepmg.review.confusion import matrix_of


def test_counts_are_summed_over_seeds_and_other_trials_left_out(made: Any) -> None:
    entry = made.entry(made.row_row(seed=1), made.row_row(seed=2))
    cells = [
        made.cell("row-naivemg-seed1", "W", "W", 6),
        made.cell("row-naivemg-seed1", "W", "N1", 1),
        made.cell("row-naivemg-seed2", "W", "N1", 1),
        made.cell("row-naivemg-seed2", "N1", "N1", 2),
        made.cell("t000", "W", "W", 100),
    ]
    matrix = matrix_of(entry, cells, ("W", "N1", "N3"))
    assert matrix.counts == ((6, 2, 0), (0, 2, 0), (0, 0, 0))
    assert matrix.share(0, 1) == 0.25
    assert matrix.share(2, 2) is None
    assert matrix.f1(0) == pytest.approx(12 / 14)  # 6 right, 2 missed, none wrongly called W
    assert matrix.f1(1) == pytest.approx(4 / 6)
    assert matrix.f1(2) is None


def test_f1_of_stages_equals_scikit_learn(made: Any) -> None:
    manifest, lab = made.search(n_trials=1)
    sweep = made.sweep(manifest, lab.tables)
    matrix = matrix_of(made.entry(made.trial_row()), sweep.confusion, manifest["declared_stages"])
    counts = np.array(matrix.counts)
    true, predicted = (np.repeat(i.ravel(), counts.ravel()) for i in np.indices(counts.shape))
    assert [matrix.f1(i) for i in range(5)] == pytest.approx(
        f1_score(true, predicted, average=None).tolist()
    )
