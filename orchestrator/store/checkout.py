"""The commit that a checkout stands at. The build of a wheel runs this file alone, without a library."""

import os
import subprocess
from pathlib import Path

PACKAGES = ("orchestrator", "search_spaces", "trainables")

_PATIENCE_S = 5.0
"""How long git may take, on a slow network disk perhaps."""


def checkout_state(root: Path) -> tuple[str | None, bool | None]:
    """Return the commit of a checkout, and whether its packages hold anything that this commit does not.

    Parameters
    ----------
    root : Path
        Folder of the packages.

    Returns
    -------
    (str or None, bool or None)
        Without a commit where `root` is not the top of a work tree whose commit has the packages, such as an
        environment somewhere in another repository, and where git is absent or refuses. Git may take too long to say
        what has changed; that is None then.
    """
    named = _git(root, "rev-parse", "--show-prefix", "HEAD", f"HEAD:{PACKAGES[0]}/__init__.py")
    if named is None:
        return None, None
    below_top, commit, *_ = named.split("\n")
    if below_top:
        return None, None
    changes = _git(root, "status", "--porcelain", "--untracked-files=normal", "--", *PACKAGES)
    return commit, None if changes is None else bool(changes)


def _git(root: Path, *arguments: str) -> str | None:
    """Return what git prints; None where it cannot tell."""
    # In a hook, git's own variables name the repository that the hook is of.
    environment = {name: of for name, of in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments],  # git status would refresh the index
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")
