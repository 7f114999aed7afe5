"""The cluster that ``RAY_ADDRESS`` names: whether it answers, and lets this process in.

Ray itself would try for minutes, and end in a traceback or an abort.
"""

import os
import time

from orchestrator.errors import ClusterUnreachableError, ConfigError, SetupError

ANSWER_S = 5.0
"""How long a cluster may take to answer: its head may be starting."""

_PAUSE_S = 0.5
_CLIENT = "ray://"
_NONE = ("", "local")
"""What Ray takes for a session of one's own, too."""

_REMEDY = (
    "Give the address of a cluster that is up, or unset RAY_ADDRESS: a command then starts Ray for itself on this "
    "machine."
)

_IS_ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
_HEALTH = "/grpc.health.v1.Health/Check"


def cluster_address() -> str | None:
    """Return the address of the cluster that the environment names; None where a command starts Ray for itself."""
    address = os.environ.get("RAY_ADDRESS", "")
    return None if address in _NONE else address


def check_answers(address: str, *, patience_s: float = ANSWER_S) -> None:
    """See that a cluster answers, and takes the token of this process.

    Parameters
    ----------
    address : str
        ``host:port`` of a cluster, ``ray://host:port`` of its server for clients, or ``auto`` for the cluster that runs
        on this machine.
    patience_s : float
        Seconds to wait for an answer.

    Raises
    ------
    ConfigError
        It is no address.
    ClusterUnreachableError
        Nobody answers there.
    SetupError
        The cluster does not let this process in.
    """
    target = _target(address)
    refusal = _ask(target, is_client=address.startswith(_CLIENT), patience_s=patience_s)
    if refusal:
        raise ClusterUnreachableError(
            f"no Ray cluster answers at RAY_ADDRESS={address} within {patience_s:g} s ({refusal}). {_REMEDY}"
        )


def _target(address: str) -> str:
    """Return the host and the port that an address means."""
    from ray._private.services import canonicalize_bootstrap_address

    found: str = address.removeprefix(_CLIENT)
    try:
        if found == address:
            found = canonicalize_bootstrap_address(address) or ""
    except ConnectionError as error:  # of `auto`
        raise ClusterUnreachableError(
            f"RAY_ADDRESS={address}, and no Ray cluster runs on this machine. {_REMEDY}"
        ) from error
    except ValueError:
        found = ""
    host, _, port = found.rpartition(":")
    if not (host and port.isdecimal()):
        raise ConfigError(
            f"RAY_ADDRESS={address} is no address of a Ray cluster, such as 10.0.0.1:6379. {_REMEDY}"
        )
    return found


def _ask(target: str, *, is_client: bool, patience_s: float) -> str:
    """Return what is wrong with a server's answer; empty if it is one."""
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.exceptions import AuthenticationError

    problem = "silence"
    deadline = time.monotonic() + patience_s
    with init_grpc_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary(_HEALTH if is_client else _IS_ALIVE)
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                ask(b"", timeout=left_s)
                return ""
            except AuthenticationError as error:
                raise SetupError(_no_entry(target)) from error
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                    raise SetupError(_no_entry(target)) from error
                if error.code() is grpc.StatusCode.UNIMPLEMENTED and is_client:
                    return ""  # it speaks gRPC, and need not know this question
                if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    problem = " ".join(str(error.details()).rpartition("last error: ")[2].split())
                time.sleep(min(_PAUSE_S, max(0.0, deadline - time.monotonic())))
    return problem


def _no_entry(target: str) -> str:
    return (
        f"the Ray cluster at {target} wants a token, and got another one or none. Set RAY_AUTH_MODE=token, and "
        "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to what the head of the cluster was started with."
    )
