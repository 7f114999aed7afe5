"""Start and end a cluster, whoever's machines it runs on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from orchestrator.cluster.health import check_health, use_token
from orchestrator.cluster.interruption import undisturbed
from orchestrator.cluster.job_server import get
from orchestrator.cluster.on_aws import OnAws
from orchestrator.cluster.over_ssh import OverSsh
from orchestrator.cluster.state import ClusterState, Running
from orchestrator.cluster.this_machine import OnThisMachine
from orchestrator.config.cluster import AwsProvider, ClusterFile, LocalProvider, ThisMachine
from orchestrator.errors import ConfigError, OrchestratorError, RemainsError, SetupError

Say = Callable[[str], None]


_OURS = frozenset({("orchestrator", "store")})
"""Keys that no machine knows."""


class Provider(Protocol):
    """Machines that a cluster runs on."""

    @property
    def python(self) -> str:
        """How the machines call Python."""

    def start(self) -> Running:
        """Start what is missing, and wait for the machines to join; note in the state where it is.

        Raises
        ------
        CloudError, SetupError
            It did not come up; the caller ends what there is of it.
        """

    def check(self) -> None:
        """Ask whoever has the machines what stands against a launch; nothing is started.

        Raises
        ------
        CloudError, SetupError
            Something does.
        """

    def is_up(self) -> bool:
        """Tell whether the cluster that was launched from here still runs; connect to it anew where that is needed.

        Raises
        ------
        CloudError, SetupError
            It may run, but is not reached.
        """

    def can_change(self, key: tuple[str, ...]) -> bool:
        """Tell whether a key of the file, given by its path, can be changed while the cluster runs."""

    def update(self) -> None:
        """Have the cluster that runs take up what has changed in its file."""

    def run(self, command: Sequence[str]) -> int:
        """Run a command on the head, in this terminal, and return its exit code."""

    def hand_over(self, values: Mapping[str, str]) -> str:
        """Put environment variables where only the cluster's user reads them; return a shell command that sets them.

        Raises
        ------
        SetupError
            The head is not reached.
        """

    def end(self) -> bool:
        """End all of the cluster, and nothing else; return whether there was anything.

        Raises
        ------
        RemainsError
            Something could not be ended; all else has.
        """

    def remaining(self, *, only_billed: bool = False) -> list[str]:
        """Return what is still there, named so that a person finds it; with `only_billed`, what runs or costs."""


def launch_cluster(cluster: ClusterFile, data: Mapping[str, Any], file: str, say: Say) -> None:
    """Launch a cluster, or have one that is up take up what has changed. A launch that fails leaves nothing running.

    Parameters
    ----------
    cluster : ClusterFile
    data : mapping
        Of the file, as Ray's launcher is to see it.
    file : str
        As the user called it, for what to type next.
    say : callable
        Takes a line.

    Raises
    ------
    CloudError, SetupError
        It did not come up.
    ConfigError
        It is up, and something has changed that cannot while it is.
    RemainsError
        It did not, and something of it could not be ended.
    """
    state = ClusterState.of(cluster.cluster_name)
    with state.launching():
        _launch(cluster, data, state, file, say)


def _launch(
    cluster: ClusterFile, data: Mapping[str, Any], state: ClusterState, file: str, say: Say
) -> None:
    provider = provider_of(cluster, data, state)
    running = state.running()
    if running is not None and provider.is_up():
        running = state.running() or running  # it may have been connected to anew
        done = _update(cluster, data, state, provider)
        say(f"{cluster.cluster_name} is up since {running.launched_at}; {done}")
    else:
        if running is not None:
            provider.end()  # what is left of one that has died
        provider.check()
        state.clean()
        state.log_file.unlink(missing_ok=True)
        state.note_file(data)
        try:
            running = provider.start()
            check_health(running, state.token_file, cluster.orchestrator.store, provider.python)
            state.note(replace(state.running() or running, complete=True))
        except BaseException as error:
            with suppress(OSError):  # the terminal may be gone
                say("the launch failed; ending what there is of it")
            _end_after(error, cluster, provider)
            state.clean()
            raise
        ends = f"; it ends at {running.ends_at}" if running.ends_at else ""
        say(f"{cluster.cluster_name} is up{ends}")
    say(f"dashboard  {running.address}, with the token in {state.token_file}")
    say(f"next       orchestrator submit SWEEP --cluster {file}")
    say(f"in the end orchestrator down {file} --verify")


def _end_after(error: BaseException, cluster: ClusterFile, provider: Provider) -> None:
    """End what a failed launch has left.

    Raises
    ------
    RemainsError
        Something of it is still there, or nobody knows.
    """
    why = str(error) or "The launch was interrupted."
    try:
        with undisturbed():
            provider.end()
            remaining = provider.remaining()
    except RemainsError as remains:
        raise RemainsError(f"{why} {remains}") from error
    except OrchestratorError as unknown:
        raise RemainsError(
            f"{why} What there is of cluster {cluster.cluster_name!r} could not be ended: {unknown} End it with "
            "'orchestrator down --verify' as soon as that can be done."
        ) from error
    if remaining:
        raise RemainsError(f"{why} {_remains(cluster, remaining)}") from error


def _update(
    cluster: ClusterFile, data: Mapping[str, Any], state: ClusterState, provider: Provider
) -> str:
    """Have a cluster take up what has changed in its file, and return what was done."""
    changes = state.changes(data)
    if not changes:
        return "nothing was changed"
    if fixed := [key for key in changes if not (key in _OURS or provider.can_change(key))]:
        raise ConfigError(
            f"{cluster.cluster_name} runs, and {_named(fixed)} cannot be changed while it does. End it with "
            "'orchestrator down', and launch it again; or take the change back."
        )
    running = state.running()
    assert running is not None
    check_health(running, state.token_file, cluster.orchestrator.store, provider.python)
    if not set(changes) <= _OURS:
        provider.update()
    state.note_file(data)
    return f"changed: {_named(changes)}"


def _named(keys: Iterable[tuple[str, ...]]) -> str:
    return ", ".join(".".join(key) for key in keys)


def reachable(cluster: ClusterFile, data: Mapping[str, Any]) -> str:
    """Return the address of a cluster's job server, and have this process use the cluster's token.

    Raises
    ------
    SetupError
        It was not launched from here, or has ended.
    """
    state = ClusterState.of(cluster.cluster_name)
    running = state.running()
    if running is None or not provider_of(cluster, data, state).is_up():
        raise SetupError(
            f"cluster {cluster.cluster_name!r} does not run, as far as this machine knows. Launch it first."
        )
    use_token(state.token_file)
    return (state.running() or running).address


def check_online(cluster: ClusterFile, data: Mapping[str, Any]) -> None:
    """Ask whoever has the machines what stands against a launch; nothing is started.

    Raises
    ------
    CloudError, SetupError
        Something does.
    """
    provider_of(cluster, data, ClusterState.of(cluster.cluster_name)).check()


def run_on_head(cluster: ClusterFile, data: Mapping[str, Any], command: Sequence[str]) -> int:
    """Run a command on a cluster's head, in this terminal, and return its exit code.

    Raises
    ------
    SetupError
        It was not launched from here, or has ended.
    """
    reachable(cluster, data)
    return provider_of(cluster, data, ClusterState.of(cluster.cluster_name)).run(command)


def ray_targets(cluster: ClusterFile, data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return where Prometheus finds the metrics of Ray on a cluster's machines; nothing while it is not reached."""
    state = ClusterState.of(cluster.cluster_name)
    running = state.running()
    try:
        if running is None or not provider_of(cluster, data, state).is_up():
            return []
    except OrchestratorError:  # it may run, and is not reached
        return []
    running = state.running() or running  # it may have been connected to anew
    found: list[dict[str, Any]] = get(running.address, "/api/prometheus/sd", state.token_file) or []
    return found


def end_cluster(cluster: ClusterFile, data: Mapping[str, Any], *, verify: bool, say: Say) -> None:
    """End a cluster; with `verify`, ask afterwards what is still there.

    Raises
    ------
    RemainsError
        Something is.
    """
    state = ClusterState.of(cluster.cluster_name)
    provider = provider_of(cluster, data, state)
    ended = provider.end()
    if verify and (remaining := provider.remaining()):
        raise RemainsError(_remains(cluster, remaining))
    state.forget()
    was = "has ended" if ended else "was not running; nothing was changed"
    say(f"{cluster.cluster_name} {was}")
    if verify:
        say("verified: nothing of it is left")


def provider_of(cluster: ClusterFile, data: Mapping[str, Any], state: ClusterState) -> Provider:
    """Return what starts and ends a cluster.

    Raises
    ------
    ConfigError
        It was launched from here, and the file names another place now.
    """
    if state.running() is not None:
        _check_place(cluster, data, state)
    match cluster.provider:
        case ThisMachine() as provider:
            return OnThisMachine(provider, cluster.orchestrator.ttl_hours, state)
        case LocalProvider() as provider:
            return OverSsh(cluster, provider, data, state)
        case AwsProvider() as provider:
            return OnAws(cluster, provider, data, state)


def _check_place(cluster: ClusterFile, data: Mapping[str, Any], state: ClusterState) -> None:
    before, now = state.launched().get("provider", {}), data["provider"]
    for key in ("type", "region"):
        if before and before.get(key) != now.get(key):
            raise ConfigError(
                f"{cluster.cluster_name} was launched with provider.{key} {before.get(key)}, and the file says "
                f"{now.get(key)}. Take the change back, and end it with 'orchestrator down' first; or give another "
                "cluster_name."
            )


def _remains(cluster: ClusterFile, remaining: list[str]) -> str:
    return (
        f"Of cluster {cluster.cluster_name!r} there is still: {', '.join(remaining)}. End it by hand, or try "
        "'orchestrator down' again."
    )
