"""MRCNN, the two-branch encoder of AttnSleep, and the stage classifier on top of it.

Eldele et al., "An Attention-based Deep Learning Approach for Sleep Stage Classification with
Single-Channel EEG", IEEE TNSRE 29, 2021; layers as in its supplement, table S.3.

Shapes: B epochs, C channels, T times, F convolution filters, S stages.
"""

from typing import Final

import torch
from torch import Tensor, nn

from trainables.errors import SettingsError
from trainables.settings import FEATURE_LAYERS
from trainables.stages import Stage

N_BRANCH_FILTERS: Final = 128
"""Filters that each branch ends with."""

N_AFR_FILTERS: Final = 30
"""Filters after recalibration: the channel axis of the encoder's output."""

_SE_REDUCTION: Final = 16


class MRCNN(nn.Module):
    """Multi-resolution CNN with adaptive feature recalibration.

    A branch with narrow and one with wide first kernels, concatenated along time, then one residual
    squeeze-and-excitation block. With the default arguments it has 407,600 parameters.

    Parameters
    ----------
    n_channels : int
        Derivations of the input. Reconstruction: the paper has one; more enter the first
        convolutions as input planes.
    dropout : float
        Probability of the three dropout layers (AttnSleep: 0.5).
    wide_kernel : int
        Width of the inner kernels of the wide branch: 7, or 6 as AttnSleep takes for SHHS
        at 125 Hz.

    Notes
    -----
    Initialisation as AttnSleep: convolution weights N(0, 0.02), batch-norm scale N(1, 0.02),
    batch-norm shift 0; everything else as PyTorch has it.
    """

    def __init__(self, n_channels: int = 1, dropout: float = 0.5, wide_kernel: int = 7) -> None:
        super().__init__()
        self.narrow_branch = nn.Sequential(
            _conv_bn_gelu(n_channels, 64, kernel_size=50, stride=6, padding=24),
            nn.MaxPool1d(kernel_size=8, stride=2, padding=4),
            nn.Dropout(dropout),
            _conv_bn_gelu(64, N_BRANCH_FILTERS, kernel_size=8, padding=4),
            _conv_bn_gelu(N_BRANCH_FILTERS, N_BRANCH_FILTERS, kernel_size=8, padding=4),
            nn.MaxPool1d(kernel_size=4, stride=4, padding=2),
        )
        self.wide_branch = nn.Sequential(
            _conv_bn_gelu(n_channels, 64, kernel_size=400, stride=50, padding=200),
            nn.MaxPool1d(kernel_size=4, stride=2, padding=2),
            nn.Dropout(dropout),
            _conv_bn_gelu(64, N_BRANCH_FILTERS, kernel_size=wide_kernel, padding=3),
            _conv_bn_gelu(N_BRANCH_FILTERS, N_BRANCH_FILTERS, kernel_size=wide_kernel, padding=3),
            nn.MaxPool1d(kernel_size=2, stride=2, padding=1),
        )
        self.dropout = nn.Dropout(dropout)
        self.recalibration = _Recalibration(N_BRANCH_FILTERS, N_AFR_FILTERS)
        self.apply(_initialise)

    def branches(self, x_BCT: Tensor) -> Tensor:
        """Return both branches, one after the other in time: (B, 128, 80) for T = 3000."""
        return torch.cat((self.narrow_branch(x_BCT), self.wide_branch(x_BCT)), dim=2)

    def recalibrate(self, x_BFT: Tensor) -> Tensor:
        """Return dropout and recalibration of what `branches` gave: (B, 30, 80) for T = 3000."""
        recalibrated: Tensor = self.recalibration(self.dropout(x_BFT))
        return recalibrated

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Encode epochs: (B, n_channels, T) -> (B, 30, 80) for T = 3000 (30 s at 100 Hz)."""
        return self.recalibrate(self.branches(x_BCT))


class StageClassifier(nn.Module):
    """MRCNN, flattened, with dropout and one linear layer: 419,605 parameters by default.

    Reconstruction: the SelectiveFinetuning paper does not describe its head; this is AttnSleep's
    without the transformer between encoder and linear layer.

    Parameters
    ----------
    n_channels, n_times : int
        Shape of an epoch. The head is sized by a dry run, so any length that the convolutions
        accept will do.
    n_stages : int
        Outputs.
    dropout : float
        Probability of every dropout layer, the one before the head included.
    """

    def __init__(
        self,
        n_channels: int = 1,
        n_times: int = 3000,
        n_stages: int = len(Stage),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.encoder = MRCNN(n_channels, dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(_output_size(self.encoder, n_channels, n_times), n_stages)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return logits, (B, n_stages)."""
        logits_BS: Tensor = self.head(self.dropout(self.encoder(x_BCT).flatten(1)))
        return logits_BS

    def features(self, x_BCT: Tensor, layer: str) -> Tensor:
        """Return the output of one layer, (B, feature_dim), before the dropout that follows it.

        Parameters
        ----------
        x_BCT : (B, n_channels, n_times)
            Scaled signals.
        layer : str
            One of ``FEATURE_LAYERS``.

        Raises
        ------
        SettingsError
            There is no such layer.
        """
        if layer not in FEATURE_LAYERS:
            raise SettingsError(f"layer is {layer!r}; allowed: {', '.join(FEATURE_LAYERS)}.")
        branches_BFT = self.encoder.branches(x_BCT)
        if layer == "concat_gap":
            return branches_BFT.mean(dim=2)
        afr_BFT = self.encoder.recalibrate(branches_BFT)
        return afr_BFT.mean(dim=2) if layer == "afr_gap" else afr_BFT.flatten(1)


class _Recalibration(nn.Module):
    """Adaptive feature recalibration: residual 1x1 convolutions with a gate per filter."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        n_hidden = n_out // _SE_REDUCTION
        # These two are the only convolutions that carry a bias in AttnSleep.
        self.transform = nn.Sequential(
            nn.Conv1d(n_in, n_out, kernel_size=1),
            nn.BatchNorm1d(n_out),
            nn.ReLU(),
            nn.Conv1d(n_out, n_out, kernel_size=1),
            nn.BatchNorm1d(n_out),
        )
        self.gate = nn.Sequential(
            nn.Linear(n_out, n_hidden, bias=False),
            nn.ReLU(),
            nn.Linear(n_hidden, n_out, bias=False),
            nn.Sigmoid(),
        )
        self.shortcut = nn.Sequential(
            nn.Conv1d(n_in, n_out, kernel_size=1, bias=False),
            nn.BatchNorm1d(n_out),
        )

    def forward(self, x_BFT: Tensor) -> Tensor:
        transformed_BFT = self.transform(x_BFT)
        gate_BF = self.gate(transformed_BFT.mean(dim=2))
        return torch.relu(transformed_BFT * gate_BF.unsqueeze(2) + self.shortcut(x_BFT))


def _conv_bn_gelu(
    n_in: int, n_out: int, *, kernel_size: int, padding: int, stride: int = 1
) -> nn.Sequential:
    """Bias-free convolution, batch-norm and exact GELU."""
    return nn.Sequential(
        nn.Conv1d(n_in, n_out, kernel_size, stride=stride, padding=padding, bias=False),
        nn.BatchNorm1d(n_out),
        nn.GELU(),
    )


def _initialise(module: nn.Module) -> None:
    """Draw weights as AttnSleep does; linear layers and biases keep PyTorch's."""
    if isinstance(module, nn.Conv1d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm1d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def _output_size(encoder: nn.Module, n_channels: int, n_times: int) -> int:
    """Count the values an encoder gives for one epoch, without touching its statistics."""
    encoder.eval()
    with torch.no_grad():
        n_values: int = encoder(torch.zeros(1, n_channels, n_times)).numel()
    encoder.train()
    return n_values
