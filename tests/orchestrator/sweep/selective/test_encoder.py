"""What keeps an encoder from being pretrained or used is a named error, not a traceback."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.config.sweep import SelectiveSweep
from orchestrator.errors import DataError
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweep.selective.encoder import encoder_id, ensure_encoder
from orchestrator.sweep.selective.plan import plan_sweep

MakeSweep = Callable[..., SelectiveSweep]
pytestmark = pytest.mark.usefixtures("two_sites")


def test_early_stop_subject_without_a_declared_stage_is_named(
    make_sweep: MakeSweep, store: Store
) -> None:
    plan = plan_sweep(make_sweep(more_search="stages: [W, N3]"), store)
    with pytest.raises(DataError, match=r"pretraining failed: .*stops early on v1-n1") as caught:
        ensure_encoder(store, plan)
    assert caught.value.exit_code == 3
    assert not store.exists(paths.encoder_json(encoder_id(plan)))


def test_id_depends_on_training_epochs_seed_and_settings(
    make_sweep: MakeSweep, store: Store
) -> None:
    plan = plan_sweep(make_sweep(), store)
    changed = replace(plan.train[0], epochs_sha256="0" * 64)
    others = [
        replace(plan, train=(changed, *plan.train[1:])),
        plan_sweep(make_sweep(more_search="seed: 2"), store),
        plan_sweep(make_sweep(more_search="pretrain: {n_passes: 3}"), store),
    ]
    ids = [encoder_id(p) for p in (plan, *others)]
    assert len(set(ids)) == len(ids)
    assert encoder_id(plan_sweep(make_sweep(), store)) == ids[0]
