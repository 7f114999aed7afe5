"""Who is trained on, stopped on and judged on; and that a selective sweep needs the same encoders."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.methods.pretrain.config import PretrainSweep
from orchestrator.methods.pretrain.plan.pretraining import plan_pretraining
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.methods.selective.plan import plan_sweep
from orchestrator.store.store import Store

AddNight = Callable[..., None]
MakePretrain = Callable[..., PretrainSweep]
MakeSweep = Callable[..., SelectiveSweep]
pytestmark = pytest.mark.usefixtures("two_sites")


def test_roles_are_those_of_a_selective_sweep(
    make_pretrain: MakePretrain, make_sweep: MakeSweep, store: Store
) -> None:
    plan = plan_pretraining(make_pretrain(validation="[v2, v1]"), store)
    assert [r.subject for r in plan.source.train] == ["s1", "s2"]
    assert [r.subject for r in plan.source.early_stop] == ["v1"]
    assert [r.subject for r in plan.source.validation] == ["v2"]
    selective = plan_sweep(make_sweep(), store)
    assert plan.source.train == selective.train
    assert plan.source.validation == selective.objective_recordings


@pytest.mark.heavy
def test_a_selective_sweep_with_the_same_values_needs_the_same_encoder(
    make_pretrain: MakePretrain, make_sweep: MakeSweep, store: Store
) -> None:
    plan = plan_pretraining(make_pretrain(), store)
    params = {"learning_rate": 0.0012345678901234567, "batch_size": 48.0}
    pasted = "pretrain: {n_passes: 2, batch_size: 48, learning_rate: 0.0012345678901234567}"
    wanted = plan_sweep(make_sweep(more_search=pasted), store).encoder_request()
    assert plan.encoder_request(params) == wanted
    assert plan.encoder_request(params).encoder_id == wanted.encoder_id
    assert plan.encoder_request({}).encoder_id != wanted.encoder_id


def test_no_target_is_looked_at(
    make_pretrain: MakePretrain, store: Store, add_night: AddNight
) -> None:
    before = plan_pretraining(make_pretrain(), store).data_id
    add_night("clinic", "t2", [2] * 8)
    assert plan_pretraining(make_pretrain(), store).data_id == before
    add_night("home", "s3", [2] * 8)
    assert plan_pretraining(make_pretrain(), store).data_id != before


def test_the_data_id_knows_the_role_of_each_recording(
    make_pretrain: MakePretrain, store: Store
) -> None:
    plan = plan_pretraining(make_pretrain(), store)
    source = plan.source
    turned = replace(source, early_stop=source.validation, validation=source.early_stop)
    assert replace(plan, source=turned).data_id != plan.data_id


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"source": "hme"}, ["'hme' is not in the store", "did you mean 'home'?"]),
        ({"validation": "[v1]"}, ["gives 1 subject (v1); at least 2"]),
        ({"validation": "[v1, v3]"}, ["'v3'", "v2"]),
        ({"exclude": "[s1, s2]"}, ["No subject is left"]),
    ],
)
def test_what_cannot_be_planned_is_refused(
    changes: dict[str, Any], parts: list[str], make_pretrain: MakePretrain, store: Store
) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_pretraining(make_pretrain(**changes), store)
    assert all(part in str(caught.value) for part in parts), caught.value


@pytest.mark.parametrize(
    ("names", "role"),
    [(("a0", "b1"), "early-stop"), (("a1", "b0"), "objective")],
)
def test_a_role_without_a_scored_epoch_is_refused(
    names: tuple[str, str],
    role: str,
    make_pretrain: MakePretrain,
    store: Store,
    add_night: AddNight,
) -> None:
    for name in names:  # whoever ends in 0 is labelled, but flat wherever there is a stage
        stages, flat = ([2] * 8, []) if name.endswith("1") else ([2, *[-1] * 7], [0])
        add_night("home", name, stages, flat=flat)
    with pytest.raises(ConfigError, match=f"no epoch of the {role} recordings"):
        plan_pretraining(make_pretrain(validation=f"[{', '.join(names)}]"), store)
