"""Where a channel sits, read from its name, and what it therefore sees of the sources of a made-up recording.

Sources are what C3 sees of them, so a channel there sees each of them unchanged. The further a channel is to the
front, the more it has of slow waves, K-complexes and blinks; to the back, of alpha; spindles are strongest in between
(De Gennaro & Ferrara, Sleep Med Rev 7, 2003; Finelli et al., Eur J Neurosci 13, 2001). The background, and how each
rhythm wanders within a stage, are the less the same the further a channel is from C3. The numbers are ours.
"""

import math
import re
from dataclasses import dataclass

# From the back of the head (-1) to the front (1), by the letters of the 10-20 and 10-10 systems.
_FRONTAL = {
    "fp": 1.0, "af": 0.8, "f": 0.6, "fc": 0.3, "ft": 0.3, "c": 0.0, "t": 0.0,
    "cp": -0.3, "tp": -0.3, "p": -0.6, "po": -0.8, "o": -1.0,
}  # fmt: skip
_ELECTRODE = re.compile(
    rf"(?:eeg[\s_-]*)?({'|'.join(sorted(_FRONTAL, key=len, reverse=True))})(z|\d{{1,2}})", re.I
)
_LEFT_EYE = re.compile(r"(?:eog[\s_-]*)?(e1|l)", re.I)
_RIGHT_EYE = re.compile(r"(?:eog[\s_-]*)?(e2|r)", re.I)

_COHERENCE_LENGTH = 0.5
"""Distance at which 1/e of what is local is still shared; ear to ear is 2."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A place on the head."""

    lateral: float
    """From the left ear (-1) to the right one (1)."""
    frontal: float
    """From the back of the head (-1) to the front (1)."""


REFERENCE = Site(lateral=-0.5, frontal=0.0)
"""C3."""


def scalp_site(label: str) -> Site:
    """Return where the first electrode of an EEG derivation sits; a name that says nothing is taken for Cz.

    Examples
    --------
    >>> scalp_site("EEG Fp1-LER")
    Site(lateral=-0.25, frontal=1.0)
    >>> scalp_site("EEG") == scalp_site("Cz")
    True
    """
    match = _ELECTRODE.match(label.strip())
    if match is None:
        return Site(lateral=0.0, frontal=0.0)
    letters, number = match[1].lower(), match[2].lower()
    frontal = _FRONTAL[letters]
    if letters + number in {"t5", "t6"}:  # older names of P7 and P8
        frontal = _FRONTAL["p"]
    if number == "z":
        return Site(lateral=0.0, frontal=frontal)
    outwards = 1.0 if letters == "t" else min(1.0, 0.25 * math.ceil(int(number) / 2))
    return Site(lateral=outwards if int(number) % 2 == 0 else -outwards, frontal=frontal)


def eye_side(label: str, index: int) -> int:
    """Return 1 for the left eye and -1 for the right one; eyes without a side take turns.

    Both electrodes see an eye movement with opposite signs, as with the placements of the AASM manual.
    """
    if _LEFT_EYE.match(label.strip()):
        return 1
    if _RIGHT_EYE.match(label.strip()):
        return -1
    return 1 if index % 2 == 0 else -1


def weight(source: str, site: Site) -> float:
    """Return the amplitude of an EEG source at a site, relative to C3; at any central site it is 1."""
    frontal = site.frontal
    match source:
        case "slow":
            return math.exp(0.3 * frontal)
        case "k_complexes":
            return math.exp(0.4 * frontal)
        case "alpha":
            return math.exp(-0.7 * frontal)
        case "sigma" | "spindles":
            return math.exp(-((frontal / 0.8) ** 2))
        case _:
            return 1.0


def blink_weight(site: Site) -> float:
    """Return the part of a blink in the EOG that an EEG channel sees: half of it at Fp1, none behind the front."""
    return 0.5 * max(0.0, site.frontal) ** 2


def eye_movement_weight(site: Site) -> float:
    """Return the part of a movement in the left EOG that an EEG channel sees: of opposite sign on the right."""
    return -0.8 * max(0.0, site.frontal) * site.lateral


def own_share(site: Site) -> float:
    """Return the share that a channel has for itself in all that is local: 0 at C3, more with distance."""
    distance = math.hypot(site.lateral - REFERENCE.lateral, site.frontal - REFERENCE.frontal)
    return 1 - math.exp(-distance / _COHERENCE_LENGTH)
