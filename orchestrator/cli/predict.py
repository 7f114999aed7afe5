"""Command ``predict``: a model stages recordings."""

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import cpus_option, store_option

if TYPE_CHECKING:
    from orchestrator.predict.run import Result


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("recordings", metavar="[RECORDING]...", nargs=-1)
@click.option(
    "--out",
    "out_uri",
    default="staged",
    show_default=True,
    metavar="DIR",
    help="Folder, or s3://bucket/prefix, for the files of each recording.",
)
@click.option(
    "--dataset",
    metavar="NAME",
    help="Stage the recordings of this data set of the store instead, with Ray.",
)
@click.option(
    "--dataset-file",
    metavar="FILE",
    help="Says which names channels have here, who the subjects are, and where stages to compare with are.",
)
@click.option(
    "--channel",
    "channels",
    multiple=True,
    metavar="MODALITY=NAME",
    help='The channel to take, such as eeg="EEG Fpz-Cz". Once for each that the model needs.',
)
@click.option("--overwrite", is_flag=True, help="Stage all, and write over files that are there.")
@click.option("--strict", is_flag=True, help="Exit with 3 if any recording could not be staged.")
@store_option
@cpus_option
def predict(
    model: str,
    recordings: tuple[str, ...],
    out_uri: str,
    dataset: str | None,
    dataset_file: str | None,
    channels: tuple[str, ...],
    overwrite: bool,
    strict: bool,
    store_uri: str,
    n_cpus: int | None,
) -> None:
    """Stage recordings with a kept MODEL.

    MODEL is a sweep, whose chosen trial is meant; SWEEP:TRIAL or SWEEP:ARM; the id of an encoder; or a folder or URI
    with model.json. RECORDING is a file, a folder or a glob; of the latter two, EDF files of annotations alone are left
    out. Of each recording there are then a hypnogram (EDF+), its epochs (TSV as in BIDS, and CSV with probabilities), a
    summary (JSON) and a picture (PNG). Flat epochs are not staged. Where the recording holds stages of a scorer, they
    are compared. A recording that this model has staged into the same folder is not staged again.
    """
    from orchestrator.errors import ConfigError
    from orchestrator.psg.dataset import load_dataset
    from orchestrator.store.store import Store

    if bool(recordings) == (dataset is not None):
        raise ConfigError(
            f"name the recordings that {model} is to stage: files, folders or globs; or --dataset NAME for those of a "
            "data set of the store. One of both is needed."
        )
    described = load_dataset(dataset_file) if dataset_file else None
    pairs = [_channel(text) for text in channels]
    from orchestrator.predict.inputs import find_inputs, settings_for
    from orchestrator.predict.model import load_model
    from orchestrator.predict.run import check_results, stage_files

    store = Store.open(store_uri)
    loaded = load_model(store, model)
    out = Store.open(out_uri, writable=True)
    if dataset is not None:
        if pairs or described is not None:
            raise ConfigError(
                "--channel and --dataset-file are for recordings in files: those of --dataset were read when they were "
                "ingested."
            )
        from orchestrator.predict.many import stage_dataset

        results = stage_dataset(store, loaded, dataset, out, overwrite=overwrite, n_cpus=n_cpus)
    else:
        settings = settings_for(loaded.record, pairs, described)
        inputs = find_inputs(recordings, described)
        results = stage_files(inputs, loaded, settings, out, overwrite=overwrite)
    _print(results, out.uri)
    check_results(results, strict=strict)


def _print(results: "list[Result]", uri: str) -> None:
    wide = max((len(result.recording) for result in results), default=0)
    for result in results:
        if result.is_staged:
            click.echo(f"{result.recording:<{wide}}  {result.text}")
    for result in results:
        for note in result.notes:
            click.echo(f"note on {result.recording}: {note}", err=True)
    for result in results:
        if not result.is_staged:
            click.echo(f"not staged {result.recording}: {result.text}", err=True)
    if any(result.is_staged for result in results):
        click.echo(uri)


def _channel(text: str) -> tuple[str, str]:
    """Read ``eeg=EEG Fpz-Cz``."""
    from orchestrator.config.fields import MODALITIES
    from orchestrator.errors import ConfigError

    modality, _, name = text.partition("=")
    if modality not in MODALITIES or not name:
        raise ConfigError(
            f'--channel {text!r}: write MODALITY=NAME, such as eeg="EEG Fpz-Cz"; modalities are '
            f"{', '.join(MODALITIES)}."
        )
    return modality, name


COMMANDS = (predict,)
