"""Ray's own launcher, as a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.cluster.ec2 import refusal_in
from orchestrator.cluster.machine_folder import guard_launcher_here
from orchestrator.cluster.ray_config import SETTINGS
from orchestrator.cluster.state import ClusterState
from orchestrator.errors import SetupError
from orchestrator.store.decoding import json_object

_LAUNCH_S = 1200.0
_LAST_LINES = 30
_FILE = "ray.yaml"  # JSON is YAML


def ray_up(
    config: Mapping[str, Any],
    state: ClusterState,
    token_file: Path,
    settings: Mapping[str, str],
    *,
    restart: bool = True,
) -> None:
    """Run ``ray up``, with its output in the cluster's log.

    Parameters
    ----------
    config : mapping
        As :func:`orchestrator.cluster.ray_config.ray_config` gives it.
    state : ClusterState
    token_file : Path
    settings : mapping
        Further environment of the launcher.
    restart : bool
        Start Ray on the head, and end one that runs there.

    Raises
    ------
    CloudError
        EC2 refused something.
    SetupError
        It failed otherwise, or another user could come between it and the machines.
    """
    guard_launcher_here()
    file = state.folder / _FILE
    file.write_text(json.dumps(config, indent=1), encoding="utf-8")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment = {
        **kept,
        **SETTINGS,
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        # Ray keeps there what it knows of a cluster's head; ours is forgotten with the cluster.
        "RAY_TMPDIR": str(state.folder),
        **settings,
    }
    command = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "up",
        "-y",
        "--no-config-cache",
        *(() if restart else ("--no-restart",)),
        str(file),
    ]
    before = state.log_file.stat().st_size if state.log_file.exists() else 0
    try:
        with state.log_file.open("ab") as log:
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=_LAUNCH_S,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise SetupError(
            f"Ray's launcher did not end within {_LAUNCH_S:g} s. Its output is in {state.log_file}."
        ) from None
    if done.returncode != 0:
        said = state.log_file.read_bytes()[before:].decode(errors="replace")
        # Further up may be refusals of subnets, after which it has found another one.
        raise refusal_in("\n".join(said.splitlines()[-_LAST_LINES:])) or SetupError(
            f"Ray's launcher failed: {state.last_words()}. All of its output is in {state.log_file}."
        )


def launched_config(state: ClusterState) -> dict[str, Any]:
    """Return what Ray's launcher was given last."""
    file = state.folder / _FILE
    return json_object(file.read_bytes(), str(file))
