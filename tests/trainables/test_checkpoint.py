import pytest
import torch
from safetensors.torch import load, save

from trainables.checkpoint import from_bytes, to_bytes
from trainables.errors import CheckpointError
from trainables.models.mrcnn import StageClassifier

METADATA = {"architecture": "mrcnn", "n_channels": "1", "seed": "7", "müde": "ja"}


def test_roundtrip_gives_the_same_state_and_metadata() -> None:
    state = StageClassifier(n_times=600).state_dict()
    read, metadata = from_bytes(to_bytes(state, METADATA))
    assert metadata == METADATA
    assert read.keys() == state.keys()
    for name, tensor in state.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def test_bytes_depend_on_content_alone() -> None:
    state = {"b": torch.arange(3.0), "a": torch.ones(2, 2), "n": torch.tensor(5)}
    blob = to_bytes(state, METADATA)
    # More than once: the library's own order of metadata changes from call to call.
    for _ in range(20):
        assert to_bytes(dict(reversed(state.items())), dict(reversed(METADATA.items()))) == blob
    assert to_bytes(state, {**METADATA, "seed": "8"}) != blob
    assert to_bytes({**state, "n": torch.tensor(6)}, METADATA) != blob


def test_tensors_may_be_transposed_or_need_gradients() -> None:
    weight = torch.arange(6.0).reshape(2, 3)
    read, _ = from_bytes(to_bytes({"w": weight.T.requires_grad_()}, {}))
    assert torch.equal(read["w"], weight.T)
    read["w"] += 1  # writable


def test_any_safetensors_reader_gets_the_weights() -> None:
    assert torch.equal(load(to_bytes({"w": torch.ones(2)}, METADATA))["w"], torch.ones(2))


def test_damaged_bytes_are_refused() -> None:
    blob = to_bytes({"w": torch.ones(4)}, METADATA)
    for damaged in (b"", blob[:20], blob[:-1], blob + b"x", b"\x80\x04K\x01."):
        with pytest.raises(CheckpointError, match="not a safetensors checkpoint"):
            from_bytes(damaged)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_checkpoint_of_another_program_is_refused(metadata: dict[str, str] | None) -> None:
    with pytest.raises(CheckpointError, match="another program"):
        from_bytes(save({"w": torch.ones(4)}, metadata=metadata))
