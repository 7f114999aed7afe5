"""FeatureNet: one two-branch CNN for all channels of a group, and the stage classifier on top of it.

Jia et al., "Multi-View Spatial-Temporal Graph Convolutional Networks with Domain Generalization for Sleep Stage
Classification" (MSTGCN), IEEE TNSRE 29, 2021; layers as in ``model/FeatureNet.py`` of its repository.

Shapes: B epochs, C channels, T times, N epochs times channels, F convolution filters, S stages.
"""

from typing import Final

import torch
from torch import Tensor, nn

from trainables.errors import SettingsError
from trainables.stages import Stage

MIN_TIMES: Final = 400 + 50 * (8 * 4 - 1)
"""Shortest epoch: one value must be left after both poolings of the wide branch."""


class FeatureExtractor(nn.Module):
    """Two CNN branches, with narrow and with wide first kernels, flattened and concatenated.

    With one plane and 3000 times it gives 256 features and has 184,288 parameters.

    Parameters
    ----------
    n_planes : int
        Input planes of the first convolutions (FeatureNet: 1).
    dropout : float
        Probability of the dropout in each branch (FeatureNet: 0.5).

    Notes
    -----
    The convolutions are two-dimensional with height 1, so that values lie in memory with the filters of one time side
    by side (channels-last), and ReLU comes after the pooling, which gives the same values and gradients. On a CPU, a
    step then takes about two thirds of the time.
    """

    def __init__(self, n_planes: int = 1, dropout: float = 0.5) -> None:
        super().__init__()
        self.n_planes = n_planes
        self.narrow_branch = nn.Sequential(
            _layer(n_planes, 32, kernel_size=50, stride=6, pool=16),
            nn.Dropout(dropout),
            _layer(32, 64, kernel_size=8, same=True),
            _layer(64, 64, kernel_size=8, same=True),
            _layer(64, 64, kernel_size=8, same=True, pool=8),
        )
        self.wide_branch = nn.Sequential(
            _layer(n_planes, 64, kernel_size=400, stride=50, pool=8),
            nn.Dropout(dropout),
            _layer(64, 64, kernel_size=6, same=True),
            _layer(64, 64, kernel_size=6, same=True),
            _layer(64, 64, kernel_size=6, same=True, pool=4),
        )

    def forward(self, x_NCT: Tensor) -> Tensor:
        """Return features: (N, n_planes, T) -> (N, n_features)."""
        # Not contiguous(): it leaves a single plane as it is, and the convolutions then take the other layout.
        x_NC1T = x_NCT.unsqueeze(2).to(memory_format=torch.channels_last)
        branches = (self.narrow_branch(x_NC1T), self.wide_branch(x_NC1T))
        return torch.cat([branch_NF1T.flatten(1) for branch_NF1T in branches], dim=1)


def n_features(extractor: FeatureExtractor, n_times: int) -> int:
    """Count the features of one input by a dry run, which leaves statistics, mode and random numbers alone.

    Raises
    ------
    SettingsError
        The input is too short for the convolutions.
    """
    if n_times < MIN_TIMES:
        raise SettingsError(
            f"epochs have {n_times} times; allowed: at least {MIN_TIMES}, or nothing is left after FeatureNet's "
            "convolutions (30 s at 100 Hz have 3000). Take a higher sampling rate."
        )
    weight = next(extractor.parameters())
    mode = extractor.training
    extractor.eval()
    with torch.no_grad():
        features: Tensor = extractor(weight.new_zeros(1, extractor.n_planes, n_times))
    extractor.train(mode)
    return features.shape[1]


class ModalityExtractor(nn.Module):
    """The extractor of one group of channels.

    Parameters
    ----------
    n_channels, n_times : int
        Shape of an epoch.
    channels : str
        ``shared``: each channel goes through the same extractor by itself, as in FeatureNet, and batch-norm takes its
        statistics over all of them; ``planes``: they enter the first convolutions together.
    dropout : float
        Probability of the dropout in each branch.

    Attributes
    ----------
    width : int
        Features of an epoch: at 3000 times 256 for each channel (shared), or 256 (planes).

    Raises
    ------
    SettingsError
        No channel, epochs too short, or no such way to treat channels.
    """

    def __init__(
        self,
        n_channels: int,
        n_times: int = 3000,
        channels: str = "shared",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if n_channels < 1:
            raise SettingsError(f"n_channels is {n_channels}; allowed: at least 1.")
        if channels not in ("shared", "planes"):
            raise SettingsError(f"channels is {channels!r}; allowed: shared, planes.")
        self.n_planes = n_channels if channels == "planes" else 1
        self.extractor = FeatureExtractor(self.n_planes, dropout)
        self.width = n_channels // self.n_planes * n_features(self.extractor, n_times)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return features, (B, width); those of the first channel come first."""
        n_epochs, _, n_times = x_BCT.shape
        # All channels are one batch: one call of each convolution, whatever their number.
        features_NF: Tensor = self.extractor(x_BCT.reshape(-1, self.n_planes, n_times))
        return features_NF.reshape(n_epochs, self.width)


class FeatureNet(nn.Module):
    """FeatureNet as a stage classifier of its own: 348,517 parameters by default.

    Parameters
    ----------
    n_channels : int
        Channels of an epoch, which share the extractor.
    n_classes : int
        Outputs.
    n_times : int
        Values of an epoch and channel; the head is sized by a dry run.
    dropout : float
        Probability of every dropout layer.
    n_hidden : int
        Width between the two dense layers.
    """

    def __init__(
        self,
        n_channels: int = 10,
        n_classes: int = len(Stage),
        n_times: int = 3000,
        dropout: float = 0.5,
        n_hidden: int = 64,
    ) -> None:
        super().__init__()
        self.n_channels = n_channels
        self.extractor = ModalityExtractor(n_channels, n_times, dropout=dropout)
        # FeatureNet has no non-linearity between its dense layers.
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(self.extractor.width, n_hidden),
            nn.Linear(n_hidden, n_classes),
        )

    def extract(self, x_BCT: Tensor) -> Tensor:
        """Return the features of each channel: (B, C, T) -> (B, C, 256) at 3000 times."""
        features_BD: Tensor = self.extractor(x_BCT)
        return features_BD.reshape(len(x_BCT), self.n_channels, -1)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return logits, (B, n_classes)."""
        logits_BS: Tensor = self.head(self.extractor(x_BCT))
        return logits_BS


def _layer(
    n_in: int, n_out: int, *, kernel_size: int, stride: int = 1, same: bool = False, pool: int = 1
) -> nn.Sequential:
    """Convolution over time, batch-norm, max-pool, ReLU; ``same`` pads even kernels once more on the right."""
    padding = ((kernel_size - 1) // 2, kernel_size // 2) if same else (0, 0)
    return nn.Sequential(
        nn.ZeroPad2d((*padding, 0, 0)) if same else nn.Identity(),
        nn.Conv2d(n_in, n_out, (1, kernel_size), stride=(1, stride)),
        nn.BatchNorm2d(n_out),
        nn.MaxPool2d((1, pool)) if pool > 1 else nn.Identity(),
        nn.ReLU(),
    )
