"""Which code made an artefact: recorded beside it, and no part of any id."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from orchestrator.store import paths
from orchestrator.store.checkout import checkout_state
from orchestrator.store.decoding import damaged, read_json
from orchestrator.store.store import Store

KEY = "code"
"""Of ``manifest.json`` and ``encoder.json``."""

BUILT = "orchestrator/commit.json"
"""What a wheel has instead of a repository: the commit that it was built from; ``hatch_build.py`` writes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """The code of a process, as its artefacts record it."""

    commit: str | None
    """Of the checkout, or of the one that the wheel was built from; None where that is not known."""
    dirty: bool | None
    """Whether the packages held anything that the commit does not."""
    trainables_sha256: str
    """See :func:`trainables_sha256`: what decides whether two trainings ran the same code."""

    @property
    def text(self) -> str:
        """The same in a few words."""
        commit = f"commit {self.commit[:10]}" if self.commit else "commit unknown"
        changes = " with changes" if self.dirty else ""
        return f"trainables/ {self.trainables_sha256[:12]} ({commit}{changes})"


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherCode:
    """Encoders whose ``trainables/`` were not those that a sweep began with."""

    encoders: tuple[str, ...]
    """Their ids, sorted."""
    trained_by: Code
    began_with: Code


@cache
def this_code() -> Code:
    """Return the code of this process. To be asked for before a training: files may change under a running one."""
    return code_in(Path(__file__).parents[2])


def code_in(root: Path) -> Code:
    """Return the code of the packages in a folder: a checkout, or where a wheel is installed."""
    built = root / BUILT
    if built.exists():
        content = json.loads(built.read_bytes())
        commit, dirty = content["commit"], content["dirty"]
    else:
        commit, dirty = checkout_state(root)
    return Code(
        commit=commit, dirty=dirty, trainables_sha256=trainables_sha256(root / "trainables")
    )


def trainables_sha256(folder: Path) -> str:
    """Return the SHA-256 of all sources in ``trainables/``, by name and content; the same from a wheel and a checkout.

    In a shell: ``find trainables -name '*.py' | LC_ALL=C sort | xargs sha256sum | sha256sum``.
    """
    found = hashlib.sha256()
    sources = {path.relative_to(folder.parent).as_posix(): path for path in folder.rglob("*.py")}
    for name in sorted(sources):
        found.update(f"{hashlib.sha256(sources[name].read_bytes()).hexdigest()}  {name}\n".encode())
    return found.hexdigest()


def recorded_code(store: Store, path: str) -> Code | None:
    """Return the code that a manifest or ``encoder.json`` records; None where it records none, or is not there.

    Raises
    ------
    IntegrityError
        The file is damaged.
    """
    code = read_json(store, path).get(KEY, {}) if store.exists(path) else {}
    if not isinstance(code, dict):
        raise damaged(store.uri_of(path), f"its {KEY!r} is {code!r}")
    if "trainables_sha256" not in code:
        return None
    kinds = {"commit": str | None, "dirty": bool | None, "trainables_sha256": str}
    for key, kind in kinds.items():
        if not isinstance(code.get(key), kind):
            raise damaged(store.uri_of(path), f"{key!r} of its {KEY!r} is {code.get(key)!r}")
    return Code(
        commit=code.get("commit"),
        dirty=code.get("dirty"),
        trainables_sha256=code["trainables_sha256"],
    )


def encoders_of_other_code(
    store: Store, began_with: Code | None, encoder_ids: Iterable[str]
) -> tuple[OtherCode, ...]:
    """Return which encoders were trained by other code than a sweep began with, those of the same code together.

    Parameters
    ----------
    store : Store
    began_with : Code or None
        What the sweep's manifest records.
    encoder_ids : iterable of str
        Those that record no code are left out; all are where the sweep has none.
    """
    if began_with is None:
        return ()
    trained: defaultdict[Code, list[str]] = defaultdict(list)
    for encoder_id in sorted(set(encoder_ids)):
        code = recorded_code(store, paths.encoder_json(encoder_id))
        if code is not None and code.trainables_sha256 != began_with.trainables_sha256:
            trained[code].append(encoder_id)
    return tuple(
        OtherCode(encoders=tuple(encoders), trained_by=code, began_with=began_with)
        for code, encoders in trained.items()
    )
