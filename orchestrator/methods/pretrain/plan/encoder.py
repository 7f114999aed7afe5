"""What an encoder depends on, and so the id that it is stored under."""

from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.psg.feed import CLIP_SPREADS, StoredRecording
from orchestrator.store.hashing import content_id
from trainables.settings import EncoderSettings, PretrainSettings
from trainables.stages import Stage


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderRequest:
    """Everything that the weights of an encoder depend on: source subjects and settings, and nothing of a target."""

    encoder: EncoderSettings
    pretrain: PretrainSettings
    stages: tuple[Stage, ...]
    modality: str
    seed: int
    train: tuple[StoredRecording, ...]
    early_stop: tuple[StoredRecording, ...]

    @property
    def identity(self) -> dict[str, Any]:
        """The same as plain data, recordings by their content."""
        return {
            "encoder": asdict(self.encoder),
            "pretrain": asdict(self.pretrain),
            "stages": [stage.name for stage in self.stages],
            "modality": self.modality,
            "clip_spreads": CLIP_SPREADS,
            "seed": self.seed,
            "train": [r.epochs_sha256 for r in self.train],
            "early_stop": [r.epochs_sha256 for r in self.early_stop],
        }

    @property
    def encoder_id(self) -> str:
        """Content id: the same inputs give the same encoder, so it can be looked up before it exists."""
        return content_id(self.identity)
