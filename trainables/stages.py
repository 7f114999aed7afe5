"""Sleep stages, and the annotation texts that scorers write for them."""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType


class Stage(IntEnum):
    """The five AASM stages; the value is the index in every tensor, matrix and file."""

    W = 0
    N1 = 1
    N2 = 2
    N3 = 3
    REM = 4


STAGE_NAMES: tuple[str, ...] = tuple(stage.name for stage in Stage)
"""Names in index order: ``("W", "N1", "N2", "N3", "REM")``."""

UNSCORED = -1
"""Stands where an epoch has no stage; never an index."""

ANNOTATION_STAGES: Mapping[str, int] = MappingProxyType(
    {
        "Sleep stage W": Stage.W,
        # Rechtschaffen & Kales: S3 and S4 are one stage, N3, in the AASM manual of 2007.
        "Sleep stage 1": Stage.N1,
        "Sleep stage 2": Stage.N2,
        "Sleep stage 3": Stage.N3,
        "Sleep stage 4": Stage.N3,
        "Sleep stage R": Stage.REM,
        # AASM
        "Sleep stage N1": Stage.N1,
        "Sleep stage N2": Stage.N2,
        "Sleep stage N3": Stage.N3,
        # The AASM manual has no movement time, and R&K gives it no stage.
        "Sleep stage ?": UNSCORED,
        "Movement time": UNSCORED,
    }
)
"""EDF+ annotation text -> stage value, for both scoring manuals; any other text is not a stage."""
