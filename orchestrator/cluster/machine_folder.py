"""Where Ray keeps its files on the machines of a cluster: the code of jobs, sockets, logs, what it knows of workers.

Ray opens its folder to every user of a machine, and its launcher talks through sockets at a path that anybody can
guess. The commands here make both lie in folders that only the cluster's user can enter, and refuse what others have
put there. They are for the shells of machines that run Linux.
"""

import contextlib
import getpass
import hashlib
import os
import re
import shutil
import stat
from pathlib import Path

from orchestrator.config.cluster import ClusterFile
from orchestrator.errors import SetupError
from orchestrator.telemetry.private_folder import make_private, risk
from orchestrator.telemetry.session_folder import SOCKET_BYTES_ON_LINUX, SOCKET_OF_A_CLUSTER

_ROOM = SOCKET_BYTES_ON_LINUX - len(f"/tmp/sleep-/ray{SOCKET_OF_A_CLUSTER}")
_SAFE = re.compile(r"[A-Za-z0-9._-]+")

_RAYS_SSH_FOLDER = "/tmp/ray_ssh_"
"""Of Ray's launcher, here and on the head; ten digits of the hash of a user's name follow."""


def ray_tmpdir(cluster: ClusterFile) -> str:
    """Return the ``RAY_TMPDIR`` of a cluster's machines: one for each user, and the same on all, as Ray wants it."""
    assert cluster.auth is not None
    name = f"{cluster.cluster_name}.{cluster.auth.ssh_user}"
    if len(name) > _ROOM or not _SAFE.fullmatch(name):
        key = hashlib.sha256(name.encode()).hexdigest()[:8]
        name = f"{cluster.cluster_name[: _ROOM - 9]}.{key}"
    return f"/tmp/sleep-{name}"


def guard_command(folder: str) -> str:
    """Return a shell command that has Ray use a folder, makes it, and ends its shell where others could enter it."""
    return f"export RAY_TMPDIR={folder}; {_made_private(folder, '077')}"


def guard_launcher_command() -> str:
    """Return a shell command that does the same for the sockets through which a head reaches its workers.

    Ray leaves their folder as the umask has it. If others could write, it is made anew.
    """
    user = "${LOGNAME:-${USER:-$(id -un)}}"  # as Ray finds it
    path = f'{_RAYS_SSH_FOLDER}$(printf %s "{user}" | sha256sum | cut -c1-10)'
    is_open = '[ -n "$(find $sockets -maxdepth 0 -perm /022)" ]'
    anew = f"if {_is_ones_own('$sockets')} && {is_open}; then rm -rf $sockets; fi"
    return f"sockets={path}; {anew}; {_made_private('$sockets', '022')}"


def guard_launcher_here() -> None:
    """Do the same for the sockets through which this machine reaches a head.

    Raises
    ------
    SetupError
        Their folder is another user's, or could be exchanged by others.
    """
    user = hashlib.sha256(getpass.getuser().encode()).hexdigest()[:10]
    folder = Path(f"{_RAYS_SSH_FOLDER}{user}")
    if reason := risk(folder.parent):
        raise SetupError(f"{reason}. Ray's launcher has its sockets there; have it put right.")
    with contextlib.suppress(FileNotFoundError):
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and found.st_mode & 0o022:
            try:
                shutil.rmtree(folder)
            except OSError as error:
                raise SetupError(
                    f"others could write into {folder}, and it cannot be removed: {error}. Have it removed."
                ) from error
    make_private(folder, others_may=0o055)


def look_command(folder: str) -> str:
    """Return a shell command that says why a folder would be refused; it says nothing if it would not be."""
    return (
        f"[ ! -e {folder} ] && [ ! -L {folder} ] || {_is_private(folder, '077')} || {_say(folder)}"
    )


def remove_command(folder: str, cluster_name: str) -> str:
    """Return a shell command that removes a cluster's folder, and that of version 0.1, where they are the user's."""
    former = f"/tmp/sleep-{cluster_name}"
    return (
        f"if {_is_ones_own(folder)}; then rm -rf {folder}; fi; "
        f"if {_is_ones_own(former)} && [ -L {former}/session_latest ]; then rm -rf {former}; fi; true"
    )


def _made_private(path: str, closed: str) -> str:
    made = f"mkdir -m 700 {path} 2>/dev/null"
    return f"{made}; {_is_private(path, closed)} || {{ {_say(path)} >&2; exit 1; }}"


def _is_private(path: str, closed: str) -> str:
    """Tell whether a path is a folder of the user's, without some rights of others, that nobody else can exchange."""
    found = f'find {path} -maxdepth 0 -type d -uid "$(id -u)" ! -perm /{closed} 2>/dev/null'
    above = "find -L /tmp -maxdepth 0 '(' -perm -1000 -o ! -perm /022 ')'"
    return f'{{ [ -n "$({above})" ] && [ -n "$({found})" ]; }}'


def _is_ones_own(path: str) -> str:
    return f"[ -d {path} ] && [ ! -L {path} ] && [ -O {path} ]"


def _say(path: str) -> str:
    found = f'"$(stat --printf "%n is a %F of %U with mode %a, " {path} /tmp 2>&1)"'
    return (
        f'echo {path} must be a folder of "$(id -un)" that nobody else can enter or exchange, because code of jobs '
        f"lies in it. But {found}as others may have made it. Look into it, and have it removed."
    )
