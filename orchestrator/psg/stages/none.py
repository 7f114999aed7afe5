"""No stages: recordings that nobody has scored."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from orchestrator.config.validation import wrong_key
from orchestrator.psg.stages.format import StageFormat, StageSource

if TYPE_CHECKING:
    from orchestrator.psg.hypnogram import Hypnogram

NONE: Literal["none"] = "none"


class NoStages(StageFormat):
    """No stage is looked for: the recordings are unlabelled. Files write ``stages: none``."""

    source: Literal["none"] = Field(default=NONE, alias="from")
    """Written ``from: none``."""

    @model_validator(mode="after")
    def _nothing_else(self) -> "NoStages":
        for key in sorted(self.model_fields_set - {"source"}):
            raise wrong_key(key, "has no effect, because no stage is looked for; remove it")
        return self

    def read(self, given: StageSource) -> "Hypnogram":
        """Return unscored epochs from the start of the signal."""
        from orchestrator.psg import hypnogram  # here: reading a data-set file needs no MNE

        return hypnogram.unscored(given.duration_s)
