"""SleepMG's network: an extractor for each modality, fusion, a stage classifier and a subject discriminator.

Ma, Zhang et al., "SleepMG: Multimodal Generalizable Sleep Staging with Inter-modal Balance of Classification and Domain
Discrimination", ACM MM 2024. Its main text could not be obtained: what is below follows its supplement, FeatureNet and
MSTGCN, and each further choice is tagged ``Reconstruction:`` (docs/sleepmg.md lists them).

FeatureNet, FeatureNet+M, FeatureNet+G and NaiveMG are the same class with other settings: without ``multimodal`` there
is one **group** holding the channels of all modalities, else each modality is a group; without domains there is no
discriminator. What sets SleepMG apart from NaiveMG is not in the network but in the step, see
:mod:`trainables.balanced_step`.

Shapes: B epochs, C channels, T times, M groups, S stages, N_d domains, d_u features of group u.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainables.epochs import Signals
from trainables.errors import SettingsError
from trainables.models.discriminator import Discriminator
from trainables.models.featurenet import ModalityExtractor
from trainables.models.fusion import FUSION_HEADS
from trainables.models.synced_batch_norm import sync_batch_norm
from trainables.settings import NetworkSettings
from trainables.stages import Stage

ALL_CHANNELS = "all"
"""Name of the only group of a network that is not multimodal."""


class Output(NamedTuple):
    """What the network gives for some epochs."""

    logits: Tensor
    """(B, S)."""
    domain_logits: Tensor | None
    """(B, N_d); None without a discriminator."""
    features: tuple[Tensor, ...]
    """For each group (B, d_u), after the dropout that both heads share; zeros where the group is missing."""


class SleepMG(nn.Module):
    """Extractors, shared dropout, classifier, and a discriminator behind the gradient reversal layer.

    Parameters
    ----------
    n_channels : mapping of str to int
        Channels of each modality, in order.
    n_domains : int
        Outputs of the discriminator; 0 for none.
    settings : NetworkSettings
    n_stages, n_times : int
        Outputs of the classifier; values of an epoch and channel (3000: 30 s at 100 Hz).

    Raises
    ------
    SettingsError
        Multimodal with one modality only, one domain only, or epochs too short for the convolutions.

    Notes
    -----
    Reconstruction: one dropout before both heads, as in MSTGCN; the discriminator has the shape of the classifier.
    """

    def __init__(
        self,
        n_channels: Mapping[str, int],
        *,
        n_domains: int = 0,
        settings: NetworkSettings | None = None,
        n_stages: int = len(Stage),
        n_times: int = 3000,
    ) -> None:
        super().__init__()
        settings = settings or NetworkSettings()
        if settings.multimodal and len(n_channels) < 2:
            raise SettingsError(
                f"the only modality is {', '.join(n_channels) or 'none'}, but network.multimodal is on; name two "
                "modalities at least, or turn it off."
            )
        if n_domains == 1:
            raise SettingsError(
                "there is one training subject (or group), so a discriminator has nothing to tell apart; add subjects, "
                "or turn adversary.enabled off."
            )
        self.modalities = tuple(n_channels)
        self.n_channels = dict(n_channels)
        self.synced = False
        channels = (
            dict(n_channels) if settings.multimodal else {ALL_CHANNELS: sum(n_channels.values())}
        )
        self.groups = tuple(channels)
        self.extractors = nn.ModuleDict(
            {
                group: ModalityExtractor(n, n_times, settings.channels, settings.dropout)
                for group, n in channels.items()
            }
        )
        self.dropout = nn.Dropout(settings.dropout)
        widths = [self.extractor(group).width for group in self.groups]
        head = FUSION_HEADS[settings.fusion]
        self.classifier = head(widths, n_stages, settings.n_hidden)
        # Last, so that the same seed gives the same other weights with and without it.
        self.discriminator = (
            Discriminator(head(widths, n_domains, settings.n_hidden)) if n_domains else None
        )

    def sync(self) -> None:
        """Let batch-norm take the statistics of all workers; then each runs every extractor, even on no epoch."""
        self.synced = True
        sync_batch_norm(self)

    def extractor(self, group: str) -> ModalityExtractor:
        """Return the extractor of a group."""
        extractor = self.extractors[group]
        assert isinstance(extractor, ModalityExtractor)
        return extractor

    def forward(self, signals: Signals, grl_weight: float = 0.0) -> Output:
        """Return logits of stages and domains, with the features that gave them.

        Parameters
        ----------
        signals : Signals
            Of B epochs.
        grl_weight : float
            Lambda: what the discriminator's gradient is multiplied by, its sign turned, on the way to the extractors.
        """
        present = self.present(signals)
        features = tuple(
            self.dropout(self._extract(group, x, None if present is None else present[:, u]))
            for u, (group, x) in enumerate(self._grouped(signals.x).items())
        )
        logits = self.classifier(features, present)
        domain_logits = None
        if self.discriminator is not None:
            domain_logits = self.discriminator(features, grl_weight, present)
        return Output(logits, domain_logits, features)

    def present(self, signals: Signals) -> Tensor | None:
        """Return which groups an epoch has, (B, M); None for all.

        Missing channels of the one group of a network that is not multimodal are zeros, and the group is there.
        """
        return None if self.groups == (ALL_CHANNELS,) else signals.present

    def _grouped(self, x: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if self.groups == (ALL_CHANNELS,):
            return {ALL_CHANNELS: torch.cat([x[modality] for modality in self.modalities], dim=1)}
        return {modality: x[modality] for modality in self.modalities}

    def _extract(self, group: str, x_BCT: Tensor, present_B: Tensor | None) -> Tensor:
        """Return features; those of epochs without the group are zeros, and no part of batch-norm's statistics."""
        extractor = self.extractor(group)
        if present_B is None or bool(present_B.all()):
            features: Tensor = extractor(x_BCT)
            return features
        h_BD = x_BCT.new_zeros(len(x_BCT), extractor.width)
        if bool(present_B.any()) or self.synced:
            found: Tensor = extractor(x_BCT[present_B])
            h_BD = h_BD.to(found.dtype).index_put((present_B.nonzero()[:, 0],), found)
        return h_BD
