"""Two workers against one with the whole batch: the same coefficients, the same weights."""

import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainables.balanced_step import BalancedStep
from trainables.epochs import MultimodalBatch, MultimodalEpochs
from trainables.errors import LeaveError
from trainables.fold import Fold, FoldOutcome, batch_of, build_model, order_of_pass, train_fold
from trainables.models.synced_batch_norm import sync_batch_norm
from trainables.settings import (
    AdversarySettings,
    FoldSettings,
    ModulationSettings,
    NetworkSettings,
    SleepMGSettings,
)
from trainables.stages import Stage
from trainables.surroundings import Surroundings
from trainables.training import Checkpoints
from trainables.workers import Workers

MakeEpochs = Callable[..., MultimodalEpochs]
pytestmark = pytest.mark.heavy
N_WORKERS, N_STEPS = 2, 20

SETTINGS = SleepMGSettings(
    network=NetworkSettings(dropout=0.0),
    adversary=AdversarySettings(grl_weight=0.3, schedule="dann"),
    modulation=ModulationSettings(
        mod_f=True, alpha_y=0.5, alpha_d=0.5, apply_to="gradient", score_memory=0.5
    ),
    training=FoldSettings(optimizer="sgd", learning_rate=0.02, batch_size=10),
)


InWorkers = Callable[..., list[Any]]


@pytest.fixture(scope="module")
def in_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InWorkers]:
    """Run ``work(*arguments)`` in two processes that know each other, and return what each returns.

    They are kept for all tests of this file: each has to import PyTorch.
    """
    meet = tmp_path_factory.mktemp("workers") / "meet"
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                ProcessPoolExecutor(
                    1, multiprocessing.get_context("spawn"), _join, (rank, f"file://{meet}")
                )
            )
            for rank in range(N_WORKERS)
        ]

        def run(work: Callable[..., Any], *arguments: Any) -> list[Any]:
            futures = [worker.submit(work, *arguments) for worker in workers]
            for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                future.result()
            return [future.result() for future in futures]

        yield run
        run(dist.destroy_process_group)


def _join(rank: int, meet: str) -> None:
    torch.set_num_threads(1)
    # One that waits for another that has failed ends soon.
    dist.init_process_group(
        "gloo",
        init_method=meet,
        rank=rank,
        world_size=N_WORKERS,
        timeout=timedelta(seconds=60),
    )


def train(epochs: MultimodalEpochs) -> tuple[dict[str, Tensor], list[Tensor], list[float]]:
    """Take 20 steps on a fixed split: uneven parts, and a modality that one worker may not have at all."""
    workers = Workers.current()
    torch.manual_seed(0)
    rows = np.arange(len(epochs.stages))
    fold = Fold.of(epochs, rows[epochs.subject > 0], rows[epochs.subject == 0], tuple(Stage))
    model = build_model(epochs, SETTINGS, fold.n_domains).double()
    network: nn.Module = model
    if workers.n > 1:
        model.sync()
        network = DistributedDataParallel(model)
    records: list[Tensor] = []
    step = BalancedStep(
        model,
        torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9),
        SETTINGS,
        class_weights=torch.tensor(SETTINGS.training.class_weights, dtype=torch.float64),
        n_steps_planned=N_STEPS,
        network=network,
        trace=lambda _, record: records.append(record),
        workers=workers,
    )
    losses = []
    model.train()
    for n in range(N_STEPS):
        batch = np.random.default_rng(n).permutation(len(fold.train))[:10]
        mine = np.split(batch, [4])[workers.rank] if workers.n > 1 else batch
        losses.append(step(batch_of(epochs, fold, mine)))
    return {k: v.clone() for k, v in model.state_dict().items()}, records, losses


@pytest.mark.parametrize("missing", [False, True])
def test_two_workers_equal_one_with_the_whole_batch(
    make_epochs: MakeEpochs, in_workers: InWorkers, missing: bool
) -> None:
    epochs = make_epochs(noise={"eeg": 0.2, "eog": 2.0, "emg": 5.0})
    present = epochs.present.copy()
    if missing:  # so rarely there that a part of four epochs often has none
        present[:, 2] = np.arange(len(present)) % 7 == 0
    epochs = MultimodalEpochs(
        x={modality: x.astype(np.float64) for modality, x in epochs.x.items()},
        present=present,
        subject=epochs.subject,
        stages=epochs.stages,
    )
    weights, records, losses = train(epochs)
    for other_weights, other_records, other_losses in in_workers(train, epochs):
        torch.testing.assert_close(
            torch.stack(other_records), torch.stack(records), rtol=0, atol=1e-10, equal_nan=True
        )
        for name, value in weights.items():
            torch.testing.assert_close(other_weights[name], value, rtol=0, atol=1e-5)
        assert other_losses == pytest.approx(losses, abs=1e-9)
    k = torch.stack(records)[:, [2, 5, 6]]
    assert (k < 1).any(dim=0).any(dim=1).all(), "every part is modulated at some step"


def train_until(epochs: MultimodalEpochs, leave_after: int, folder: str) -> dict[str, Tensor]:
    """Train a fold with dropout; asked by one worker to leave after so many steps, go on from the checkpoint."""
    workers = Workers.current()
    rows = np.arange(len(epochs.stages))
    fold = Fold.of(epochs, rows[epochs.subject > 0], rows[epochs.subject == 0], tuple(Stage))
    settings = SleepMGSettings(
        training=FoldSettings(batch_size=8, n_passes=2, learning_rate=0.01, patience=2)
    )
    file, asked = Path(folder, f"checkpoint-{leave_after}"), itertools.count(1)

    def batches_of(pass_number: int) -> Iterator[MultimodalBatch]:
        order = order_of_pass(fold, 0, pass_number)
        for start in range(0, len(order) - 7, 8):
            yield batch_of(epochs, fold, np.split(order[start : start + 8], 2)[workers.rank])

    def save(blob: bytes) -> None:
        if workers.rank == 0:
            time.sleep(0.5)  # as to a store far away
            file.write_bytes(blob)

    def attempt() -> FoldOutcome:
        return train_fold(
            epochs,
            fold,
            declared=tuple(Stage),
            settings=settings,
            seed=0,
            checkpoints=Checkpoints(
                save=save,
                min_interval_s=3600,
                resume_from=file.read_bytes() if file.exists() else None,
            ),
            batches_of=batches_of,
            wrap=DistributedDataParallel,
            # The first worker's machine stays, whatever happens.
            surroundings=Surroundings(
                must_leave=None if workers.rank == 0 else lambda: next(asked) == leave_after
            ),
        )

    try:
        outcome = attempt()
    except LeaveError:
        outcome = attempt()
    return {k: v.clone() for k, v in outcome.model.state_dict().items()}


def test_all_workers_leave_where_one_has_to_and_go_on_with_the_next_step(
    make_epochs: MakeEpochs, in_workers: InWorkers, tmp_path: Path
) -> None:
    epochs = make_epochs(noise={"eeg": 0.2, "eog": 2.0, "emg": 5.0})
    found = {}
    for leave_after in (0, 5):
        folder = tmp_path / str(leave_after)
        folder.mkdir()
        found[leave_after], _ = in_workers(train_until, epochs, leave_after, str(folder))
        assert (folder / f"checkpoint-{leave_after}").exists() == (leave_after > 0)
    for name, value in found[0].items():
        torch.testing.assert_close(found[5][name], value, rtol=0, atol=1e-5)


def normalise(x: Tensor, parts: list[int]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return this worker's part of output and input gradient of a normalised batch, and the statistics."""
    layer = nn.BatchNorm1d(3).double()
    synced = sync_batch_norm(nn.Sequential(layer))
    with torch.no_grad():
        next(synced.parameters()).copy_(torch.tensor([1.0, 2.0, -1.0]))
    rank = Workers.current().rank
    start = sum(parts[:rank])
    mine = x[start : start + parts[rank]].clone().requires_grad_()
    out = synced(mine)
    # Something that depends on the place, so that its gradient is not zero by symmetry.
    (out.square() * torch.arange(1.0, 8.0, dtype=torch.float64)).sum().backward()
    assert mine.grad is not None
    return out.detach(), mine.grad, dict(synced.state_dict())


@pytest.mark.parametrize("parts", [[5, 1], [6, 0]])
def test_synced_batch_norm_is_torch_s_own_over_the_whole_batch(
    in_workers: InWorkers, parts: list[int]
) -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 3, 7, dtype=torch.float64)
    found = in_workers(normalise, x, parts)
    layer = nn.BatchNorm1d(3).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, 2.0, -1.0]))
    whole = x.clone().requires_grad_()
    out = layer(whole)
    (out.square() * torch.arange(1.0, 8.0, dtype=torch.float64)).sum().backward()
    torch.testing.assert_close(torch.cat([o for o, _, _ in found]), out.detach())
    torch.testing.assert_close(torch.cat([g for _, g, _ in found]), whole.grad)
    for name, value in layer.state_dict().items():
        torch.testing.assert_close(found[0][2][f"0.{name}"], value)
        torch.testing.assert_close(found[1][2][f"0.{name}"], value)
