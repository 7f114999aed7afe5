"""The network of a fold stages the recordings of its test subjects, one by one, as it did in the cross-validation."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray

from orchestrator.methods.sleepmg.config.sweep import SleepMGSweep
from orchestrator.methods.sleepmg.plan import plan_cross_validation
from orchestrator.models.record import WeightsFile
from orchestrator.predict.many import stage_stored
from orchestrator.predict.model import LoadedModel, load_model
from orchestrator.store import paths
from orchestrator.store.store import Store
from tests.orchestrator.sweeps.in_process import run_here
from trainables.stages import STAGE_NAMES

pytestmark = pytest.mark.heavy

SEARCH = """\
keep_models: all
search:
  n_trials: 1
  max_concurrent: 1
  space:
    alpha_y: {uniform: [0, 1]}
"""


# Subjects who have an EOG: where it is one alone, the fold that tests this one has learned nothing of it.
@pytest.mark.parametrize("with_eog", ["abcdef", "acdef", "a"])
def test_stored_recordings_are_staged_bit_for_bit_as_in_their_fold(
    with_eog: str,
    store: Store,
    add_subject: Callable[..., None],
    make_sweep: Callable[..., SleepMGSweep],
) -> None:
    stages = {"a": [0, 1, 2, -1, 3, 4] * 12, "c": [4, 3, -1, 2, 1, 0]}
    for subject in "abcdef":
        channels = {} if subject in with_eog else {"channels": {"eeg": 2}}
        add_subject(subject, stages=stages.get(subject), optional=["eog"], **channels)
    sweep = make_sweep(folds="{kind: k_fold, n_folds: 3}", more=SEARCH)
    run_here(store, sweep)
    recordings = plan_cross_validation(sweep, store).recordings
    for trial in ("row-naivemg-seed1", "t000"):
        model = load_model(store, f"probe:{trial}")
        assert [entry.fold for entry in model.record.files] == [0, 1, 2]
        for entry in model.record.files:
            said = of_test_subjects(store, trial, entry.fold)
            subjects = set()
            for position in np.unique(said["recording"].to_numpy()):
                of_recording = said.filter(pc.equal(said["recording"], int(position)))
                night = stage_stored(store, recordings[position], alone(model, entry)).night
                found = night.probability[of_recording["epoch_index"].to_numpy()]
                np.testing.assert_array_equal(found, probabilities(of_recording))
                assert night.is_staged.all()
                subjects.add(recordings[position].subject)
            assert sorted(subjects) == model.record.about["folds"][entry.fold]["test"]


def alone(model: LoadedModel, entry: WeightsFile) -> LoadedModel:
    """Return the network of one fold as a model of its own."""
    return LoadedModel(
        record=replace(model.record, files=(entry,)), files={entry.file: model.files[entry.file]}
    )


def of_test_subjects(store: Store, trial: str, fold: int | None) -> pa.Table:
    """Return what a trial said of the test subjects of a fold."""
    rows = store.read_table(paths.sweep_trials("probe")).to_pylist()
    (signature,) = (row["signature"] for row in rows if row["trial"] == trial)
    table = store.read_table(paths.predictions("probe", signature))
    is_test = pc.equal(pc.cast(table["role"], pa.string()), "test")
    return table.filter(pc.and_(is_test, pc.equal(table["fold"], fold)))


def probabilities(predictions: pa.Table) -> NDArray[np.float32]:
    return np.stack([predictions[f"p_{name}"].to_numpy() for name in STAGE_NAMES], axis=1)
