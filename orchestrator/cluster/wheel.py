"""The wheel of this program that a cluster's machines install."""

import subprocess
import sys
from pathlib import Path

import orchestrator
from orchestrator.config.cluster import ClusterFile
from orchestrator.errors import ConfigError, SetupError


def wheel_for(cluster: ClusterFile, folder: Path) -> Path | None:
    """Return the wheel that the file names, or build one in `folder`; None where machines have the program already.

    Raises
    ------
    ConfigError
        The file names none, and this program does not run from its sources.
    SetupError
        It cannot be built.
    """
    options = cluster.orchestrator
    if not options.install:
        return None
    if options.wheel is not None:
        return Path(options.wheel).expanduser().resolve()
    root = Path(orchestrator.__file__).parents[1]
    if not (root / "pyproject.toml").exists():
        raise ConfigError(
            "orchestrator.wheel: name the file of the wheel that the machines are to install; it can only be built "
            "from the sources, and this program runs without them."
        )
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(root),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("sleep_orchestrator-*.whl"), key=lambda path: path.stat().st_mtime)
    if done.returncode != 0 or not wheels:
        raise SetupError(f"the wheel cannot be built: {' '.join(done.stderr.split())[-300:]}")
    return wheels[-1]
