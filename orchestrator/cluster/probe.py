"""What a cluster's machine has: ``python -m orchestrator.cluster.probe [STORE]`` runs there, and prints JSON."""

import json
import platform
import sys
from importlib.metadata import version


def versions() -> dict[str, str]:
    """Return what must be the same here and there."""
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "Ray": version("ray"),
        "sleep-orchestrator": version("sleep-orchestrator"),
    }


def main(store_uri: str | None) -> None:
    """Print versions, and what is wrong with the store, if one is named and something is."""
    found: dict[str, object] = {"versions": versions(), "store": None}
    if store_uri is not None:
        from orchestrator.errors import OrchestratorError
        from orchestrator.store.store import Store

        try:
            Store.open(store_uri, writable=True)
        except OrchestratorError as error:
            found["store"] = str(error)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
