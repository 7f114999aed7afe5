"""The subject discriminator behind a gradient reversal layer (GRL).

Ganin et al., "Domain-Adversarial Training of Neural Networks" (DANN), JMLR 17, 2016; with subjects as domains in
MSTGCN (Jia et al., IEEE TNSRE 29, 2021).

Shapes: B epochs, M modalities, d_u features of modality u, N_d domains.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, autograd, nn

from trainables.models.fusion import FusionHead


def reverse_gradient(x: Tensor, weight: float) -> Tensor:
    """Return `x` itself, whose gradient comes back times minus `weight`.

    Parameters
    ----------
    x : Tensor
        Of any shape.
    weight : float
        Lambda, at least 0; with 0 nothing comes back.

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> reverse_gradient(x, 0.1).sum().backward()
    >>> x.grad
    tensor([-0.1000, -0.1000])
    """
    reversed_: Tensor = _ReverseGradient.apply(x, weight)  # type: ignore[no-untyped-call]
    return reversed_


class Discriminator(nn.Module):
    """Tells from an epoch's features whose it is, and pushes the extractors to give nothing away.

    Parameters
    ----------
    head : FusionHead
        With one output for each domain. Reconstruction: of the shape of the classifier, as in MSTGCN.
    """

    def __init__(self, head: FusionHead) -> None:
        super().__init__()
        self.head = head

    @property
    def n_domains(self) -> int:
        """Outputs of the head."""
        return self.head.n_outputs

    def forward(self, h: Sequence[Tensor], weight: float, present: Tensor | None = None) -> Tensor:
        """Return logits, (B, N_d).

        Parameters
        ----------
        h : sequence of (B, d_u)
            Features of each modality, as the classifier takes them.
        weight : float
            Lambda of the reversal; the discriminator's own gradients do not depend on it.
        present : (B, M) bool, optional
            Which modalities an epoch has; all of them without.
        """
        logits_BN: Tensor = self.head([reverse_gradient(h_u, weight) for h_u in h], present)
        return logits_BN


class _ReverseGradient(autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)  # the input itself would lose its own gradient function

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradients[0], None
