"""Commands that read results: ``review``, ``replay``, which makes them again, and ``export``, for a model."""

import json

import click

from orchestrator.cli.options import cpus_option, store_option, writable_store
from orchestrator.cli.watch import json_option


@click.command()
@click.argument("name")
@store_option
def review(name: str, store_uri: str) -> None:
    """Write the review of the finished sweep NAME, and print the path of its page."""
    from orchestrator.api import search

    click.echo(search.review(name, store=store_uri).uri)


@click.command()
@click.argument("name")
@store_option
@cpus_option
@json_option
@click.option(
    "--trial",
    "trials",
    multiple=True,
    metavar="NAME",
    help="Only this trial, arm or row, such as t003; repeatable.",
)
def replay(
    name: str, store_uri: str, n_cpus: int | None, as_json: bool, trials: tuple[str, ...]
) -> None:
    """Run the finished sweep NAME again in one process, and say whether it gives the same.

    Each configuration is trained anew, without Ray Tune, into a folder that is thrown away; its signature, its
    predictions and its objective must be those that the sweep recorded. The store keeps what it has. Ends with 4 where
    anything differs.
    """
    store = writable_store(store_uri)
    from orchestrator.sweeps.replay import replay as run_replay
    from orchestrator.sweeps.replay import replay_data, replay_text

    found = run_replay(store, name, trials, n_cpus=n_cpus)
    click.echo(json.dumps(replay_data(found)) if as_json else replay_text(found))
    found.check()


@click.command()
@click.argument("model")
@click.argument("folder", metavar="DIR")
@store_option
@click.option(
    "--format",
    "formats",
    type=click.Choice(["onnx"]),
    multiple=True,
    help="Also files of this format, which run without this program; needs the extra of this name.",
)
def export(model: str, folder: str, store_uri: str, formats: tuple[str, ...]) -> None:
    """Write MODEL into the folder DIR, to be handed on.

    MODEL is a sweep, whose chosen trial is meant; SWEEP:TRIAL or SWEEP:ARM; the id of an encoder; or a folder or URI
    with model.json. DIR, a folder or s3://bucket/prefix, gets the weights, model.json, and README.md: what the model
    is, what it learned from, how good it is and what it cannot do. With `--format onnx` there is a file for ONNX
    Runtime of each file of weights, which gives what PyTorch gives. Nothing is overwritten.
    """
    from orchestrator.models.export import exported_files, write_export
    from orchestrator.predict.model import load_model
    from orchestrator.store.store import Store

    loaded = load_model(Store.open(store_uri), model)
    done = write_export(folder, exported_files(loaded.record, loaded.files, onnx="onnx" in formats))
    there = f", {done.n_there} were there" if done.n_there else ""
    click.echo(f"{loaded.record.name}: wrote {len(done.written)} files to {done.uri}{there}")


COMMANDS = (review, replay, export)
