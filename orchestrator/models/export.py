"""A kept model as a folder to hand on: weights, ``model.json``, a card, and ONNX files."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.errors import ConfigError, IntegrityError
from orchestrator.models.card import model_card
from orchestrator.models.record import FILE, ModelRecord
from orchestrator.store.store import Store, sha256
from orchestrator.telemetry.progress import progress

CARD = "README.md"
"""Name of the card, which sites for models and code show."""

_WEIGHTS = ".safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenModel:
    """What :func:`write_export` has done."""

    uri: str
    """Absolute, of the folder."""
    written: tuple[str, ...]
    """Names in it, in the order of writing."""
    n_there: int
    """Files that were there already, with the same content."""


def exported_files(
    record: ModelRecord, files: Mapping[str, bytes], *, onnx: bool = False
) -> Mapping[str, bytes]:
    """Return the content of the folder, by name; ``model.json`` is the last.

    Parameters
    ----------
    record : ModelRecord
    files : mapping of str to bytes
        Name -> weights, all that the record names.
    onnx : bool
        Also an ONNX file of each file of weights, with the same name but for its end.

    Returns
    -------
    mapping of str to bytes
        Equal for equal input and, with ONNX, equal versions of torch, onnx and onnxscript.

    Raises
    ------
    IntegrityError
        A file of weights is missing or not the one that the record describes, or has a name that leads out of the
        folder; or ONNX Runtime says something else than PyTorch.
    SetupError
        ONNX is asked for, and the extra ``onnx`` is not installed.
    """
    for entry in record.files:
        _check_name(record, entry.file)
        if entry.file not in files or sha256(files[entry.file]) != entry.sha256:
            what = "is not the file that" if entry.file in files else "is missing, but"
            raise IntegrityError(
                f"{record.name}: {entry.file} {what} {FILE} names with SHA-256 {entry.sha256}. Export the model from "
                "where it was kept, or train it again."
            )
    weights = {entry.file: files[entry.file] for entry in record.files}
    converted = _onnx_files(record, weights) if onnx else {}
    card = model_card(record, {name: sha256(content) for name, content in converted.items()})
    return {**weights, **converted, CARD: card, FILE: record.as_json()}


def write_export(folder: str, files: Mapping[str, bytes]) -> WrittenModel:
    """Write the files of a model into a folder; its ``model.json`` last, so that it is whole where that is there.

    Parameters
    ----------
    folder : str
        A local one, made if it is missing, or ``s3://bucket/prefix``. Files that are there with the same content are
        left alone, and so are files of other names.
    files : mapping of str to bytes
        As `exported_files` returns them.

    Raises
    ------
    ConfigError
        There are other files of these names; nothing was written then.
    SetupError
        It is a file, or cannot be written to.
    StoreUnreachableError
        The bucket cannot be reached.
    """
    store = Store.open(folder)
    missing = _missing_in(store, files)
    if missing:
        store = Store.open(folder, writable=True)
        for name in missing:
            store.write_bytes(name, files[name])
    return WrittenModel(uri=store.uri, written=tuple(missing), n_there=len(files) - len(missing))


def _onnx_files(record: ModelRecord, weights: Mapping[str, bytes]) -> dict[str, bytes]:
    from orchestrator.models.onnx_file import (  # here: torch takes seconds
        check_installed,
        onnx_file,
    )

    check_installed()
    converted = {}
    with progress("to ONNX", len(record.files)) as advance:
        for entry in record.files:
            name = f"{entry.file.removesuffix(_WEIGHTS)}.onnx"
            converted[name] = onnx_file(record, entry, weights[entry.file])
            advance(name)
    return converted


def _check_name(record: ModelRecord, name: str) -> None:
    """Refuse a name that leads out of the folder: ``model.json`` may come from anywhere."""
    if not name.endswith(_WEIGHTS) or set(name) & set("/\\\0") or name.startswith("."):
        raise IntegrityError(
            f"{record.name}: its {FILE} names weights {name!r}; allowed: names of files ending with {_WEIGHTS}, "
            "without folders. It was not written by this program; do not use it."
        )


def _missing_in(store: Store, files: Mapping[str, bytes]) -> list[str]:
    """Return which files a folder lacks, the record last; refuse one that has others in their places."""
    folders = store.folders("")
    there = {name: store.read_if_there(name) for name in files if name not in folders}
    others = [name for name in files if there.get(name, b"") not in (None, files[name])]
    if others:
        raise ConfigError(
            f"{store.uri} has other files of these names, another model perhaps: {', '.join(others)}. Nothing was "
            "written. Name another folder, or move these away."
        )
    missing = (name for name in files if there[name] is None)
    return sorted(missing, key=lambda name: name == FILE)
