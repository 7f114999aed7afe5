"""``model.json``: what a kept model is, what it needs of a recording, and what is known of its worth."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from orchestrator.errors import IntegrityError
from orchestrator.psg.feed import Scale
from orchestrator.store.decoding import Kinds, damaged, json_object
from trainables.stages import STAGE_NAMES

FORMAT = 1
"""Of ``model.json``; raised where its content changes meaning."""

FILE = "model.json"

_KINDS: Kinds = {
    "format": int,
    "name": str,
    "method": str,
    "network": str,
    "modalities": list,
    "scale": str,
    "clip_spreads": float,
    "preprocessing": dict,
    "stages": list,
    "training": dict,
    "metrics": list,
    "about": dict,
    "versions": dict,
    "files": list,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsFile:
    """One file of weights of a model, which may have several: the model's answer is their mean probability."""

    file: str
    """Name in the folder of the model."""
    sha256: str
    seed: int | None
    fold: int | None
    """Of a cross-validation; None without one."""
    subject: str | None
    """The target subject that it was adapted to, where each has a file of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRecord:
    """Content of ``model.json``."""

    name: str
    """``SWEEP:TRIAL``, or ``encoder ID``."""
    method: str
    network: str
    """A key of :data:`orchestrator.predict.networks.NETWORKS`."""
    modalities: tuple[str, ...]
    """What it needs of a recording, in its order."""
    scale: Scale
    """``recording``: in spreads of each recording; or ``microvolts``."""
    clip_spreads: float
    """Where scaled signals are clipped."""
    preprocessing: Mapping[str, Any]
    """As in the epoch files that it was trained on: names of channels, filters, rate."""
    stages: tuple[str, ...]
    """Those that it can say."""
    training: Mapping[str, Any]
    """Data set, its title, address and licence, and the subjects."""
    metrics: tuple[Mapping[str, Any], ...]
    """Each with its ``split``: what was judged."""
    about: Mapping[str, Any]
    """Settings, tau in every reading, ids: what its method says of it."""
    versions: Mapping[str, str]
    files: tuple[WeightsFile, ...]
    format: int = FORMAT

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subjects whose stages it learned from."""
        return tuple(self.training["subjects"])

    def as_json(self) -> bytes:
        """Return the content of the file; equal records give equal bytes."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()


def record_of(data: bytes, where: str) -> ModelRecord:
    """Return the record in a ``model.json``.

    Parameters
    ----------
    data : bytes
    where : str
        The file: a path or a URI, for errors.

    Raises
    ------
    IntegrityError
        It is damaged, or of a later version.
    """
    stored = json_object(data, where, {"format": int})
    if stored["format"] > FORMAT:
        raise IntegrityError(
            f"{where} has format {stored['format']}, and this version of the program reads {FORMAT} at most: a later "
            "one wrote it. Update sleep-orchestrator."
        )
    stored = json_object(data, where, _KINDS)
    try:
        files = tuple(WeightsFile(**entry) for entry in stored.pop("files"))
        record = ModelRecord(
            **{
                one.name: _plain(stored[one.name])
                for one in fields(ModelRecord)
                if one.name in stored
            },
            files=files,
        )
    except TypeError as error:
        raise damaged(where, f"its entries are not those of a model ({error})") from None
    if record.scale not in get_args(Scale):
        raise damaged(where, f"its 'scale' is {record.scale!r}")
    if not files or set(record.stages) - set(STAGE_NAMES):
        raise damaged(where, "it names no file of weights, or a stage that there is not")
    return record


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
