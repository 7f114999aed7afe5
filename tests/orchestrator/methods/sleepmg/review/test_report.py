import csv
import io
import re
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.methods.sleepmg.review.findings import Findings, find
from orchestrator.methods.sleepmg.review.records import read_sweep
from orchestrator.methods.sleepmg.review.report import SECTIONS, render_page
from orchestrator.methods.sleepmg.review.tables import tables as tables_of
from orchestrator.reviews import write_review
from orchestrator.reviews.page import Figure
from orchestrator.store import paths
from orchestrator.store.store import Store

SaveSweep = Callable[[Any], Store]
TABLES = {
    *("trials.csv", "folds.csv", "recordings.csv", "comparisons.csv", "modalities.csv"),
    *("confusion.csv", "balance.csv", "domains.csv"),
}
FIGURES = {"balance.png", "domains.png", "confusion.png"}
OFF = {"mod_y": False, "mod_d": False}


def no_pictures(found: Findings) -> dict[str, bytes]:
    """An empty file for each figure that would be drawn."""
    figures = (one for one in SECTIONS if isinstance(one, Figure))
    return {figure.file: b"" for figure in figures if figure.is_shown(found)}


def read(store: Store, filename: str, name: str = "balance") -> bytes:
    return store.read_bytes(paths.review(name, filename))


def page(store: Store, name: str = "balance") -> str:
    """The page without its figures, which take a second to draw."""
    found = find(read_sweep(store, name))
    return render_page(found, no_pictures(found))


def page_with_figures(store: Store, name: str = "balance") -> str:
    write_review(store, name)
    return read(store, "review.html", name).decode()


def table(store: Store, filename: str, name: str = "balance") -> list[dict[str, str]]:
    content = tables_of(find(read_sweep(store, name)))[filename]
    return list(csv.DictReader(io.StringIO(content.decode())))


def section(html: str, heading: str) -> str:
    """Text of a part of the page, with its tags."""
    begin = html.index(f"<h2>{heading}")
    end = html.find("<h2>", begin + 4)
    return html[begin : end if end > 0 else None]


def lines(html: str) -> list[list[str]]:
    """Cells of the body of every table line."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", html, re.DOTALL)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]
    return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in cells if row]


@pytest.mark.heavy
def test_a_search_writes_every_file(made: Any, save_sweep: SaveSweep) -> None:
    store = save_sweep(made.search())
    assert write_review(store, "balance") == store.uri_of("reviews/balance/review.html")
    files = TABLES | FIGURES | {"parameters.png", "parameters.csv", "review.html"}
    assert set(store.files("reviews")) == {f"reviews/balance/{name}" for name in files}


@pytest.mark.heavy
def test_same_sweep_same_bytes_and_the_page_needs_nothing_else(
    made: Any, save_sweep: SaveSweep
) -> None:
    store = save_sweep(made.ablation())
    html = page_with_figures(store, "components")
    files = TABLES | FIGURES
    first = {name: read(store, name, "components") for name in files}
    assert page_with_figures(store, "components") == html
    assert {name: read(store, name, "components") for name in files} == first
    assert not re.search(r"https?://|<script|<link|@import|url\(", html)
    images = re.findall(r'<img src="data:image/png;base64,[^"]+" alt="([^"]+)"', html)
    assert len(images) == html.count("<img") == 3
    assert all(re.search(r"numbers are in \w+\.csv", alt) for alt in images)


@pytest.mark.heavy
def test_search_page_from_top_to_bottom(made: Any, save_sweep: SaveSweep) -> None:
    html = page(save_sweep(made.search()))
    headings = re.findall(r"<h2>(.*?)</h2>", html)
    assert headings == [
        "Did it help?",
        "What limits this answer",
        "Parameters against the objective",
        "Balance between the modalities",
        "Does the discriminator still know the subject?",
        "Confusion matrices",
        "Trials",
        "Rows",
        "Recordings",
        "Folds of t000",
        "How to read this",
        "Provenance",
    ]
    assert "<dt>alpha_y</dt><dd>0.20</dd>" in html
    assert "<dt>lambda</dt><dd>0.010</dd>" in html
    assert "failed: out of memory" in section(html, "Trials")
    assert not re.search(r"\bnan\b|None", re.sub(r"base64,[^\"]+", "", html))


@pytest.mark.heavy
def test_numbers_of_a_search_by_hand(made: Any, save_sweep: SaveSweep) -> None:
    subjects = [f"s{i}" for i in range(6)]
    tables = {
        "trials": [
            made.row_row(**OFF, test_macro_f1=0.55, domain_accuracy=0.5, domain_chance=0.25),
            made.trial_row("t000", enqueued=True, objective=0.61, test_macro_f1=0.66),
            made.trial_row("t001", alpha_y=0.4, objective=0.63, test_macro_f1=0.65, n_steps=290),
            made.trial_row("t002", alpha_y=0.1, objective=0.62, test_macro_f1=None),
            made.failed(made.trial_row("t003")),
        ],
        "recordings": [
            *(
                made.recording_row("t001", s, macro_f1=0.6 + 0.01 * i)
                for i, s in enumerate(subjects)
            ),
            *(made.recording_row("row-naivemg-seed1", s, macro_f1=0.5) for s in subjects),
        ],
        "confusion": [
            {"trial": "t001", "true": "W", "predicted": "W", "n": 30},
            {"trial": "t001", "true": "W", "predicted": "N1", "n": 10},
        ],
        "folds": [made.fold_row("t001", n_steps=145), made.fold_row("t001", 1, n_steps=145)],
        "modalities": [
            made.modality_row("t001", "eeg", macro_f1=0.4, k_y=0.5, **{"pass": 1}),
            made.modality_row("t001", "eeg", macro_f1=0.5, k_y=0.7, **{"pass": 2}),
        ],
    }
    store = save_sweep((made.manifest_json(), tables))
    html = page(store)
    # Subjects: 0.10, 0.11 ... 0.15 better, all to the same side: p = 2 / 2^6.
    (line,) = lines(section(html, "Did it help?"))
    assert line[:7] == ["NaiveMG", "1", "0.550", "0.650", "+0.100", "\u2013", "+0.125"]
    assert line[8:] == ["0.031", "6", "helped"]
    (written,) = table(store, "comparisons.csv")
    assert float(written["subjects_mean"]) == pytest.approx(0.125)
    assert float(written["wilcoxon_p"]) == 0.03125
    assert 0.1 <= float(written["subjects_low"]) < 0.125 < float(written["subjects_high"]) <= 0.15
    # alpha_y 0.2, 0.4, 0.1 with objectives 0.61, 0.63, 0.62: ranks 2 3 1 and 1 3 2, 1 - 6 * 2 / 24.
    assert lines(section(html, "Parameters"))[0] == [
        *("alpha_y", "0.00", "1.00", "linear", "0.40", "+0.50", "3")
    ]
    balance = lines(section(html, "Balance between"))
    assert balance == [["t001", "0.500", "0.60", "1.00", "\u2013"]]
    domains = {line[0]: line[1:] for line in lines(section(html, "Does the discriminator"))}
    assert domains["NaiveMG"] == ["0.010", "0.500", "0.250", "+0.250", "0.550"]
    # F1 of W: 2 * 30 / (2 * 30 + 10); of N1: never right; N2 is neither true nor predicted.
    stages = {line[0]: line[1:] for line in lines(section(html, "Confusion matrices"))}
    assert stages["t001"] == ["0.857", "0.000", *["\u2013"] * 3]
    assert "Steps per fold: 145." in html
    confusion = table(store, "confusion.csv")
    assert [(c["n"], c["row_share"]) for c in confusion if c["entry"] == "t001"][:2] == [
        ("30", "0.75"),
        ("10", "0.25"),
    ]
    trials = lines(section(html, "Trials"))
    assert [line[0] for line in trials] == ["t001", "t002", "t000", "t003"]
    assert trials[0] == [
        *("t001", "sampled", "0.40", "0.010", "290", "0.630", "0.650", "0.700", "0.500")
    ]
    assert [line[1] for line in trials] == ["sampled", "sampled", "enqueued", "sampled"]
    recordings = {line[0]: line[1:] for line in lines(section(html, "Recordings"))}
    # 0.60 ... 0.65: mean 0.625, variance 17.5e-4 / 5.
    assert recordings["t001"][:2] == ["6", "0.625 \u00b1 0.019"]
    assert recordings["t001"][4:] == ["s0n1", "0.600"]
    folds = lines(section(html, "Folds of t001"))
    assert folds[0] == [*("0", "s1", "s2", "2 of 3", "145", "0.600", "50", "0.600", "0.500")]


@pytest.mark.heavy
def test_a_choice_is_shown_by_its_options(made: Any, save_sweep: SaveSweep) -> None:
    manifest = made.manifest_json(
        searched=["alpha_y", "schedule"],
        space={
            "alpha_y": {"low": 0.0, "high": 1.0, "log": False},
            "schedule": {"options": ["dann", "constant"]},
        },
    )
    tables = {
        "trials": [
            made.trial_row("t000", schedule="constant", objective=0.5),
            made.trial_row("t001", schedule="dann", objective=0.7),
            made.trial_row("t002", schedule="dann", objective=0.6),
        ]
    }
    store = save_sweep((manifest, tables))
    html = page(store)
    assert "<dt>schedule of lambda</dt><dd>dann</dd>" in html
    alpha, *options = lines(section(html, "Parameters"))
    assert alpha[:2] == ["alpha_y", "0.00"]
    assert options == [
        ["schedule of lambda", "dann", "0.650", "2", "chosen"],
        ["", "constant", "0.500", "1", ""],
    ]
    assert [line[3] for line in lines(section(html, "Trials"))] == ["dann", "dann", "constant"]
    assert [t["schedule"] for t in table(store, "parameters.csv")] == ["constant", "dann", "dann"]
    assert "Mean objective: of the finished trials with that option." in html
    assert "grows from 0 up to the lambda of the trial" in section(html, "How to read")
    only = {"searched": ["schedule"], "space": {"schedule": {"options": ["dann", "constant"]}}}
    html = page(save_sweep((manifest | only, tables)))
    assert lines(section(html, "Parameters")) == options
    assert "Spearman" not in section(html, "Parameters")


@pytest.mark.heavy
def test_what_was_not_trained_again_is_marked_and_counted(made: Any, save_sweep: SaveSweep) -> None:
    trials = [
        made.trial_row("t000", objective=0.7),
        made.trial_row("t001", objective=0.6, enqueued=True, reused_from="t000"),
        made.trial_row("t002", objective=0.5, reused_from="t000"),
    ]
    html = page(save_sweep((made.manifest_json(rows=[]), {"trials": trials})))
    shown = [line[1] for line in lines(section(html, "Trials"))]
    assert shown == ["sampled", "enqueued, as t000", "sampled, as t000"]
    assert (
        "2 trainings were saved: the trial marked <q>as t000</q> would have repeated t000" in html
    )
    html = page(save_sweep((made.manifest_json(rows=[]), {"trials": trials[:2]})))
    assert "1 training was saved" in html
    html = page(save_sweep((made.manifest_json(rows=[]), {"trials": trials[:1]})))
    assert "saved" not in html


@pytest.mark.heavy
def test_numbers_of_an_ablation_by_hand(made: Any, save_sweep: SaveSweep) -> None:
    manifest = made.ablation_json(
        figure="Components", rows=[{"name": n, "ours": "Ours."} for n in "ABC"]
    )
    tables = {
        "trials": [
            made.row_row("A", 1, **OFF, multimodal=False, test_macro_f1=0.50, objective=0.4),
            made.row_row("A", 2, **OFF, multimodal=False, test_macro_f1=0.54, objective=0.5),
            made.row_row("B", 1, test_macro_f1=0.60, fusion="sum"),
            made.failed(made.row_row("B", 2)),
            made.failed(made.row_row("C", 1), None),
            made.failed(made.row_row("C", 2), None),
        ],
        "confusion": [
            {"trial": f"row-a-seed{seed}", "true": "W", "predicted": "W", "n": n}
            for seed, n in ((1, 3), (2, 4))
        ],
        "folds": [
            made.fold_row("row-a-seed1", n_steps=96, test_subjects=["s1", "s4"]),
            made.fold_row("row-a-seed2", n_steps=108),
        ],
    }
    store = save_sweep((manifest, tables))
    html = page_with_figures(store, "components")
    assert "Trials</h2>" not in html
    ranking = lines(section(html, "Ranking of the rows"))
    # Seed 1 is 0.10 apart, but 0.08 by the means; the only SD over seeds is that of A.
    assert ranking[0][:5] == ["1. B", "1", "0.600", "+0.080", "0.028"]
    assert ranking[0][-1] == "unclear"
    assert ranking[1] == ["2. A", "2", "0.520 \u00b1 0.028", "reference"]
    assert "Of 3 rows, B has the highest test macro-F1, 0.600 (one seed)." in html
    rows = lines(section(html, "Rows"))
    assert rows[0] == [
        *(
            "A",
            "2",
            "\u2013",
            "\u2713",
            "\u2013",
            "\u2013",
            "\u2013",
            "\u2013",
            "0.010",
            "96 to 108",
        ),
        *("0.450 \u00b1 0.071", "0.520 \u00b1 0.028", "0.700 \u00b1 0.000", "0.500 \u00b1 0.000"),
    ]
    assert rows[1][:8] == ["B", "1 of 2", "\u2713", "\u2713", "\u2013", "\u2713", "\u2713", "sum"]
    assert rows[2] == ["C", "0 of 2", "no run finished"]
    assert rows[3] == ["B, seed 2", "failed: out of memory\nTraceback"]
    confusion = {
        (c["entry"], c["true"], c["predicted"]): c
        for c in table(store, "confusion.csv", "components")
    }
    assert confusion["A", "W", "W"]["n"] == "7"
    assert "No network of this page has more than one modality" in html
    assert not any("balance" in file for file in store.files("reviews"))
    assert "<li><strong>A</strong>: Ours.</li><li><strong>B</strong>: Ours.</li>" in html
    assert "C</strong>" not in html
    assert table(store, "folds.csv", "components")[0]["test_subjects"] == "s1 s4"


@pytest.mark.heavy
def test_nothing_finished_is_a_page_too(made: Any, save_sweep: SaveSweep) -> None:
    for manifest, run in (
        (made.manifest_json(), made.trial_row()),
        (made.ablation_json(), made.row_row()),
    ):
        store = save_sweep((manifest, {"trials": [made.failed(run)]}))
        html = page_with_figures(store, manifest["name"])
        assert "says nothing about its" in html
        assert "Nothing finished, so there are no matrices." in html


def test_text_of_the_sweep_is_escaped(made: Any, save_sweep: SaveSweep) -> None:
    evil = "<script>alert(1)</script>"
    tables = {"trials": [made.row_row(evil), made.failed(made.trial_row(), evil)]}
    manifest = made.manifest_json(
        rows=[{"name": evil, "ours": evil}], dataset=evil, figure=evil, versions={evil: "1"}
    )
    html = page(save_sweep((manifest, tables)))
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 8


def test_a_verdict_has_its_colour(made: Any, save_sweep: SaveSweep) -> None:
    subjects = [f"s{i}" for i in range(6)]
    tables = {
        "trials": [made.row_row(test_macro_f1=0.7), made.trial_row(test_macro_f1=0.6)],
        "recordings": [
            made.recording_row(trial, s, macro_f1=value)
            for trial, value in (("t000", 0.6), ("row-naivemg-seed1", 0.7))
            for s in subjects
        ],
    }
    html = page(save_sweep((made.manifest_json(), tables)))
    assert '<span class="hurt">hurt</span>' in html
    assert '<div class="caution alarm"><strong>The chosen trial hurt' in html
