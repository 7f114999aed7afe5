"""The card of a model: a page in Markdown for who gets the folder, with all that one has to know before using it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.models.record import ModelRecord, WeightsFile
from orchestrator.models.words import scaling_words
from orchestrator.psg.preprocess import EPOCH_N_TIMES, SFREQ
from trainables.stages import STAGE_NAMES

NOTHING = "—"
"""Where there is no value."""

_NETWORKS = {"mrcnn": "MRCNN", "sleepmg": "SleepMG"}

_FEW = 12
"""Subjects that are named; of more, the others are counted."""

_SPLITS: Mapping[str, str] = {
    "objective": "the sweep chose among its trials by it, so that it flatters the chosen one",
    "early stop": "it ended the training, so that it flatters",
    "target test": "read once, after the last choice",
    "fold test": "each subject staged by networks that learned from others",
}
"""What the value of each split is worth."""

_OF_THE_FOLDS = "by those of the folds, and not by this model"

_TRANSDUCTIVE = (
    "transductive: the signals of these subjects, without their stages, had a part in choosing what it "
    "learned from"
)

_MEASURES = {"macro_f1": "macro-F1"}

_TAU: Mapping[str, str] = {
    "tau_quantile": "share of the source batches that was dropped, those of the lowest rewards",
    "tau_absolute": "batches with R above it were kept",
    "tau_budget": "batches that were kept, those of the highest rewards",
    "n_selectable": "batches to choose from",
}

_SHOWN_ELSEWHERE = ("tau", "adapted_to", "early_stop_subjects", "folds")
"""Of what a method says about a model: has a place of its own on the page, or is long."""


def model_card(record: ModelRecord, onnx: Mapping[str, str] | None = None) -> bytes:
    """Return the card of a model; equal records give equal bytes.

    Parameters
    ----------
    record : ModelRecord
    onnx : mapping of str to str
        Names of ONNX files beside the weights, with the SHA-256 of each.

    Returns
    -------
    bytes
        Markdown in UTF-8.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("orchestrator", "models"),
        autoescape=False,  # Markdown; `_cell` takes care of its tables
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    text = environment.get_template("card.md.j2").render(_values(record, onnx or {}))
    return text.encode()


def _values(record: ModelRecord, onnx: Mapping[str, str]) -> dict[str, Any]:
    version = record.versions.get("sleep-orchestrator")
    channels = _channels(record)
    return {
        "name": _cell(record.name),
        "stages": _listed(record.stages),
        "all_stages": ", ".join(STAGE_NAMES),
        "stage_list": _code(list(STAGE_NAMES)),
        "unsaid": [stage for stage in STAGE_NAMES if stage not in record.stages],
        "networks": _networks(record),
        "method": record.method,
        "version": f" {version}" if version else "",
        "channels": channels,
        "modalities": ", ".join(record.modalities),
        "filtered": _filtered(record),
        "scaling": scaling_words(record),
        "sfreq": SFREQ,
        "epoch_s": EPOCH_N_TIMES // SFREQ,
        "n_times": EPOCH_N_TIMES,
        "in_spreads": record.scale != "microvolts",
        "clip_spreads": f"{record.clip_spreads:g}",
        "training": _training(record),
        "tau": _tau(record),
        "metrics": [_metric(record, metric) for metric in record.metrics],
        "limits": _limits(record, has_onnx=bool(onnx)),
        "inputs": _inputs(record),
        "loaded": _loaded(record),
        "bands": _bands(record) if channels else "",
        "onnx_files": _code(list(onnx)) if onnx else "",
        "files": [*map(_file, record.files), *_onnx_rows(record.files, onnx)],
        "about": json.dumps(
            {k: v for k, v in record.about.items() if k not in _SHOWN_ELSEWHERE},
            indent=1,
            sort_keys=True,
            ensure_ascii=False,
        ),
    }


def _networks(record: ModelRecord) -> str:
    kind, n = _NETWORKS.get(record.network, record.network), len(record.files)
    if n == 1:
        return f"One network ({kind})"
    if _is_by_subject(record):
        return f"{n} networks ({kind}), each adapted to one subject,"
    return f"The mean of {n} networks ({kind})"


def _is_by_subject(record: ModelRecord) -> bool:
    return any(entry.subject is not None for entry in record.files)


def _is_refit(record: ModelRecord) -> bool:
    """Whether it was trained on all subjects when a cross-validation had been measured."""
    return "refit" in record.about


def _channels(record: ModelRecord) -> list[dict[str, str]]:
    """Return a row for each modality; none where the model does not say how its epochs were made."""
    wanted, bands = _preprocessing(record, "channels"), _preprocessing(record, "filter_hz")
    if not all(modality in wanted and modality in bands for modality in record.modalities):
        return []
    return [
        {
            "modality": modality,
            "names": _cell(", ".join(" or ".join(names) for names in wanted[modality])),
            "band": "{:g} to {:g}".format(*bands[modality]),
        }
        for modality in record.modalities
    ]


def _preprocessing(record: ModelRecord, key: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = record.preprocessing.get(key, {})
    return found


def _filtered(record: ModelRecord) -> str:
    if not _preprocessing(record, "filter_hz"):
        return "filtered as the data set was ingested"
    return (
        "filtered with MNE's zero-phase FIR filter before they are resampled; an upper edge at or above 0.45 of a "
        "recording's own rate is left out"
    )


def _training(record: ModelRecord) -> list[str]:
    training = record.training
    title, url, licence = (training.get(key) for key in ("title", "url", "licence"))
    rows = [
        f"Data set: {_cell(title)} (`{training['dataset']}`)"
        if title
        else f"Data set: `{training['dataset']}`",
        *([f"Address: <{url}>"] if url else []),
        f"Licence: {_cell(licence)}" if licence else "Licence: not recorded. Ask who has the data.",
        f"Learned from {_subjects(training['subjects'])}",
    ]
    if adapted := record.about.get("adapted_to"):
        rows.append(
            f"Adapted to `{adapted['dataset']}` by the signals, without stages, of {_subjects(adapted['subjects'])}"
        )
    if stopped := record.about.get("early_stop_subjects"):
        rows.append(f"The training ended by the stages of {_subjects(stopped)}")
    return rows


def _tau(record: ModelRecord) -> list[dict[str, str]]:
    return [
        {"name": name, "value": _number(value), "what": _TAU.get(name, NOTHING)}
        for name, value in (record.about.get("tau") or {}).items()
    ]


def _metric(record: ModelRecord, metric: Mapping[str, Any]) -> dict[str, str]:
    """Return a row of the table; a value goes by the name in ``what``, or by that of its key."""
    not_values = ("split", "what", "value", "dataset", "subjects", "transductive")
    values = {key: value for key, value in metric.items() if key not in not_values}
    if "what" in metric:
        values = {metric["what"]: metric.get("value"), **values}
    result = ", ".join(f"{_MEASURES.get(k, k)} {_number(v)}" for k, v in values.items())
    meaning = [_SPLITS.get(metric["split"], NOTHING)]
    if _is_refit(record):
        meaning.append(_OF_THE_FOLDS)
    if metric.get("transductive"):
        meaning.append(_TRANSDUCTIVE)
    subjects = _subjects(metric["subjects"]) if "subjects" in metric else NOTHING
    where = f" of `{metric['dataset']}`" if "dataset" in metric else ""
    return {
        "split": _cell(metric["split"]),
        "result": _cell(result),
        "subjects": subjects + where,
        "meaning": "; ".join(meaning),
    }


def _limits(record: ModelRecord, *, has_onnx: bool) -> list[str]:
    """Say what the model is not known to do, or known not to do."""
    limits = [
        "It is not a medical device, and was never tested as one.",
        f"One cohort: it learned from {len(record.subjects)} of the subjects of one data set, "
        f"`{record.training['dataset']}`. How it does on other people, devices and laboratories is not known.",
        "Only with the channels above, in this order and prepared as above: with others it answers, too, but nobody "
        "knows how well.",
    ]
    limits += [
        f"It cannot say {stage}: every epoch of {stage} is staged as something else, and time in {stage} is 0."
        for stage in STAGE_NAMES
        if stage not in record.stages
    ]
    if record.scale != "microvolts":
        limits.append(
            "Median and spread are of whole recordings: it does not stage while one is recorded, and of a short piece "
            "it gets other numbers."
        )
    limits += _limits_of_metrics(record)
    if has_onnx and len(record.modalities) > 1:
        limits.append(
            f"As ONNX it needs all of {', '.join(record.modalities)} in every epoch. With sleep-orchestrator, a "
            "recording may lack a modality."
        )
    return limits


def _limits_of_metrics(record: ModelRecord) -> list[str]:
    limits = []
    splits = {metric["split"] for metric in record.metrics}
    if not splits & {"target test", "fold test"}:
        limits.append(
            "Nobody judged it by stages that had no part in making or choosing it: how good it is on new subjects is "
            "not known."
        )
    if any(metric.get("transductive") for metric in record.metrics):
        limits.append(
            "Its test is transductive: subjects whose signals had no part in making it may be staged worse."
        )
    if _is_refit(record):
        this, it = ("this one was", "it") if len(record.files) == 1 else ("these were", "them")
        limits.append(
            f"The table above was measured on the networks of the folds; {this} trained on all subjects, and nobody is "
            f"left to judge {it}."
        )
    elif any(entry.fold is not None for entry in record.files):
        limits.append(
            "Its networks are those of a cross-validation, and the table above is of each one by itself. Their mean, "
            "which is what stages a recording, was judged on nobody: some learned from each of the subjects above."
        )
    elif _is_by_subject(record):
        limits.append(
            "Each network was adapted to the subject that the table of files names. On anybody else the mean of all "
            "answers, which was not judged."
        )
    elif len(record.files) > 1:
        limits.append(
            "The table above is of its networks one by one, on average; the mean of their probabilities was not judged."
        )
    return limits


def _inputs(record: ModelRecord) -> str:
    channels = _preprocessing(record, "channels")
    counts = {m: len(channels[m]) if m in channels else "channels" for m in record.modalities}
    return ", ".join(f"`{m}` (n, {n}, {EPOCH_N_TIMES})" for m, n in counts.items())


def _loaded(record: ModelRecord) -> str:
    return "{" + ", ".join(f'"{m}": np.load("{m}.npy")' for m in record.modalities) + "}"


def _bands(record: ModelRecord) -> str:
    """Return modality -> (first names of its channels, lower and upper Hz) as Python."""
    wanted, bands = _preprocessing(record, "channels"), _preprocessing(record, "filter_hz")
    rows = [
        f'    "{m}": ({_code([names[0] for names in wanted[m]])}, {bands[m][0]:g}, {bands[m][1]:g}),'
        for m in record.modalities
    ]
    return "\n".join(["{", *rows, "}"])


def _file(entry: WeightsFile) -> dict[str, str]:
    return {
        "name": _cell(entry.file),
        **{key: _cell(getattr(entry, key)) for key in ("seed", "fold", "subject", "sha256")},
    }


def _onnx_rows(entries: Iterable[WeightsFile], onnx: Mapping[str, str]) -> list[dict[str, str]]:
    """Return rows of the ONNX files, which are in the order of the weights."""
    return [
        {**_file(entry), "name": _cell(name), "sha256": sha256}
        for entry, (name, sha256) in zip(entries, onnx.items(), strict=bool(onnx))
    ]


def _subjects(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_FEW])
    more = f" and {len(names) - _FEW} more (model.json)" if len(names) > _FEW else ""
    return _cell(f"{len(names)} subject{'s' * (len(names) != 1)} ({shown}{more})")


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return NOTHING if value is None else _cell(value)


def _code(value: Any) -> str:
    """Return names as Python."""
    return json.dumps(value, ensure_ascii=False)


def _cell(value: Any) -> str:
    """Return text that leaves a table and its line whole."""
    return NOTHING if value is None else " ".join(str(value).split()).replace("|", "\\|")
