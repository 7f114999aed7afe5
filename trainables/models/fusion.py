"""Heads that join the features of several modalities into logits, of stages or of domains.

Sum, concat, FiLM and gated follow ``models/fusion_modules.py`` of OGM-GE (Peng et al., CVPR 2022), which joins two
modalities. Reconstruction: SleepMG names no fusion but concat; what follows for more than two modalities is ours, and
two dense layers without a non-linearity between them take the place of OGM-GE's one, as in FeatureNet.

A modality that an epoch misses has no influence on its logits: neither its features nor the biases of its own layers.

Shapes: B epochs, M modalities, d_u features of modality u (D of all), H hidden, S outputs.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import ClassVar, Final

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Weights that belong to one modality alone: a parameter of the network, or some of its columns."""

    parameter: Tensor
    """Where they are."""

    columns: slice | None = None
    """Which columns; None for the whole parameter."""

    def of(self, tensor: Tensor) -> Tensor:
        """Return this part of the parameter, of its gradient, or of anything of its shape, as a view."""
        return tensor if self.columns is None else tensor[:, self.columns]


class FusionHead(nn.Module, ABC):
    """From the features of each modality to logits.

    Parameters
    ----------
    widths : sequence of int
        d_u of each modality, in order. FiLM and gated are conditioned on the first.
    n_outputs : int
        S.
    n_hidden : int
        H, the width between the dense layers; 64 as in FeatureNet.
    """

    is_exact: ClassVar[bool] = False
    """Whether `modality_logits` sum to the logits, or answer what each modality says alone."""

    def __init__(self, widths: Sequence[int], n_outputs: int, n_hidden: int = 64) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.n_outputs = n_outputs
        self.n_hidden = n_hidden

    @abstractmethod
    def forward(self, h: Sequence[Tensor], present: Tensor | None = None) -> Tensor:
        """Return logits, (B, S).

        Parameters
        ----------
        h : sequence of (B, d_u)
            Features of each modality; finite everywhere.
        present : (B, M) bool, optional
            Which modalities an epoch has; all of them without.
        """

    def modality_logits(self, h: Sequence[Tensor], present: Tensor | None = None) -> Tensor:
        """Return what each modality says, (M, B, S).

        Where the head has no exact decomposition, modality u's logits are those of the head with all others missing.
        """
        if present is None:
            present = h[0].new_ones(len(h[0]), len(h), dtype=torch.bool)
        alone = torch.eye(len(h), dtype=torch.bool, device=present.device)
        return torch.stack([self(h, present & alone_M) for alone_M in alone])

    @abstractmethod
    def blocks(self) -> tuple[tuple[Block, ...], ...]:
        """Return the weights that belong to each modality alone: G_y^u of a classifier, G_d^u of a discriminator."""


class ConcatHead(FusionHead):
    """Two dense layers on all features side by side: SleepMG's own head."""

    is_exact = True

    def __init__(self, widths: Sequence[int], n_outputs: int, n_hidden: int = 64) -> None:
        super().__init__(widths, n_outputs, n_hidden)
        self.hidden = nn.Linear(sum(self.widths), n_hidden)
        self.output = nn.Linear(n_hidden, n_outputs)

    def forward(self, h: Sequence[Tensor], present: Tensor | None = None) -> Tensor:
        """Return logits, (B, S)."""
        h_BD = torch.cat([_only_present(h_u, present, u) for u, h_u in enumerate(h)], dim=1)
        logits_BS: Tensor = self.output(self.hidden(h_BD))
        return logits_BS

    def modality_logits(self, h: Sequence[Tensor], present: Tensor | None = None) -> Tensor:
        """Return V W_u h_u + (V b + c) / M of each modality, (M, B, S); their sum is the logits."""
        bias_S = functional.linear(self.hidden.bias, self.output.weight, self.output.bias)
        logits = []
        for u, (h_u, columns) in enumerate(zip(h, self._columns(), strict=True)):
            hidden_BH = functional.linear(
                _only_present(h_u, present, u), self.hidden.weight[:, columns]
            )
            logits.append(functional.linear(hidden_BH, self.output.weight, bias_S / len(h)))
        return torch.stack(logits)

    def blocks(self) -> tuple[tuple[Block, ...], ...]:
        """Return the columns of the first dense layer that read each modality."""
        return tuple((Block(self.hidden.weight, columns),) for columns in self._columns())

    def _columns(self) -> list[slice]:
        edges = accumulate(self.widths, initial=0)
        return [slice(start, stop) for start, stop in pairwise(edges)]


class SumHead(FusionHead):
    """A head of two dense layers for each modality, biases included; their logits are added."""

    is_exact = True

    def __init__(self, widths: Sequence[int], n_outputs: int, n_hidden: int = 64) -> None:
        super().__init__(widths, n_outputs, n_hidden)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(width, n_hidden), nn.Linear(n_hidden, n_outputs))
            for width in self.widths
        )

    def forward(self, h: Sequence[Tensor], present: Tensor | None = None) -> Tensor:
        """Return logits, (B, S)."""
        return self.modality_logits(h, present).sum(dim=0)

    def modality_logits(self, h: Sequence[Tensor], present: Tensor | None = None) -> Tensor:
        """Return the logits of each modality's head, (M, B, S); 0 where the modality is missing."""
        logits = [
            _only_present(head(h_u), present, u)
            for u, (head, h_u) in enumerate(zip(self.heads, h, strict=True))
        ]
        return torch.stack(logits)

    def blocks(self) -> tuple[tuple[Block, ...], ...]:
        """Return each modality's head."""
        return tuple(_whole(head) for head in self.heads)


class _ProjectedHead(FusionHead):
    """Each modality projected to H values, those joined to H values, and one dense layer."""

    def __init__(self, widths: Sequence[int], n_outputs: int, n_hidden: int = 64) -> None:
        super().__init__(widths, n_outputs, n_hidden)
        self.projections = nn.ModuleList(nn.Linear(width, n_hidden) for width in self.widths)
        self.output = nn.Linear(n_hidden, n_outputs)

    def _project(self, h: Sequence[Tensor], present: Tensor | None) -> list[Tensor]:
        """Return (B, H) of each modality, 0 where it is missing."""
        return [
            _only_present(projection(h_u), present, u)
            for u, (projection, h_u) in enumerate(zip(self.projections, h, strict=True))
        ]

    def blocks(self) -> tuple[tuple[Block, ...], ...]:
        """Return each modality's projection."""
        return tuple(_whole(projection) for projection in self.projections)


class _ConditionedHead(_ProjectedHead):
    """The sum of the projections, those of later modalities changed by the features of the first."""

    n_conditions: ClassVar[int]
    """How many values the first modality gives for each value that it changes."""

    def __init__(self, widths: Sequence[int], n_outputs: int, n_hidden: int = 64) -> None:
        super().__init__(widths, n_outputs, n_hidden)
        self.conditions = nn.ModuleList(
            nn.Linear(self.widths[0], self.n_conditions * n_hidden) for _ in self.widths[1:]
        )

    def forward(self, h: Sequence[Tensor], present: Tensor | None = None) -> Tensor:
        """Return logits, (B, S)."""
        joined_BH, *others = self._project(h, present)
        for v, (condition, projected_BH) in enumerate(
            zip(self.conditions, others, strict=True), start=1
        ):
            condition_BH = _only_present(condition(h[0]), present, 0)
            changed_BH = self._change(projected_BH, condition_BH)
            joined_BH = joined_BH + _only_present(changed_BH, present, v)
        logits_BS: Tensor = self.output(joined_BH)
        return logits_BS

    @abstractmethod
    def _change(self, projected_BH: Tensor, condition: Tensor) -> Tensor:
        """Return one modality's projection under a condition (B, n_conditions * H), 0 without the first modality."""

    def blocks(self) -> tuple[tuple[Block, ...], ...]:
        """Return each modality's projection; the layers that condition the others belong to the first."""
        first, *others = super().blocks()
        return (first + _whole(self.conditions), *others)


class GatedHead(_ConditionedHead):
    """Each later modality passes a sigmoid gate that the first sets; 1/2 where the first is missing.

    Reconstruction: the first modality's own projection is added without a gate; in OGM-GE it is the gate alone.
    """

    n_conditions = 1

    def _change(self, projected_BH: Tensor, condition: Tensor) -> Tensor:
        return condition.sigmoid() * projected_BH


class FiLMHead(_ConditionedHead):
    """Each later modality is scaled and shifted by the first; scale 1, shift 0 where the first is missing.

    Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018: the scale is learned as its
    difference to 1. Reconstruction: the first modality's own projection is added.
    """

    n_conditions = 2

    def _change(self, projected_BH: Tensor, condition: Tensor) -> Tensor:
        scale_BH, shift_BH = condition.chunk(2, dim=1)
        return (1 + scale_BH) * projected_BH + shift_BH


class AttentionHead(_ProjectedHead):
    """The mean of the projections, weighted for each epoch by how well they fit a learned query."""

    def __init__(self, widths: Sequence[int], n_outputs: int, n_hidden: int = 64) -> None:
        super().__init__(widths, n_outputs, n_hidden)
        self.query = nn.Linear(n_hidden, 1, bias=False)

    def forward(self, h: Sequence[Tensor], present: Tensor | None = None) -> Tensor:
        """Return logits, (B, S)."""
        projected_BMH = torch.stack(self._project(h, present), dim=1)
        logits_BS: Tensor = self.output(
            (self._weights(projected_BMH, present).unsqueeze(2) * projected_BMH).sum(dim=1)
        )
        return logits_BS

    def _weights(self, projected_BMH: Tensor, present: Tensor | None) -> Tensor:
        """Return (B, M): softmax over the modalities that are there, 0 for the others."""
        fit_BM: Tensor = self.query(projected_BMH.tanh()).squeeze(2)
        if present is not None:
            # Not minus infinity: an epoch without any modality would be NaN. Its projections are all 0 anyway.
            fit_BM = fit_BM.masked_fill(~present, torch.finfo(fit_BM.dtype).min)
        return fit_BM.softmax(dim=1)


FUSION_HEADS: Final[Mapping[str, type[FusionHead]]] = {
    "concat": ConcatHead,
    "sum": SumHead,
    "gated": GatedHead,
    "film": FiLMHead,
    "attention": AttentionHead,
}
"""The heads by their names in :data:`trainables.settings.FUSIONS`."""


def _only_present(values_BN: Tensor, present: Tensor | None, u: int) -> Tensor:
    """Return values of modality u with 0 for the epochs that miss it."""
    if present is None:
        return values_BN
    return values_BN.masked_fill(~present[:, u, None], 0.0)


def _whole(module: nn.Module) -> tuple[Block, ...]:
    return tuple(Block(parameter) for parameter in module.parameters())
