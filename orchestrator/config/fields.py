"""Kinds of value that the data set and sweep files share: names, stages, modalities."""

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from orchestrator.config.validation import not_allowed
from trainables.stages import STAGE_NAMES, UNSCORED, Stage

Modality = Literal["eeg", "eog", "emg", "ecg"]
"""A kind of signal; one tensor column of the epoch store."""

MODALITIES: tuple[Modality, ...] = get_args(Modality)
"""All of them, in the order in which the epoch store writes them."""

_UNSCORED_NAME = "unscored"


def _slug(value: str) -> str:
    if not value or value.strip("abcdefghijklmnopqrstuvwxyz0123456789-_.") or value[0] in "-_.":
        raise PydanticCustomError(
            "not_a_slug",
            "it becomes a folder name: use a-z, 0-9, '-', '_' and '.', first a letter or digit",
        )
    return value


def _stage(value: Any) -> Stage:
    if value not in STAGE_NAMES:
        raise not_allowed(value, STAGE_NAMES)
    return Stage[value]


def _label(value: Any) -> int:
    if value == _UNSCORED_NAME:
        return UNSCORED
    if value not in STAGE_NAMES:
        raise not_allowed(value, (*STAGE_NAMES, _UNSCORED_NAME))
    return Stage[value]


def _label_name(value: int) -> str:
    return _UNSCORED_NAME if value == UNSCORED else Stage(value).name


Slug = Annotated[str, AfterValidator(_slug)]
"""A name that is also a folder in the store."""

StageName = Annotated[
    Stage,
    PlainValidator(_stage),
    PlainSerializer(lambda stage: stage.name),
    WithJsonSchema({"enum": list(STAGE_NAMES)}),
]
"""A ``Stage``, written by name in YAML: W, N1, N2, N3 or REM."""

StageLabel = Annotated[int, PlainValidator(_label), PlainSerializer(_label_name)]
"""A stage value or ``UNSCORED``, written by name in YAML: W, N1, N2, N3, REM or unscored."""

Text = Annotated[str, Field(min_length=1)]
"""Text that is not empty."""
