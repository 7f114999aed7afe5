"""How large a cluster with an autoscaler can get. Ray does not tell; `orchestrator launch` knows, and a user may."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.errors import ConfigError

GROWS_TO = "ORCHESTRATOR_GROWS_TO"
"""Environment variable: ``CPU:64:8,GPU:8:1`` for 64 CPUs and 8 GPUs in all, of which one machine has 8 and 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Growth:
    """What an autoscaler may bring a cluster to."""

    total: Mapping[str, float]
    """CPUs and GPUs of all machines; infinite where nobody knows."""
    largest: Mapping[str, float]
    """Of the machine that has the most of each."""

    @classmethod
    def here(cls) -> "Growth | None":
        """Return that of the cluster that this process runs in; None where nobody says that it grows.

        Raises
        ------
        ConfigError
            The variable is malformed.
        """
        text = os.environ.get(GROWS_TO, "")
        return cls.parse(text) if text else None

    @classmethod
    def parse(cls, text: str) -> "Growth":
        """Read what `as_text` has written."""
        try:
            parts = [(name, float(n), float(most)) for name, n, most in _fields(text)]
        except ValueError:
            raise ConfigError(
                f"{GROWS_TO} is {text!r}; an example is CPU:64:8,GPU:8:1, for 64 CPUs and 8 GPUs on machines that have "
                "8 and 1."
            ) from None
        return cls(
            total={name: n for name, n, _ in parts}, largest={name: most for name, _, most in parts}
        )

    def as_text(self) -> str:
        """Return it as the environment variable has it."""
        return ",".join(f"{name}:{n:g}:{self.largest[name]:g}" for name, n in self.total.items())


def _fields(text: str) -> Iterator[tuple[str, str, str]]:
    for part in text.split(","):
        name, n, most = part.split(":")
        yield name, n, most
