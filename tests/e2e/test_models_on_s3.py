"""Models that a sweep keeps on S3: they stage there, are handed on there, and what was changed is refused."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from orchestrator.predict.files import output_names

if TYPE_CHECKING:
    from tests.e2e.conftest import Done, MakeCli, Result, S3Server, Tiny, Tools

pytestmark = [pytest.mark.e2e, pytest.mark.full, pytest.mark.timeout(600)]

BUCKET = "kept-models"
STORE = f"s3://{BUCKET}/runs"
MODELS = "runs/sweeps/small/models"
NIGHTS = ("s05", "s06")


class Bucket:
    """What lies in the bucket."""

    def __init__(self, server: "S3Server") -> None:
        self._client = server.client
        self._client.create_bucket(Bucket=BUCKET)

    def put(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def read(self, key: str) -> bytes:
        content: bytes = self._client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return content

    def written(self, prefix: str) -> dict[str, Any]:
        """Return when each object under a prefix was written, without what Arrow leaves for a folder."""
        found = self._client.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/").get("Contents", ())
        times = {item["Key"].removeprefix(f"{prefix}/"): item["LastModified"] for item in found}
        return {name: time for name, time in times.items() if name and not name.endswith("/")}


@pytest.fixture(scope="module")
def bucket(s3_server: "S3Server") -> Bucket:
    return Bucket(s3_server)


@pytest.fixture(scope="module")
def run(
    make_cli: "MakeCli", s3_server: "S3Server", tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[Callable[..., Result]]":
    """The command with the server's settings in its environment; watches that it never prints the secret."""
    cli = make_cli(tmp_path_factory.mktemp("on-s3")).having(**s3_server.env)
    results: list[Result] = []

    def watched(*arguments: str | Path) -> "Result":
        results.append(cli(*arguments))
        return results[-1]

    yield watched
    for result in results:
        assert s3_server.secret not in result.out + result.err


@pytest.fixture(scope="module")
def recordings(tiny: "Tiny") -> list[Path]:
    return [tiny.data / f"{night}.edf" for night in NIGHTS]


@pytest.fixture(scope="module", autouse=True)
def swept(
    run: "Callable[..., Result]",
    bucket: Bucket,
    tiny: "Tiny",
    tiny_done: "Done",
    tools: "type[Tools]",
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A sweep of two trials whose store is the bucket; everything up to the score table was there."""
    parts = ("epochs", "encoders", "features", "scores")
    for name, content in tools.tree(tiny_done.store, *parts).items():
        bucket.put(f"runs/{name}", content)
    sweep: dict[str, Any] = yaml.safe_load(tiny.sweep.read_text(encoding="utf-8"))
    sweep["search"] |= {"n_trials": 2}
    file = tmp_path_factory.mktemp("sweep") / "small.yaml"
    file.write_text(
        yaml.safe_dump(sweep | {"arms": ["random"], "keep_models": "all"}), encoding="utf-8"
    )
    run("sweep", file, "--store", STORE).ok()


def test_a_sweep_keeps_its_models_in_the_bucket(bucket: Bucket) -> None:
    kept = bucket.written(MODELS)
    assert sorted(kept) == [
        f"{trial}/{file}"
        for trial in ("arm-random", "t000", "t001")
        for file in ("model.json", "seed-1.safetensors")
    ]
    assert bucket.written("runs/sweeps/small/weights") == {}


def test_nights_are_staged_once_and_a_model_that_is_handed_on_says_the_same(
    run: "Callable[..., Result]", bucket: Bucket, recordings: list[Path]
) -> None:
    out, given = f"s3://{BUCKET}/staged", f"s3://{BUCKET}/given"
    stage = ("predict", "small", *recordings, "--store", STORE, "--out", out)
    assert run(*stage).ok().out.splitlines()[-1] == out
    staged = bucket.written("staged")
    assert sorted(staged) == sorted(name for night in NIGHTS for name in output_names(night))
    assert run(*stage).ok().out.count("staged before") == len(NIGHTS)
    assert bucket.written("staged") == staged

    assert given in run("export", "small", given, "--store", STORE).ok().out
    assert sorted(bucket.written("given")) == ["README.md", "model.json", "seed-1.safetensors"]
    run("predict", given, *recordings, "--out", f"s3://{BUCKET}/again").ok()
    for night in NIGHTS:
        again = bucket.read(f"again/{night}.csv")
        assert again == bucket.read(f"staged/{night}.csv")
        assert again.count(b"\n") == 1 + 40


def test_weights_of_which_a_byte_was_changed_are_refused(
    run: "Callable[..., Result]", bucket: Bucket, recordings: list[Path]
) -> None:
    key = f"{MODELS}/arm-random/seed-1.safetensors"
    weights = bucket.read(key)
    bucket.put(key, weights[:-1] + bytes([weights[-1] ^ 1]))
    out = f"s3://{BUCKET}/refused"
    run("predict", "small:random", *recordings, "--store", STORE, "--out", out).fails(
        4,
        f"s3://{BUCKET}/{key} does not have the SHA-256 that model.json names",
        "the model was changed",
    )
    assert bucket.written("refused") == {}
