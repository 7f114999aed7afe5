"""Stages as integer codes, one a line."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from orchestrator.config.fields import StageLabel
from orchestrator.psg.epoch_grid import EPOCH_S
from orchestrator.psg.file_names import Glob
from orchestrator.psg.stages.format import StageFormat, StageSource

if TYPE_CHECKING:
    from orchestrator.psg.hypnogram import Hypnogram


def _epoch_length(value: int) -> int:
    if value <= 0 or value % EPOCH_S:
        raise PydanticCustomError(
            "not_an_epoch",
            "must be a multiple of {epoch_s}: other scores cannot be cut into {epoch_s}-s epochs",
            {"epoch_s": EPOCH_S},
        )
    return value


class StagesFromCodes(StageFormat):
    """Stages are integer codes, one a line, in a text file next to the recording."""

    source: Literal["codes"] = Field(alias="from")
    """Written ``from: codes``."""
    file: Glob
    """Glob in the folder of the recording; may hold ``{stem}`` and ``{key}``."""
    codes: Annotated[dict[int, StageLabel], Field(min_length=1)]
    """Code to stage or ``unscored``; any other code in a file is an error of that recording."""
    epoch_s: Annotated[int, AfterValidator(_epoch_length)] = EPOCH_S
    """Seconds that one line stands for."""

    def read(self, given: StageSource) -> "Hypnogram":
        """Return the stages of a recording, see :meth:`StageFormat.read`; `labels` play no part."""
        from orchestrator.psg import hypnogram  # here: reading a data-set file needs no MNE

        assert given.content is not None, "`file` is required"
        return hypnogram.from_codes(
            given.content.decode("latin-1"),
            {str(code): stage for code, stage in self.codes.items()},
            given.duration_s,
            epochs_per_code=self.epoch_s // EPOCH_S,
            beyond_signal=given.beyond_signal,
        )

    def identity(self) -> dict[str, Any]:
        """Return what the id of an ingested recording depends on, as it has been since 0.1."""
        return {
            "codes": {str(code): stage for code, stage in self.codes.items()},
            "epochs_per_code": self.epoch_s // EPOCH_S,
        }
