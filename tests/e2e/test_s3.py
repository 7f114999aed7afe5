"""The same commands with a store, and with recordings, on S3: the same bytes, and clear refusals."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, Done, Nights, Result, S3Server, Tiny, Tools

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

BUCKET = "sleep-lab"

Client = Any


@pytest.fixture(scope="module")
def client(s3_server: "S3Server") -> Client:
    """A client of the server, with the test's bucket made."""
    client = s3_server.client
    client.create_bucket(Bucket=BUCKET)
    return client


@pytest.fixture
def s3_cli(cli: "Cli", client: Client, s3_server: "S3Server") -> Iterator[Callable[..., "Result"]]:
    """The command with the server's settings in its environment; watches that it never prints the secret."""
    run = cli.having(**s3_server.env)
    results: list[Result] = []

    def watched(*arguments: str | Path) -> "Result":
        results.append(run(*arguments))
        return results[-1]

    yield watched
    for result in results:
        assert s3_server.secret not in result.out + result.err


def objects(client: Client, prefix: str) -> dict[str, bytes]:
    """Return the content of all objects under a prefix, without the event logs.

    And without the empty ones that Arrow leaves for the folder of a file that it deleted: whether a training writes a
    checkpoint depends on the time it takes.
    """
    found = {}
    for page in client.get_paginator("list_objects_v2").paginate(
        Bucket=BUCKET, Prefix=f"{prefix}/"
    ):
        for item in page.get("Contents", ()):
            name = item["Key"].removeprefix(f"{prefix}/")
            if not name.endswith(("events.jsonl", "/")):
                found[name] = client.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
    return found


def assert_same(found: dict[str, bytes], wanted: dict[str, bytes]) -> None:
    assert sorted(found) == sorted(wanted)
    assert [name for name in wanted if found[name] != wanted[name]] == []


@pytest.mark.full
def test_data_and_store_on_s3_give_the_same_bytes(
    s3_cli: Callable[..., "Result"],
    client: Client,
    tiny: "Tiny",
    tiny_done: "Done",
    tools: "type[Tools]",
) -> None:
    for path in tiny.data.iterdir():
        client.upload_file(str(path), BUCKET, f"recordings/{path.name}")
    data, store = f"s3://{BUCKET}/recordings", f"s3://{BUCKET}/tiny"

    s3_cli("ingest", tiny.dataset, "--data", data, "--store", store).ok()
    first = objects(client, "tiny")
    assert_same(first, tools.tree(tiny_done.store, "epochs"))

    again = s3_cli("ingest", tiny.dataset, "--data", data, "--store", store).ok()
    assert "0 converted, 6 already done" in again.out
    assert objects(client, "tiny") == first

    scored = s3_cli("score", tiny.sweep, "--store", store).ok()
    assert f"{store}/scores/" in scored.out
    wanted = tools.tree(tiny_done.store, "epochs", "encoders", "features", "scores")
    assert any("tile-" in name for name in wanted)
    assert_same(objects(client, "tiny"), wanted)


@pytest.mark.slow
def test_real_nights_on_s3_give_the_same_bytes(
    s3_cli: Callable[..., "Result"],
    client: Client,
    test_data: Path,
    nights: "Nights",
    ucddb_done: "Done",
    root: Path,
    tools: "type[Tools]",
) -> None:
    store = f"s3://{BUCKET}/ucddb"
    s3_cli("ingest", nights.dataset, "--data", nights.data, "--store", store).ok()
    # The encoder is looked up; that pretraining gives the same bytes is the test above.
    for name, content in tools.tree(ucddb_done.store, "encoders").items():
        client.put_object(Bucket=BUCKET, Key=f"ucddb/{name}", Body=content)
    scored = s3_cli("score", ucddb_done.store.parent / "tau-ucddb.yaml", "--store", store).ok()
    assert "110 source batches x 25 target batches of 32 epochs, 98 of the source" in scored.out
    assert "pretrain" not in scored.err
    wanted = tools.tree(ucddb_done.store, "epochs", "encoders", "features", "scores")
    assert_same(objects(client, "ucddb"), wanted)


@pytest.mark.parametrize("existing", [None, b"what was there before"])
def test_a_write_that_is_killed_leaves_the_object_as_it_was(
    existing: bytes | None, cli: "Cli", client: Client, s3_server: "S3Server"
) -> None:
    name = f"written-{existing is not None}"
    if existing is not None:
        client.put_object(Bucket=BUCKET, Key=name, Body=existing)
    code = (
        "from orchestrator.store.store import Store\n"
        f"store = Store.open('s3://{BUCKET}')\n"
        "data = bytes(2**28)\n"
        "print('writing', flush=True)\n"
        f"store.write_bytes({name!r}, data)\n"
        "print('written', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={**cli.env, **s3_server.env},
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        time.sleep(0.1)
        writer.kill()
        assert writer.wait() == -signal.SIGKILL
        assert writer.stdout.read() == "", "the write ended before it could be killed"
    time.sleep(1)  # for what was on its way
    found = client.list_objects_v2(Bucket=BUCKET, Prefix=name).get("Contents", [])
    assert [item["Key"] for item in found] == ([name] if existing else [])
    if existing:
        assert client.get_object(Bucket=BUCKET, Key=name)["Body"].read() == existing


def ingest_arguments(tiny: "Tiny", where: str, uri: str, tmp_path: Path) -> list[str]:
    """Return an ingest whose store or whose recordings are at a URI."""
    data, store = (str(tiny.data), uri) if where == "store" else (uri, str(tmp_path / "runs"))
    return ["ingest", str(tiny.dataset), "--data", data, "--store", store]


@pytest.mark.parametrize("where", ["store", "data"])
def test_bucket_that_does_not_exist(
    where: str, s3_cli: Callable[..., "Result"], tiny: "Tiny", tmp_path: Path
) -> None:
    arguments = ingest_arguments(tiny, where, "s3://no-such-bucket/prefix", tmp_path)
    result = s3_cli(*arguments).fails(
        6, "s3://no-such-bucket/prefix", "bucket 'no-such-bucket' does not exist", "Create it"
    )
    assert result.seconds < 15
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["pretrain", "score", "sweep", "review"])
def test_every_command_refuses_a_missing_bucket(
    command: str, s3_cli: Callable[..., "Result"], tiny: "Tiny"
) -> None:
    argument = "small" if command == "review" else tiny.sweep
    result = s3_cli(command, argument, "--store", "s3://no-such-bucket")
    assert result.fails(6, "bucket 'no-such-bucket' does not exist").seconds < 15


@pytest.mark.parametrize("where", ["store", "data"])
def test_wrong_secret(
    where: str,
    cli: "Cli",
    client: Client,
    s3_server: "S3Server",
    tiny: "Tiny",
    tmp_path: Path,
) -> None:
    if not s3_server.is_rgw:
        pytest.skip("moto's server takes any secret")
    wrong = "not-the-secret-0123456789"
    run = cli.having(**{**s3_server.env, "AWS_SECRET_ACCESS_KEY": wrong})
    arguments = ingest_arguments(tiny, where, f"s3://{BUCKET}/x", tmp_path)
    result = run(*arguments).fails(6, f"bucket '{BUCKET}': access denied", "AWS_SECRET_ACCESS_KEY")
    assert wrong not in result.out + result.err
    assert result.seconds < 15
    assert objects(client, "x") == {}


@pytest.mark.parametrize("where", ["store", "data"])
def test_endpoint_where_nobody_listens(
    where: str, s3_server: "S3Server", cli: "Cli", tiny: "Tiny", tmp_path: Path
) -> None:
    with socket.socket() as closed:  # bound, so that nobody else takes the port, but not listening
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        run = cli.having(**{**s3_server.env, "AWS_ENDPOINT_URL": endpoint})
        result = run(*ingest_arguments(tiny, where, f"s3://{BUCKET}/x", tmp_path))
    assert result.fails(6, f"s3://{BUCKET}/x", endpoint, "AWS_ENDPOINT_URL").seconds < 30


@pytest.mark.full
def test_endpoint_that_never_answers(
    s3_server: "S3Server", cli: "Cli", tiny: "Tiny", tmp_path: Path
) -> None:
    with socket.socket() as silent:  # takes connections, says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        run = cli.having(**{**s3_server.env, "AWS_ENDPOINT_URL": endpoint})
        result = run(*ingest_arguments(tiny, "store", f"s3://{BUCKET}/x", tmp_path))
    assert result.fails(6, f"s3://{BUCKET}/x", endpoint, "AWS_ENDPOINT_URL").seconds < 30


def test_no_credentials(s3_server: "S3Server", cli: "Cli", tiny: "Tiny", tmp_path: Path) -> None:
    run = cli.having(AWS_ENDPOINT_URL=s3_server.endpoint, AWS_DEFAULT_REGION="us-east-1")
    run(*ingest_arguments(tiny, "store", f"s3://{BUCKET}/x", tmp_path)).fails(
        6, "credentials", "AWS_ACCESS_KEY_ID"
    )
