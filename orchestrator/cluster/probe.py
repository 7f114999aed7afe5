"""What a cluster's machine has: ``python -m orchestrator.cluster.probe [STORE]`` runs there, and prints JSON."""

import json
import platform
import secrets
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
            store = Store.open(store_uri, writable=True)
            path = f"probe-{secrets.token_hex(8)}"  # rights to list, write, read and delete are given one by one
            store.write_bytes(path, b"probe")
            store.read_bytes(path)
            store.delete(path)
        except OrchestratorError as error:
            found["store"] = str(error)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
