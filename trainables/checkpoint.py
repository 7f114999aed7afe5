"""Checkpoints as bytes: safetensors with metadata, the same bytes for the same content.

No files here, and no pickle: a checkpoint from a bucket must not be able to run code.
"""

import json
from collections.abc import Mapping

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from trainables.errors import CheckpointError

# The library writes metadata entries in an order that changes from call to call, so all of ours
# travel in one entry, as JSON with sorted keys.
_ENTRY = "metadata"


def to_bytes(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Serialise a state and its metadata.

    Parameters
    ----------
    state : mapping of str to Tensor
        As ``Module.state_dict()`` gives it.
    metadata : mapping of str to str
        Whatever a reader needs to rebuild the model.

    Returns
    -------
    bytes
        A safetensors file; equal content gives equal bytes, whatever the order of the keys.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    blob: bytes = save(tensors, metadata={_ENTRY: json.dumps(dict(metadata), sort_keys=True)})
    return blob


def from_bytes(blob: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read back what `to_bytes` wrote.

    Returns
    -------
    state, metadata
        Tensors on the CPU, and the metadata.

    Raises
    ------
    CheckpointError
        The bytes are truncated, changed, or written by another program.
    """
    try:
        state: dict[str, Tensor] = load(blob)
    except SafetensorError as error:
        raise CheckpointError(
            f"{len(blob)} bytes are not a safetensors checkpoint: {error}."
        ) from error
    # A file starts with the length of its header (8 bytes, little-endian) and the header itself;
    # ``load`` has checked both.
    header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
    try:
        metadata: dict[str, str] = json.loads(header["__metadata__"][_ENTRY])
    except (KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(
            "the safetensors checkpoint has no metadata of ours, so another program wrote it."
        ) from error
    return state, metadata
