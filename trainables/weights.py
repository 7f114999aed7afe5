"""Trained networks as bytes and back: weights with all that is needed to build the network again."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from trainables import checkpoint
from trainables.errors import CheckpointError
from trainables.models.mrcnn import StageClassifier
from trainables.multimodal import SleepMG
from trainables.selective import build_model
from trainables.settings import EncoderSettings, NetworkSettings, SleepMGSettings


def classifier_to_bytes(model: StageClassifier, encoder: EncoderSettings, n_channels: int) -> bytes:
    """Return an MRCNN encoder with its head as a safetensors file; equal weights give equal bytes."""
    about = {"encoder": json.dumps(asdict(encoder)), "n_channels": str(n_channels)}
    return checkpoint.to_bytes(model.state_dict(), about)


def classifier_from_bytes(blob: bytes) -> StageClassifier:
    """Build what `classifier_to_bytes` wrote, in evaluation mode.

    Raises
    ------
    CheckpointError
        The bytes are damaged, or of another network.
    """
    state, about = checkpoint.from_bytes(blob)
    _require(about, "encoder", "n_channels")
    with _of_this_network():
        encoder = EncoderSettings(**json.loads(about["encoder"]))
        model = build_model(encoder, n_channels=int(about["n_channels"]))
        model.load_state_dict(state)
    return model.eval()


def sleepmg_to_bytes(
    model: SleepMG, settings: SleepMGSettings, n_channels: Mapping[str, int], n_domains: int
) -> bytes:
    """Return a network of SleepMG as a safetensors file; equal weights give equal bytes.

    Parameters
    ----------
    model : SleepMG
    settings : SleepMGSettings
        That it was trained with.
    n_channels : mapping of str to int
        Of each modality, in the order of the network.
    n_domains : int
        Training subjects or groups, whether or not there is a discriminator.
    """
    about = {
        "settings": json.dumps(asdict(settings)),
        "n_channels": json.dumps(dict(n_channels)),
        "n_domains": str(n_domains),
    }
    return checkpoint.to_bytes(model.state_dict(), about)


def sleepmg_from_bytes(blob: bytes) -> SleepMG:
    """Build what `sleepmg_to_bytes` wrote, in evaluation mode.

    Raises
    ------
    CheckpointError
        The bytes are damaged, or of another network.
    """
    state, about = checkpoint.from_bytes(blob)
    _require(about, "settings", "n_channels", "n_domains")
    with _of_this_network():
        settings = json.loads(about["settings"])
        has_discriminator = settings["adversary"]["enabled"]
        model = SleepMG(
            json.loads(about["n_channels"]),
            n_domains=int(about["n_domains"]) if has_discriminator else 0,
            settings=NetworkSettings(**settings["network"]),
        )
        model.load_state_dict(state)
    return model.eval()


@contextlib.contextmanager
def _of_this_network() -> Iterator[None]:
    """Say that weights are of another network, or of a later version, whose settings are not known here."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        problem = " ".join(str(error).split())
        raise CheckpointError(
            f"the safetensors file holds a network that cannot be built here: {type(error).__name__}: {problem}"
        ) from error


def _require(about: Mapping[str, str], *names: str) -> None:
    missing = [name for name in names if name not in about]
    if missing:
        raise CheckpointError(
            f"the safetensors file does not say its {', '.join(missing)}, so it holds another network."
        )
