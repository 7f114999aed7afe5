"""Every error that code in ``trainables`` and ``search_spaces`` raises on purpose.

::

    TrainableError (a ValueError)   the caller handed over something that cannot work
    |- SettingsError                a value outside its range, or a name that does not exist
    |- EpochsError                  arrays of epochs, stages or predictions that do not fit
    |- DivergedError                loss or output became NaN or infinite
    `- CheckpointError              bytes that are no checkpoint of ours

    LeaveError                      nothing is wrong: training was asked to leave, and has saved itself
"""


class TrainableError(ValueError):
    """Base of all errors of the packages that compute and declare."""


class SettingsError(TrainableError):
    """A setting has a value that is not allowed; the message names field, value and what is."""


class EpochsError(TrainableError):
    """Epochs, stages or predictions have the wrong shape, values or number."""


class DivergedError(TrainableError):
    """Training or prediction left the finite numbers; this configuration has no result."""


class CheckpointError(TrainableError):
    """Bytes cannot be read as a checkpoint."""


class LeaveError(Exception):
    """Training was asked to leave this machine, and can go on elsewhere from its last checkpoint."""
