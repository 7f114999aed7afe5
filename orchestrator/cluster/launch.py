"""Start and end a cluster, whoever's machines it runs on."""

import os
from collections.abc import Callable
from typing import Protocol

from orchestrator.cluster.state import ClusterState, Running
from orchestrator.cluster.this_machine import OnThisMachine
from orchestrator.config.cluster import ClusterFile, ThisMachine
from orchestrator.errors import RemainsError, SetupError

Say = Callable[[str], None]


class Provider(Protocol):
    """Machines that a cluster runs on."""

    def start(self) -> Running:
        """Start what is missing and wait for its job server; note in the state where it is, as soon as that is known.

        Raises
        ------
        SetupError
            It did not come up; the caller ends what there is of it.
        """

    def is_up(self) -> bool:
        """Tell whether the cluster that was launched from here still runs."""

    def end(self) -> bool:
        """End all of the cluster, and nothing else; return whether there was anything."""

    def remaining(self) -> list[str]:
        """Return what is still there, and may cost, named so that a person finds it."""


def launch_cluster(cluster: ClusterFile, file: str, say: Say) -> None:
    """Launch a cluster, or say that it is up. A launch that fails leaves nothing running.

    Parameters
    ----------
    cluster : ClusterFile
    file : str
        As the user called it, for what to type next.
    say : callable
        Takes a line.

    Raises
    ------
    SetupError
        It did not come up.
    RemainsError
        It did not, and something of it could not be ended.
    """
    state = ClusterState.of(cluster.cluster_name)
    provider = provider_of(cluster, state)
    if provider.is_up():
        running = state.running()
        assert running is not None
        say(f"{cluster.cluster_name} is up since {running.launched_at}; nothing was changed")
    else:
        state.clean()
        try:
            running = provider.start()
        except BaseException:
            provider.end()
            remaining = provider.remaining()
            if remaining:
                raise RemainsError(_remains(cluster, remaining)) from None
            raise
        ends = f"; it ends at {running.ends_at}" if running.ends_at else ""
        say(f"{cluster.cluster_name} is up{ends}")
    say(f"dashboard  {running.address} (its token is in {state.token_file})")
    say(f"next       orchestrator submit SWEEP --cluster {file}")
    say(f"in the end orchestrator down {file}")


def reachable(cluster: ClusterFile) -> str:
    """Return the address of a cluster's job server, and have this process use the cluster's token.

    Raises
    ------
    SetupError
        It was not launched from here, or has ended.
    """
    state = ClusterState.of(cluster.cluster_name)
    running = state.running()
    if running is None or not provider_of(cluster, state).is_up():
        raise SetupError(
            f"cluster {cluster.cluster_name!r} does not run, as far as this machine knows. Launch it first."
        )
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(state.token_file)
    os.environ.pop("RAY_AUTH_TOKEN", None)
    return running.address


def end_cluster(cluster: ClusterFile, *, verify: bool, say: Say) -> None:
    """End a cluster; with `verify`, ask afterwards what is still there.

    Raises
    ------
    RemainsError
        Something is.
    """
    state = ClusterState.of(cluster.cluster_name)
    provider = provider_of(cluster, state)
    ended = provider.end()
    remaining = provider.remaining() if verify else []
    if remaining:
        raise RemainsError(_remains(cluster, remaining))
    state.forget()
    say(
        f"{cluster.cluster_name} {'has ended' if ended else 'was not running; nothing was changed'}"
    )
    if verify:
        say("verified: nothing of it is left")


def provider_of(cluster: ClusterFile, state: ClusterState) -> Provider:
    """Return what starts and ends a cluster."""
    match cluster.provider:
        case ThisMachine() as provider:
            return OnThisMachine(provider, cluster.orchestrator.ttl_hours, state)
        case LocalProvider() as provider:
            return OverSsh(cluster, provider, data, state, wheel)
        case AwsProvider() as provider:
            return OnAws(cluster, provider, data, state, wheel)


def _remains(cluster: ClusterFile, remaining: list[str]) -> str:
    return (
        f"of cluster {cluster.cluster_name!r} there is still: {', '.join(remaining)}. End it by hand, or try "
        "'orchestrator down' again."
    )
