"""``model.json``: what a kept model is, what it needs of a recording, and what is known of its worth."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, get_args

from orchestrator.config.fields import MODALITIES
from orchestrator.errors import IntegrityError
from orchestrator.psg.feed import Scale
from orchestrator.store.decoding import Kinds, damaged, json_object
from orchestrator.store.store import sha256
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
    "sha256": str,
}

_OF_FILE: Kinds = {
    "file": str,
    "sha256": str,
    "seed": int | None,
    "fold": int | None,
    "subject": str | None,
    "modalities": tuple | None,
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
    modalities: tuple[str, ...] | None = None
    """Those of the model that it has learned, where its training recordings lacked one: of the others it knows nothing,
    and is not given them. None, which is not written: all."""

    def seen(self, modality: str) -> bool:
        """Whether it has learned from a modality of the model."""
        return self.modalities is None or modality in self.modalities


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
        """Return the content of the file; equal records give equal bytes. Its ``sha256`` is of all the rest."""
        content = json.loads(json.dumps(asdict(self)))  # as it is read back
        for entry in content["files"]:
            if entry["modalities"] is None:
                del entry["modalities"]
        return _text({**content, "sha256": sha256(_text(content))})


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
    if stored.pop("sha256") != sha256(_text(stored)):
        raise damaged(where, "its content does not have the SHA-256 that it names")
    try:
        files = tuple(_weights_file(entry) for entry in stored.pop("files"))
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
    if problem := _problem(record):
        raise damaged(where, problem)
    return record


def _weights_file(entry: Any) -> WeightsFile:
    """Return an entry of the file; TypeError where it is none."""
    read = WeightsFile(**entry)
    return replace(read, modalities=_plain(read.modalities))


def _problem(record: ModelRecord) -> str | None:
    """Return what is wrong with a record that has all its keys."""
    if record.scale not in get_args(Scale):
        return f"its 'scale' is {record.scale!r}; allowed: {', '.join(get_args(Scale))}"
    for key, found, allowed in (
        ("stages", record.stages, STAGE_NAMES),
        ("modalities", record.modalities, MODALITIES),
    ):
        if not found or any(name not in allowed for name in found):
            return f"its {key!r} are {list(found)}; allowed: some of {', '.join(allowed)}"
    if not record.files:
        return "it names no file of weights"
    for entry in record.files:
        wrong = next(
            (k for k, kind in _OF_FILE.items() if not isinstance(getattr(entry, k), kind)), None
        )
        if wrong is not None:
            return f"of one of its files, {wrong!r} is {getattr(entry, wrong)!r}"
        if any(name not in record.modalities for name in entry.modalities or ()):
            return f"of one of its files, 'modalities' are {list(entry.modalities or ())}"
    if not isinstance(record.training.get("subjects"), list | tuple):
        return "its 'training' names no subjects"
    return None


def _text(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode()


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
