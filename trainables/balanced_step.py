"""SleepMG's step: stage and domain loss, per-modality scores, and gradients or updates scaled by the coefficients.

Order (docs/sleepmg.md): forward, scores, loss, backward, modulation of gradients and noise, clipping, optimiser,
modulation of updates. Scores come from the features of the same forward pass: no second one, no extra backward pass.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables import modulation
from trainables.epochs import MultimodalBatch
from trainables.errors import DivergedError
from trainables.models.fusion import Block, FusionHead
from trainables.multimodal import Output, SleepMG
from trainables.settings import SleepMGSettings
from trainables.stage_loss import stage_loss
from trainables.workers import Workers

RECORD = ("score_y", "rho_y", "k_y", "score_d", "rho_d", "k_d", "k_f")
"""What is recorded of every modality in every step, in this order; NaN where there is none. Scores and ratios are there
whether they are used or not, coefficients only where something is scaled by them."""

Trace = Callable[[int, Tensor], None]
"""Called with the number of a step (from 1) and its record, (7, M)."""

Blocks = Sequence[Sequence[Block]]


class BalancedStep:
    """One update of a `SleepMG` network. With all modulation off it is the step of NaiveMG.

    Parameters
    ----------
    model : SleepMG
    optimizer : Optimizer
        Over the parameters of ``model``.
    settings : SleepMGSettings
    class_weights : (S,)
        0 for a stage that cannot be predicted: its logit is masked.
    n_steps_planned : int
        Steps of the longest training, for the schedule of the GRL weight.
    seed : int
        Of the noise on gradients.
    network : Module, optional
        What to call instead of ``model``: the same, compiled or wrapped for several workers.
    workers : Workers
        Of which each takes a part of every batch.
    trace : callable, optional
    """

    def __init__(
        self,
        model: SleepMG,
        optimizer: torch.optim.Optimizer,
        settings: SleepMGSettings,
        *,
        class_weights: Tensor,
        n_steps_planned: int,
        seed: int = 0,
        network: nn.Module | None = None,
        workers: Workers | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self._network = model if network is None else network
        self._settings = settings
        self._class_weights = class_weights
        self._masked = class_weights == 0
        self._n_steps_planned = n_steps_planned
        self._noise_seed = seed << 32
        self._workers = workers or Workers()
        self._trace = trace
        self._n_steps = 0
        # Of this pass.
        self._records: list[Tensor] = []
        self._domains_right = torch.zeros(2, dtype=torch.float64)
        # Averages of scores over steps; NaN before the first.
        self._memory = torch.full((2, len(model.groups)), math.nan, dtype=torch.float64)
        self._notes: dict[str, float] = {}

    def __call__(self, batch: MultimodalBatch) -> float:
        """Update the weights on one batch, or on this worker's part of it; return the loss of the whole before.

        Raises
        ------
        DivergedError
            The loss is not finite; the weights are as they were. On several workers each raises it.
        """
        self.optimizer.zero_grad()
        with torch.autocast(
            batch.stages.device.type,
            torch.bfloat16,
            enabled=self._settings.training.precision == "bfloat16",
        ):
            output: Output = self._network(batch.signals, self.grl_weight)
            loss = self._loss(output, batch)
        total = float(self._workers.sum(loss)) / self._workers.n
        if not math.isfinite(total):
            raise DivergedError(
                f"the loss of step {self._n_steps + 1} is {total}; rows of the batch on this worker: "
                f"{batch.rows.tolist()}. A smaller learning rate or GRL weight may help; the last checkpoint is from "
                "before."
            )
        record = self._record(output, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        self._update(record)
        self._n_steps += 1
        self._records.append(record)
        if self._trace is not None:
            self._trace(self._n_steps, record)
        return total

    @property
    def grl_weight(self) -> float:
        """Lambda of the next step."""
        adversary = self._settings.adversary
        if adversary.schedule == "constant":
            return adversary.grl_weight
        done = self._n_steps / self._n_steps_planned
        return adversary.grl_weight * (2 / (1 + math.exp(-10 * done)) - 1)

    def note(self, details: Mapping[str, float]) -> None:
        """Add something to what is reported of the pass."""
        self._notes |= details

    def end_pass(self) -> dict[str, float]:
        """Return means over the pass, ``k_y/eeg`` and so on, and what was noted; begin a new one.

        ``starved_y/eeg`` is 1 where the classifier slice of a modality was held back in nearly all steps, see
        :func:`trainables.modulation.starved`. ``domain_accuracy`` is that of the discriminator on the training epochs
        of the pass, before each step; ``domain_chance`` is one over the number of domains.
        """
        details = dict(self._notes)
        records = torch.stack(self._records)
        for name, values_M in zip(RECORD, records.nanmean(dim=0), strict=True):
            for group, value in zip(self.model.groups, values_M.tolist(), strict=True):
                if not math.isnan(value):
                    details[f"{name}/{group}"] = value
        for name in ("y", "d", "f"):
            starved_M = modulation.starved(records[:, RECORD.index(f"k_{name}")])
            for group, is_starved in zip(self.model.groups, starved_M.tolist(), strict=True):
                details[f"starved_{name}/{group}"] = float(is_starved)
        discriminator = self.model.discriminator
        if discriminator is not None:
            n_right, n = self._domains_right.tolist()
            details["domain_accuracy"] = n_right / n
            details["domain_chance"] = 1 / discriminator.n_domains
        self._records.clear()
        self._domains_right.zero_()
        self._notes = {}
        return details

    def state(self) -> dict[str, Tensor]:
        """Return progress of the GRL schedule, averages of scores, and the records of this pass."""
        n_groups = len(self.model.groups)
        empty = torch.zeros(0, len(RECORD), n_groups, dtype=torch.float64)
        return {
            "n_steps": torch.tensor(self._n_steps),
            "memory": self._memory,
            "records": torch.stack(self._records) if self._records else empty,
            "domains_right": self._domains_right,
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        self._n_steps = int(state["n_steps"])
        self._memory = state["memory"]
        self._records = list(state["records"])
        self._domains_right = state["domains_right"]

    def _loss(self, output: Output, batch: MultimodalBatch) -> Tensor:
        """Return this worker's part of the loss, times the number of workers: gradients are averaged over them."""
        loss = stage_loss(_full(output.logits), batch.stages, self._class_weights, self._workers)
        if output.domain_logits is not None:
            logits = _full(output.domain_logits)
            total = functional.cross_entropy(logits, batch.domains, reduction="sum")
            n, n_right = self._workers.sum(
                torch.stack(
                    [
                        torch.tensor(float(len(logits)), device=logits.device),
                        (logits.argmax(dim=1) == batch.domains).sum().float(),
                    ]
                )
            )
            self._domains_right += torch.stack([n_right, n]).cpu()
            loss = loss + self._workers.n * total / n
        return loss

    @torch.no_grad()
    def _record(self, output: Output, batch: MultimodalBatch) -> Tensor:
        """Return scores, ratios and coefficients of each modality, (7, M), see `RECORD`."""
        n_groups = len(self.model.groups)
        record = torch.full((len(RECORD), n_groups), math.nan, dtype=torch.float64)
        if n_groups < 2:
            return record
        settings = self._settings.modulation
        features = [_full(h.detach()) for h in output.features]
        present = self.model.present(batch.signals)
        heads: list[tuple[FusionHead, Tensor, Tensor | None]] = [
            (self.model.classifier, batch.stages, self._masked)
        ]
        if self.model.discriminator is not None:
            heads.append((self.model.discriminator.head, batch.domains, None))
        for i, (head, labels, masked) in enumerate(heads):
            logits_MBS = head.modality_logits(features, present)
            if masked is not None:
                logits_MBS = logits_MBS.masked_fill(masked, -torch.inf)
            sums, counts = modulation.score_sums(logits_MBS, labels, present)
            scores = modulation.scores(self._workers.sum(sums), self._workers.sum(counts))
            scores = self._remember(i, scores.cpu().double())
            record[3 * i] = scores
            record[3 * i + 1] = modulation.ratios(scores, settings.ratio)
        for name, is_on, score, alpha in (
            ("k_y", settings.mod_y, "score_y", settings.alpha_y),
            ("k_d", settings.mod_d and len(heads) > 1, "score_d", settings.alpha_d),
            ("k_f", settings.mod_f, "score_y", settings.alpha_f),
        ):
            if is_on:
                record[RECORD.index(name)] = modulation.coefficients(
                    record[RECORD.index(score)],
                    alpha,
                    settings.ratio,
                    settings.rule,
                    settings.invert,
                )
        return record

    def _remember(self, head: int, scores_M: Tensor) -> Tensor:
        """Return the moving average of the scores; that of a modality which nobody in the batch has waits, unused."""
        decay = self._settings.modulation.score_memory
        if decay == 0:
            return scores_M
        old_M = self._memory[head]
        new_M = torch.where(old_M.isnan(), scores_M, decay * old_M + (1 - decay) * scores_M)
        self._memory[head] = torch.where(scores_M.isnan(), old_M, new_M)
        return new_M

    def _update(self, record: Tensor) -> None:
        """Clip, step, and modulate before or after, as the settings say."""
        settings = self._settings.modulation
        for group, score in zip(self.model.groups, record[RECORD.index("score_y")], strict=True):
            if score.isnan() and len(self.model.groups) > 1:
                # Nobody in the batch has it. Several workers make zeros of no gradient, and momentum would go on.
                self.model.extractor(group).zero_grad()
        modulated = [(blocks, k_M.tolist()) for blocks, k_M in self._modulated(record)]
        if settings.noise:
            spreads = [modulation.gradient_spreads(blocks) for blocks, _ in modulated]
        # A modality with k = 1 is left alone, and costs nothing.
        slowed: list[tuple[Blocks, list[float]]] = [
            (
                [of_u for of_u, k in zip(blocks, k_M, strict=True) if k < 1],
                [k for k in k_M if k < 1],
            )
            for blocks, k_M in modulated
        ]
        if settings.apply_to == "gradient":
            for blocks, k_M in slowed:
                modulation.scale_gradients(blocks, k_M)
        if settings.noise:
            # Seeded by the step: all workers draw the same, and a resumed training draws on.
            generator = torch.Generator(next(self.model.parameters()).device).manual_seed(
                self._noise_seed + self._n_steps
            )
            for (blocks, _), spread in zip(modulated, spreads, strict=True):
                modulation.add_noise(blocks, spread, generator)
        nn.utils.clip_grad_value_(self.model.parameters(), self._settings.training.clip_value)
        if settings.apply_to == "update":
            before = [modulation.snapshot(blocks) for blocks, _ in slowed]
        self.optimizer.step()
        if settings.apply_to == "update":
            for (blocks, k_M), old in zip(slowed, before, strict=True):
                modulation.scale_update(blocks, old, k_M)

    def _modulated(self, record: Tensor) -> list[tuple[Blocks, Tensor]]:
        """Return what is modulated, with the coefficients of each modality."""
        settings = self._settings.modulation
        parts: list[tuple[Blocks, Tensor]] = []
        if settings.mod_f and len(self.model.groups) > 1:
            extractors = [
                [Block(parameter, None) for parameter in self.model.extractor(group).parameters()]
                for group in self.model.groups
            ]
            parts.append((extractors, record[RECORD.index("k_f")]))
        if settings.mod_y:
            parts.append((self.model.classifier.blocks(), record[RECORD.index("k_y")]))
        if settings.mod_d and self.model.discriminator is not None:
            parts.append((self.model.discriminator.head.blocks(), record[RECORD.index("k_d")]))
        return parts


def _full(value: Tensor) -> Tensor:
    """Leave mixed precision."""
    return value if value.dtype == torch.float64 else value.float()
