"""The wheel of this program that a cluster's machines install."""

import shutil
import subprocess
import sys
from pathlib import Path

from orchestrator.config.cluster import ClusterFile
from orchestrator.errors import ConfigError, SetupError


def make_wheel(cluster: ClusterFile, folder: Path) -> Path | None:
    """Put the wheel of a cluster that is to be launched where :func:`launched_wheel` finds it.

    Parameters
    ----------
    cluster : ClusterFile
    folder : Path
        Of what is known here of the cluster.

    Returns
    -------
    Path or None
        A copy of the one that the file names, or one built from the sources; None where machines have the program.

    Raises
    ------
    ConfigError
        The file names none, and this program does not run from its sources.
    SetupError
        It cannot be built.
    """
    wheels = folder / "wheel"
    shutil.rmtree(wheels, ignore_errors=True)
    options = cluster.orchestrator
    if not options.install:
        return None
    wheels.mkdir(parents=True)
    if options.wheel is not None:
        return Path(shutil.copy(Path(options.wheel).expanduser().resolve(), wheels))
    root = Path(__file__).parents[2]
    if not (root / "pyproject.toml").exists():
        raise ConfigError(
            "orchestrator.wheel: name the file of the wheel that the machines are to install; it can only be built "
            "from the sources, and this program runs without them."
        )
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), str(root))
    done = subprocess.run(
        [sys.executable, *build],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    wheel = launched_wheel(folder)
    if done.returncode != 0 or wheel is None:
        raise SetupError(f"the wheel cannot be built: {' '.join(done.stderr.split())[-300:]}")
    return wheel


def launched_wheel(folder: Path) -> Path | None:
    """Return the wheel that a cluster was launched with: machines that join later are to run what the others do."""
    return next((folder / "wheel").glob("*.whl"), None)
