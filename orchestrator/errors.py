"""Every error of ours, and the exit code each one ends a command with.

::

    OrchestratorError                1  (never raised itself)
    |- ConfigError                   2  a file, key, flag or name the user wrote
    |- DataError                     3  recordings or artefacts that cannot be used
    |  |- RecordingError             3  one recording; ingest quarantines it and goes on
    |  |  `- MissingChannelError     3  it lacks a channel
    |  `- FeatureMismatchError       3  features of different encoders; also a ValueError
    |- IntegrityError                4  label ledger, leakage, a hash that does not fit, a damaged file of a store
    |  `- ReplayError                4  a sweep whose record its own configuration does not give again
    |- SolverError                   5  an optimal-transport problem that did not converge
    |- StoreUnreachableError         6  bucket, endpoint or credentials
    |- ClusterUnreachableError       6  nobody answers at the address of a Ray cluster
    |- CloudError                    6  a provider of machines refuses, or has none
    |  `- RemainsError               6  something of a cluster that was ended is still there
    |- SetupError                    7  permissions, versions, a missing program
    |- SweepFailedError              8  every trial failed, or the failure quota was reached
    `- InterruptedSweepError       130  stopped by the user; can be resumed
       `- TerminatedSweepError     130  stopped by SIGTERM or SIGHUP: a machine that goes down, a job that was stopped

A message is one paragraph: what happened, to which recording or trial, the value, what is allowed and
what to do. The command line prints it without a traceback (``--debug`` shows one). Anything that is not an
``OrchestratorError`` is a bug of ours and ends with exit code 1.
"""

from collections.abc import Sequence


class OrchestratorError(Exception):
    """Base of all errors that a user can act on."""

    exit_code = 1


class ConfigError(OrchestratorError):
    """A configuration file, option or name is wrong."""

    exit_code = 2


class DataError(OrchestratorError):
    """Recordings or stored artefacts cannot be used."""

    exit_code = 3


class RecordingError(DataError):
    """One recording cannot be ingested; it is quarantined and the others go on.

    Parameters
    ----------
    reason : str
        Short stable code, written to the manifest: ``not_edf``, ``truncated``, ``missing_channel``, ...
    message : str
        One sentence for a person.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(
            reason, message
        )  # both, so that the error survives a trip between processes
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


class MissingChannelError(RecordingError):
    """A recording lacks a channel; the reason is ``missing_channel``.

    Parameters
    ----------
    message : str
        One sentence for a person.
    wanted : sequence of str
        Names that the channel may have.
    labels : sequence of str
        Names of the channels that there are.
    """

    def __init__(self, message: str, wanted: Sequence[str], labels: Sequence[str]) -> None:
        super().__init__("missing_channel", message)
        self.args = (message, wanted, labels)  # as above
        self.wanted = tuple(wanted)
        self.labels = tuple(labels)


class FeatureMismatchError(DataError, ValueError):
    """Two feature clouds differ in ``feature_dim``: they came from different encoders or layers."""


class IntegrityError(OrchestratorError):
    """Labels were read that must not be read, or stored content is damaged or does not match its hash."""

    exit_code = 4


class ReplayError(IntegrityError):
    """A replay gave something else than the sweep recorded: its numbers do not follow from its configuration."""


class SolverError(OrchestratorError):
    """An optimal-transport problem did not converge; no value is better than a wrong one."""

    exit_code = 5


class StoreUnreachableError(OrchestratorError):
    """The store, its bucket or its endpoint cannot be reached, or refuses the credentials."""

    exit_code = 6


class ClusterUnreachableError(OrchestratorError):
    """Nobody answers where a Ray cluster is said to be."""

    exit_code = 6


class CloudError(OrchestratorError):
    """A provider of machines refuses a request, or has no machine to give."""

    exit_code = 6


class RemainsError(CloudError):
    """Something of a cluster that was ended is still there, and may be billed."""


class SetupError(OrchestratorError):
    """The machine is not set up for the command: permissions, versions, missing programs."""

    exit_code = 7


class SweepFailedError(OrchestratorError):
    """Every trial of a sweep failed, or more of them than the quota allows."""

    exit_code = 8


class InterruptedSweepError(OrchestratorError):
    """The user stopped the sweep; the same command continues it."""

    exit_code = 130


class TerminatedSweepError(InterruptedSweepError):
    """A signal stopped the sweep, perhaps because its machine goes down; the same command continues it."""
