"""The step against independent writings of it: NaiveMG by hand, one scaled slice, a modality that is not there."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.balanced_step import RECORD, BalancedStep
from trainables.epochs import MultimodalBatch, MultimodalEpochs
from trainables.errors import DivergedError
from trainables.fold import Fold, batch_of, build_model
from trainables.settings import (
    AdversarySettings,
    FoldSettings,
    ModulationSettings,
    NetworkSettings,
    SleepMGSettings,
)
from trainables.stages import Stage

MakeEpochs = Callable[..., MultimodalEpochs]

OFF = ModulationSettings(mod_y=False, mod_d=False)
WEIGHTS = torch.tensor([1.0, 1.2, 1.0, 1.0, 1.25])
N_STEPS = 3


def settings(
    modulation: ModulationSettings = OFF, *, grl_weight: float = 0.1, **training: Any
) -> SleepMGSettings:
    return SleepMGSettings(
        adversary=AdversarySettings(grl_weight=grl_weight),
        modulation=modulation,
        training=FoldSettings(**training),
    )


def batches(epochs: MultimodalEpochs, n: int = N_STEPS) -> list[MultimodalBatch]:
    rows = np.arange(len(epochs.stages))
    fold = Fold.of(epochs, rows[epochs.subject > 0], rows[epochs.subject == 0], tuple(Stage))
    return [batch_of(epochs, fold, np.arange(i, len(fold.train), n)) for i in range(n)]


def new_step(
    epochs: MultimodalEpochs, wanted: SleepMGSettings, n_domains: int = 3, **options: Any
) -> BalancedStep:
    torch.manual_seed(0)
    model = build_model(epochs, wanted, n_domains)
    rate = wanted.training.learning_rate
    make = torch.optim.Adam if wanted.training.optimizer == "adam" else torch.optim.SGD
    return BalancedStep(
        model,
        make(model.parameters(), lr=rate),
        wanted,
        class_weights=WEIGHTS,
        n_steps_planned=10,
        **options,
    )


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def run(step: BalancedStep, taken: list[MultimodalBatch]) -> list[float]:
    torch.manual_seed(1)
    step.model.train()
    return [step(batch) for batch in taken]


@pytest.mark.heavy
def test_all_modulation_off_is_naive_mg_to_the_last_bit(make_epochs: MakeEpochs) -> None:
    epochs = make_epochs()
    step = new_step(epochs, settings())
    losses = run(step, batches(epochs))

    torch.manual_seed(0)
    model = build_model(epochs, settings(), 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    model.train()
    torch.manual_seed(1)
    expected = []
    for batch in batches(epochs):  # DANN and MSTGCN: the two losses added, clipped by value
        optimizer.zero_grad()
        output = model(batch.signals, 0.1)
        loss = functional.cross_entropy(output.logits, batch.stages, weight=WEIGHTS)
        loss = loss + functional.cross_entropy(output.domain_logits, batch.domains)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_value_(model.parameters(), 1.0)
        optimizer.step()
        expected.append(loss.item())
    assert losses == pytest.approx(expected, rel=1e-6)
    for name, value in model.state_dict().items():
        # The same sums, but for the order in which the loss divides by the weights.
        torch.testing.assert_close(step.model.state_dict()[name], value, rtol=0, atol=1e-7)


@pytest.mark.heavy
def test_switches_with_alpha_zero_change_no_bit(make_epochs: MakeEpochs) -> None:
    epochs = make_epochs()
    found = []
    for modulation in (
        OFF,
        ModulationSettings(mod_f=True, alpha_f=0.0, alpha_y=0.0, alpha_d=0.0),
        replace(OFF, score_memory=0.9),
    ):
        step = new_step(epochs, settings(modulation))
        run(step, batches(epochs))
        found.append(state(step.model))
    for other in found[1:]:
        assert all(torch.equal(found[0][name], other[name]) for name in found[0])


@pytest.mark.heavy
def test_lambda_zero_leaves_extractor_gradients_as_without_discriminator(
    make_epochs: MakeEpochs,
) -> None:
    epochs = make_epochs()
    (batch,) = batches(epochs, 1)
    gradients = []
    for adversary in (AdversarySettings(grl_weight=0.0), AdversarySettings(enabled=False)):
        wanted = SleepMGSettings(adversary=adversary, modulation=OFF)
        step = new_step(epochs, wanted)
        seen: dict[str, Tensor] = {}
        for name, parameter in step.model.extractors.named_parameters():
            parameter.register_hook(  # type: ignore[no-untyped-call]
                lambda g, name=name, seen=seen: seen.setdefault(name, g.clone())
            )
        run(step, [batch])
        gradients.append(seen)
    assert gradients[0]
    for name, gradient in gradients[1].items():
        assert torch.equal(gradients[0][name], gradient), name


@pytest.mark.heavy
@pytest.mark.parametrize("apply_to", ["gradient", "update"])
@pytest.mark.parametrize("part", ["mod_f", "mod_y", "mod_d"])
def test_one_slice_moves_k_times_as_far_and_nothing_else_changes(
    make_epochs: MakeEpochs, part: str, apply_to: str
) -> None:
    # With plain SGD and no clipping, a gradient times k is an update times k.
    epochs = make_epochs(noise={"eeg": 0.1, "eog": 2.0, "emg": 5.0})
    plain: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.01, "clip_value": 1e9}
    switched: dict[str, Any] = {"apply_to": apply_to, part: True}
    (batch,) = batches(epochs, 1)
    moved = {}
    for name, modulation in (
        ("off", OFF),
        (
            "on",
            replace(OFF, alpha_f=0.7, alpha_y=0.5, alpha_d=0.3, **switched),
        ),
    ):
        records: list[Tensor] = []
        step = new_step(
            epochs,
            settings(modulation, **plain),
            trace=lambda _, record, records=records: records.append(record),
        )
        before = state(step.model)
        run(step, [batch])
        moved[name] = {key: value - before[key] for key, value in state(step.model).items()}
    (record,) = records
    head = part[-1]
    rho = record[RECORD.index("rho_d" if part == "mod_d" else "rho_y")]
    alpha = {"mod_f": 0.7, "mod_y": 0.5, "mod_d": 0.3}[part]
    expected = torch.where(rho > 1, 1 - torch.tanh(alpha * rho), 1.0)
    torch.testing.assert_close(record[RECORD.index(f"k_{head}")], expected)
    others = [RECORD.index(f"k_{other}") for other in "ydf" if other != head]
    assert record[others].isnan().all()
    assert (expected < 1).any()
    assert (expected == 1).any()
    widths = [step.model.extractor(group).width for group in step.model.groups]
    for key, change in moved["off"].items():
        if not change.is_floating_point():
            continue
        if (
            part == "mod_f"
            and key.startswith("extractors.")
            and "running" not in key
            and "num_" not in key
        ):
            factor = expected[step.model.groups.index(key.split(".")[1])].float() * torch.ones(())
        elif (
            change.ndim == 2
            and change.shape[1] == sum(widths)
            and (
                (part == "mod_y" and key.startswith("classifier"))
                or (part == "mod_d" and key.startswith("discriminator"))
            )
        ):
            factor = torch.repeat_interleave(expected.float(), torch.tensor(widths))
        else:
            factor = torch.ones(())
        torch.testing.assert_close(moved["on"][key], factor * change, rtol=1e-4, atol=1e-7)


@pytest.mark.heavy
def test_adam_undoes_scaled_gradients_but_not_scaled_updates(make_epochs: MakeEpochs) -> None:
    epochs = make_epochs(noise={"eeg": 0.1, "eog": 2.0, "emg": 5.0})
    (batch,) = batches(epochs, 1)
    steps = {}
    for name, modulation in (
        ("off", OFF),
        ("gradient", ModulationSettings(mod_d=False, alpha_y=0.5, apply_to="gradient")),
        ("update", ModulationSettings(mod_d=False, alpha_y=0.5, apply_to="update")),
    ):
        step = new_step(epochs, settings(modulation, learning_rate=1e-3))
        (parameter, _) = step.model.classifier.blocks()[0][0].parameter, None
        before = parameter.detach().clone()
        run(step, [batch])
        steps[name] = (parameter.detach() - before).abs().mean().item()
    assert steps["gradient"] == pytest.approx(steps["off"], rel=0.01)
    assert steps["update"] < 0.9 * steps["off"]


@pytest.mark.heavy
def test_a_missing_modality_has_no_influence_and_is_left_out_of_the_balance(
    make_epochs: MakeEpochs,
) -> None:
    made = make_epochs()
    present = np.ones((len(made.stages), 3), bool)
    present[made.subject == 2, 1] = False  # one subject without EOG
    rng = np.random.default_rng(1)
    found = []
    for filler in (0.0, rng.standard_normal()):
        x = dict(made.x)
        x["eog"] = np.where(present[:, 1, None, None], x["eog"], np.float32(filler))
        step = new_step(replace(made, x=x, present=present), settings(ModulationSettings()))
        run(step, batches(replace(made, x=x, present=present)))
        found.append(state(step.model))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])

    nobody = present.copy()
    nobody[:, 1] = False
    epochs = replace(made, present=nobody)
    records: list[Tensor] = []
    step = new_step(
        epochs, settings(ModulationSettings()), trace=lambda _, record: records.append(record)
    )
    eog = state(step.model.extractor("eog"))
    run(step, batches(epochs))
    for record in records:
        assert record[RECORD.index("score_y"), 1].isnan()
        assert record[RECORD.index("k_y"), 1] == 1
        # Of two modalities, OGM-GE's pair: each ratio is the inverse of the other.
        rho = record[RECORD.index("rho_y")]
        assert rho[0] * rho[2] == pytest.approx(1, rel=1e-3)
    assert all(
        torch.equal(eog[name], value) for name, value in state(step.model.extractor("eog")).items()
    )


@pytest.mark.heavy
def test_the_grl_weight_follows_its_schedule(make_epochs: MakeEpochs) -> None:
    epochs = make_epochs()
    wanted = replace(settings(), adversary=AdversarySettings(grl_weight=0.1, schedule="dann"))
    step = new_step(epochs, wanted)
    seen = []
    for batch in batches(epochs):
        seen.append(step.grl_weight)
        run(step, [batch])
    # 2 / (1 + exp(-10 p)) - 1 at p = 0, 0.1, 0.2 (Ganin et al.: 0.462 at 0.1), times the cap.
    assert seen == pytest.approx([0, 0.0462117, 0.0761594], abs=1e-6)
    assert new_step(epochs, settings(grl_weight=0.3)).grl_weight == 0.3


@pytest.mark.heavy
def test_scores_are_averaged_over_steps(make_epochs: MakeEpochs) -> None:
    epochs = make_epochs()
    traces: dict[float, list[Tensor]] = {}
    for memory in (0.0, 0.9):
        seen = traces.setdefault(memory, [])
        modulation = replace(OFF, score_memory=memory)
        step = new_step(
            epochs, settings(modulation), trace=lambda _, r, seen=seen: seen.append(r[0])
        )
        run(step, batches(epochs))
    average = traces[0.0][0]
    for raw, found in zip(traces[0.0][1:], traces[0.9][1:], strict=True):
        average = 0.9 * average + 0.1 * raw
        torch.testing.assert_close(found, average)


@pytest.mark.heavy
def test_noise_changes_the_modulated_weights_alone(make_epochs: MakeEpochs) -> None:
    epochs = make_epochs()
    (batch,) = batches(epochs, 1)
    found = []
    for noise in (False, True):
        modulation = ModulationSettings(mod_d=False, alpha_y=0.0, noise=noise, apply_to="gradient")
        step = new_step(epochs, settings(modulation, optimizer="sgd", learning_rate=0.1))
        run(step, [batch])
        found.append(state(step.model))
    changed = {name for name in found[0] if not torch.equal(found[0][name], found[1][name])}
    assert changed
    assert all(name.startswith("classifier") for name in changed)


@pytest.mark.heavy
def test_a_pass_reports_means_and_what_starves(make_epochs: MakeEpochs) -> None:
    epochs = make_epochs()
    records: list[Tensor] = []
    step = new_step(
        epochs, settings(ModulationSettings()), trace=lambda _, record: records.append(record)
    )
    run(step, batches(epochs))
    step.note({"macro_f1/eeg": 0.5})
    details = step.end_pass()
    means = torch.stack(records).mean(dim=0)
    for i, name in enumerate(RECORD[:-1]):
        for u, modality in enumerate(("eeg", "eog", "emg")):
            assert details[f"{name}/{modality}"] == pytest.approx(means[i, u].item())
    assert not [name for name in details if name.startswith("k_f/")]  # extractors are not modulated
    assert details["domain_chance"] == pytest.approx(1 / 3)
    assert 0 <= details["domain_accuracy"] <= 1
    assert details["macro_f1/eeg"] == 0.5
    assert {details[f"starved_y/{m}"] for m in ("eeg", "eog", "emg")} <= {0.0, 1.0}
    run(step, batches(epochs))
    assert "macro_f1/eeg" not in step.end_pass()


def test_a_loss_that_is_not_finite_names_step_and_rows_and_leaves_the_weights(
    make_epochs: MakeEpochs,
) -> None:
    epochs = make_epochs()
    good, bad, _ = batches(epochs)
    bad.signals.x["eeg"][0, 0, 0] = math.nan
    step = new_step(epochs, settings())
    run(step, [good])
    before = [parameter.detach().clone() for parameter in step.model.parameters()]
    with pytest.raises(DivergedError, match=rf"step 2 is nan.*\[{bad.rows[0]}, {bad.rows[1]}, "):
        run(step, [bad])
    for parameter, old in zip(step.model.parameters(), before, strict=True):
        assert torch.equal(parameter, old)


def test_one_group_is_featurenet_and_needs_no_record(make_epochs: MakeEpochs) -> None:
    epochs = make_epochs()
    wanted = SleepMGSettings(
        network=NetworkSettings(multimodal=False),
        adversary=AdversarySettings(enabled=False),
        modulation=OFF,
    )
    step = new_step(epochs, wanted)
    run(step, batches(epochs))
    assert step.end_pass() == {"starved_y/all": 0.0, "starved_d/all": 0.0, "starved_f/all": 0.0}


@pytest.mark.heavy
@pytest.mark.parametrize("fusion", ["sum", "gated", "film", "attention"])
def test_every_fusion_trains_with_all_modulation_on(make_epochs: MakeEpochs, fusion: str) -> None:
    epochs = make_epochs()
    wanted = SleepMGSettings(
        network=NetworkSettings(fusion=fusion),
        modulation=ModulationSettings(mod_f=True),
        training=FoldSettings(learning_rate=1e-3),
    )
    step = new_step(epochs, wanted)
    assert all(math.isfinite(loss) for loss in run(step, batches(epochs)))
    assert {f"k_{head}/{m}" for head in "ydf" for m in epochs.modalities} <= set(step.end_pass())


@pytest.mark.heavy
def test_mixed_precision_stays_close(make_epochs: MakeEpochs) -> None:
    epochs = make_epochs()
    full, mixed = (
        run(new_step(epochs, settings(precision=precision)), batches(epochs))
        for precision in ("float32", "bfloat16")
    )
    assert full != mixed
    assert mixed == pytest.approx(full, rel=0.05)
