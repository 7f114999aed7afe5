"""What S3 needs besides pyarrow: a look at the bucket, a conditional write, and patience."""

import itertools
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlparse

from orchestrator.errors import StoreUnreachableError

HINT = (
    "Check AWS_ENDPOINT_URL, AWS_DEFAULT_REGION and the credentials "
    "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or an instance profile)"
)
"""What to look at when a store cannot be used."""

_PATIENCE_S = 60.0
_PATIENCE_DENIED_S = 3.0
_LONGEST_PAUSE_S = 5.0
# As pyarrow and boto3 name what passes: AWS's codes, curl's, and HTTP's.
_OUT_OF_REACH = re.compile(
    r"NETWORK_CONNECTION|SLOW_DOWN|THROTTLING|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|REQUEST_TIMEOUT|SlowDown|"
    r"curlCode|HTTP (429|500|502|503|504)|\((429|500|502|503|504)\)|[Tt]imed? ?out|"
    r"Could not connect|Connection was closed|reset by peer"
)
_DENIED = re.compile(r"ACCESS_DENIED|AccessDenied|HTTP 403|\(403\)")

T = TypeVar("T")


def patiently(
    action: Callable[[], T],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Use S3, again and again while it is out of reach, and raise its last refusal.

    A server that restarts, throttles or loses a connection gets a minute. A denial gets a few seconds, for services
    that throttle with a denial; anything else is final.

    Parameters
    ----------
    action : callable
        May be run several times.
    clock, sleep : callable
        Seconds, for tests.
    """
    began = clock()
    for n_failed in itertools.count():
        try:
            return action()
        except FileNotFoundError:
            raise
        except OSError as error:
            pause = min(_LONGEST_PAUSE_S, 0.2 * 2**n_failed)
            if clock() - began + pause > _patience_s(error):
                raise
            sleep(pause)
    raise AssertionError  # never: there is no last attempt


def _patience_s(error: OSError) -> float:
    """How long S3 is tried again after this error."""
    text = str(error)
    if _OUT_OF_REACH.search(text):
        return _PATIENCE_S
    return _PATIENCE_DENIED_S if _DENIED.search(text) else 0.0


def put_if_absent(full: str, data: bytes) -> bool:
    """Write an S3 object unless there is one: pyarrow has no conditional request."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, key = full.partition("/")
    try:
        client: Any = boto3.client("s3")
        client.put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 412:
            return False
        raise OSError(str(error)) from error
    except BotoCoreError as error:
        raise OSError(str(error)) from error
    return True


def check_bucket(uri: str) -> None:
    """Ask for the bucket with short timeouts: pyarrow alone would retry for about a minute."""
    import boto3  # here: 0.2 s that a local store need not pay
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    bucket = urlparse(uri).netloc
    config = Config(
        connect_timeout=5, read_timeout=5, retries={"max_attempts": 2, "mode": "standard"}
    )
    try:
        client: Any = boto3.client("s3", config=config)
        client.head_bucket(Bucket=bucket)
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        what = {
            404: f"bucket {bucket!r} does not exist. Create it, or correct the name",
            403: f"bucket {bucket!r}: access denied. {HINT}",
            301: f"bucket {bucket!r} is in another region. Set AWS_DEFAULT_REGION",
        }.get(status or 0, one_line(error))
        raise StoreUnreachableError(f"cannot use {uri}: {what}.") from error
    except BotoCoreError as error:
        raise StoreUnreachableError(f"cannot use {uri}: {one_line(error)}. {HINT}.") from error


def one_line(error: Exception) -> str:
    """Return the text of an error without line breaks and without its full stop."""
    return " ".join(str(error).split()).rstrip(".")
