import csv
import io
import math
import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pyarrow as pa
import pytest

from orchestrator.errors import DataError, IntegrityError
from orchestrator.methods.selective.review.findings import find
from orchestrator.methods.selective.review.records import read_sweep
from orchestrator.methods.selective.review.report import SECTIONS, render_page
from orchestrator.reviews import write_review
from orchestrator.reviews.page import Figure
from orchestrator.store import paths
from orchestrator.store.store import Store, parquet_bytes

SaveSweep = Callable[..., Store]
FILES = {
    "review.html",
    "tau_curve.png",
    "tau_curve.csv",
    "trials.csv",
    "rewards.png",
    "rewards.csv",
}

NO_PICTURES = {one.file: b"" for one in SECTIONS if isinstance(one, Figure)}


CLAIMS = re.compile(
    "helped|hurt|harm|no difference|negative transfer|verdict|gives up|poor guide|"
    "(hardly|moderately|strongly) sensitive",
    re.IGNORECASE,
)
"""What a page must not say of one run each."""


def read(store: Store, filename: str, name: str = "tau-lab") -> bytes:
    return store.read_bytes(paths.review(name, filename))


def page(store: Store, name: str = "tau-lab") -> str:
    """The page without its figures, which take a second to draw."""
    return render_page(find(read_sweep(store, name)), NO_PICTURES)


def page_with_figures(store: Store, name: str = "tau-lab") -> str:
    write_review(store, name)
    return read(store, "review.html", name).decode()


def table(store: Store, filename: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(read(store, filename).decode())))


@pytest.mark.heavy
def test_writes_every_file_and_returns_where_the_page_is(save_sweep: SaveSweep) -> None:
    store = save_sweep()
    assert write_review(store, "tau-lab") == store.uri_of("reviews/tau-lab/review.html")
    assert set(store.files("reviews")) == {f"reviews/tau-lab/{name}" for name in FILES}


def test_a_target_without_labels_is_not_judged_and_what_can_be_shown_is(
    save_sweep: SaveSweep, made: Any
) -> None:
    html = page(save_sweep(**made.unjudged())).partition("</style>")[2]
    said = " ".join(re.sub(r"<[^>]*>", " ", html).split())
    assert "Not judged: the target has no labels. The objective chooses tau_quantile" in said
    assert "no metric: the target has no labels" in said
    assert "Nothing on this page says how well the target is staged" in said
    assert not re.search("target macro-F1|target accuracy|Transductive|minus arm|\\bnan\\b", said)
    assert "What the chosen trial and the arms say of the target" in said
    assert re.search(r"no_adapt 0 0 0\.500 90\s?% 10\s?% 0\.750 0\.250", said)
    assert re.search(r"x18 100 40\s?% 60\s?% 0\.750 0\.250", said)
    assert re.search(r"source, scored \d+\s?% \d+\s?%", said)
    assert not CLAIMS.search(said.replace("whether adaptation helped or hurt", ""))


def test_an_unjudged_sweep_of_which_no_trial_finished(save_sweep: SaveSweep, made: Any) -> None:
    given = made.unjudged()
    ended = {"state": "stopped", "objective": None, "stopped_after": 1, "signature": None}
    given["trials"] = [row | (ended if row["kind"] == "trial" else {}) for row in given["trials"]]
    html = page(save_sweep(**given))
    assert "What the chosen trial and the arms say of the target" in html
    assert "Predicted stages of each subject" not in html


def test_the_page_ends_with_how_to_stage_a_night_where_the_model_is_kept(
    save_sweep: SaveSweep, made: Any
) -> None:
    store = save_sweep(**made.unjudged())
    assert "orchestrator predict" not in page(store)
    best = max(
        (row for row in made.unjudged()["trials"] if row["kind"] == "trial"),
        key=lambda row: row["objective"],
    )["trial"]
    store.write_bytes(paths.model_json("tau-lab", "arm-random"), b"{}")
    assert "orchestrator predict" not in page(store)
    store.write_bytes(paths.model_json("tau-lab", best), b"{}")
    html = page(store)
    assert f"Stage nights with {best}" in html
    assert html.rindex("orchestrator predict tau-lab night.edf") > html.rindex("Provenance")


def adapted_to_each(made: Any) -> dict[str, Any]:
    """A sweep that adapted to each of two target subjects by itself, for `save_sweep`."""
    trials, batches = made.sweep()
    for row in trials:
        row |= {"n_kept": 2 * row["n_kept"], "n_selectable": 2 * row["n_selectable"]}
        row |= {"tau_absolute": None}
    return {
        "trials": trials,
        "batches": batches,
        "adapt_to": "subject",
        "target_subjects": ["x18", "x19"],
        "target_adapt_subjects": ["x18", "x19"],
    }


def test_a_page_of_each_subject_by_itself_says_what_is_summed(
    save_sweep: SaveSweep, made: Any
) -> None:
    html = unescape(page(save_sweep(**adapted_to_each(made))))
    said = " ".join(re.sub(r"<[^>]*>", " ", html).split())
    assert "98 of 196 source batches, summed over 2 target subjects" in said
    assert "tau as reward another one for each subject" in said
    assert said.count("numbers of batches are sums over 2 target subjects") == 3
    assert "finetune on 98 batches each, summed over the target subjects, with the same" in said
    assert "so what was kept is not marked" in said
    assert "grouped by subject, selectable and held out." in html
    assert "mean over the target batches of each subject by itself" in said
    assert "30 steps for each model" in said
    assert "R > \u2013" not in said
    plain = unescape(page(save_sweep()))
    assert "target subjects" not in plain
    assert "grouped by subject, kept, not kept and held out." in plain


def test_a_judged_sweep_shows_metrics_instead(save_sweep: SaveSweep, made: Any) -> None:
    html = page(save_sweep(predicted=made.unjudged()["predicted"]))
    assert "Not judged" not in html
    assert "say of the target" not in html
    assert "The chosen trial and the arms" in html


@pytest.mark.heavy
@pytest.mark.parametrize("objective", ["source_val", "target_emd", "target_certainty"])
def test_figures_of_an_unjudged_sweep(save_sweep: SaveSweep, made: Any, objective: str) -> None:
    store = save_sweep(**made.unjudged() | {"objective": objective})
    html = page_with_figures(store)
    assert html.count('src="data:image/png;base64,') == 2
    assert "Both lines are macro-F1" not in html


@pytest.mark.heavy
def test_same_sweep_same_bytes(save_sweep: SaveSweep) -> None:
    store = save_sweep()
    write_review(store, "tau-lab")
    first = {name: read(store, name) for name in FILES}
    write_review(store, "tau-lab")
    assert {name: read(store, name) for name in FILES} == first
    assert b"Software" not in first["tau_curve.png"] + first["rewards.png"]


@pytest.mark.heavy
def test_page_needs_nothing_else(save_sweep: SaveSweep) -> None:
    html = page_with_figures(save_sweep())
    assert not re.search(r"https?://|<script|<link|@import|url\(", html)
    assert html.count('src="data:image/png;base64,') == len(re.findall("<img", html)) == 2


def test_page_answers_on_top_and_shows_trials_arms_and_origin(save_sweep: SaveSweep) -> None:
    html = page(save_sweep())
    top = html[: html.index("<figure>")]
    assert "over 5 enqueued taus, one run each, may be chance; the objective chooses" in top
    assert "49 <small>of 98</small>" in top
    for text in ("t013", "no_adapt", "e3a91c", "5c0de5", "afr_gap", "2501.03764", "no interval"):
        assert text in html
    assert "oracle" not in html.split("</style>")[1]


def test_trials_are_sorted_by_objective_and_arms_stand_apart(
    save_sweep: SaveSweep, made: Any
) -> None:
    rows = [
        made.trial_row("t000", objective=0.1),
        made.trial_row("t001", objective=None),
        made.trial_row("t002", objective=0.9),
        made.arm_row("all_source", objective=0.95),
    ]
    html = page(save_sweep(trials=rows))
    trials = html[html.index("<h2>Trials</h2>") :]
    order = [trials.index(f"<td>{name}</td>") for name in ("t002", "t000", "t001", "all_source")]
    assert order == sorted(order)


@pytest.mark.heavy
def test_other_steps_are_told_wherever_they_matter(save_sweep: SaveSweep, made: Any) -> None:
    rows = [
        made.trial_row("t000", objective=0.5),
        made.trial_row("t001", objective=0.9, enqueued=False, n_steps=120),
        *(made.arm_row(arm, target_macro_f1=0.5) for arm in ("no_adapt", "all_source", "random")),
    ]
    html = page(save_sweep(trials=rows))
    assert "Line and arms are finetunings of 30 steps, diamonds of 120" in html
    assert ">t001 (120 steps) against</th>" in html
    assert "<dt>steps</dt><dd>120</dd>" in html
    assert html.count("one run each, may be chance; other steps</td>") == 2
    assert html.count("one run each, may be chance</td>") == 1
    assert "30 steps in trained arms and enqueued trials, 120 in sampled ones" in html
    html = page(save_sweep(trials=[rows[0], *rows[2:]]))
    assert "other steps</td>" not in html
    assert "diamonds" not in html
    assert "learning rate of the line" not in html
    assert "30 steps in every trial and trained arm" in html


@pytest.mark.heavy
def test_what_was_not_trained_again_is_marked_and_counted(save_sweep: SaveSweep, made: Any) -> None:
    rows = [
        made.trial_row("t000"),
        made.trial_row("t001", reused_from="t000"),
        made.trial_row("t002", enqueued=False, reused_from="t000"),
    ]
    html = page(save_sweep(trials=rows))
    assert "2 trainings were saved: the trial marked <q>as t000</q>" in html
    assert html.count('<td class="text">enqueued, as t000</td>') == 1
    assert html.count('<td class="text">sampled, as t000</td>') == 1
    assert "saved" not in page(save_sweep(trials=rows[:1]))
    store = save_sweep(trials=rows)
    write_review(store, "tau-lab")
    assert [t["reused_from"] for t in table(store, "trials.csv")] == ["", "t000", "t000"]


@pytest.mark.heavy
def test_curve_table_keeps_every_digit(save_sweep: SaveSweep, made: Any) -> None:
    tau = math.nextafter(0.1, 0)
    rows = [
        made.trial_row("t000", tau_quantile=0.25, tau_absolute=tau, target_macro_f1=math.nan),
        made.arm_row("no_adapt", objective=None),
    ]
    store = save_sweep(trials=rows)
    write_review(store, "tau-lab")
    assert read(store, "tau_curve.csv").decode() == (
        "trial,kind,enqueued,tau_quantile,tau_absolute,learning_rate,n_kept,kept_fraction,n_steps,"
        "objective,target_macro_f1\n"
        "t000,trial,true,0.25,0.09999999999999999,0.0001,10,0.5,30,0.6,\n"
        "arm-no_adapt,arm,false,,,,0,0.0,0,,0.6\n"
    )


@pytest.mark.heavy
def test_tables_hold_every_trial_and_batch(save_sweep: SaveSweep, made: Any) -> None:
    batches = [made.batch_row(0, emd=0.0), made.batch_row(1, emd=4.0, selectable=False)]
    rows = [made.trial_row("t000"), made.trial_row("t001", state="failed", error="boom, twice")]
    store = save_sweep(trials=rows, batches=batches)
    write_review(store, "tau-lab")
    trials, rewards = table(store, "trials.csv"), table(store, "rewards.csv")
    assert [(t["trial"], t["error"]) for t in trials] == [("t000", ""), ("t001", "boom, twice")]
    assert [(b["reward"], b["selectable"]) for b in rewards] == [("inf", "true"), ("0.25", "false")]


def test_text_of_the_sweep_is_escaped(save_sweep: SaveSweep, made: Any) -> None:
    evil = "<script>alert(1)</script>"
    rows = [made.trial_row(), made.trial_row("<i>t</i>", state="failed", error=evil)]
    html = page(save_sweep(trials=rows, source_dataset=evil, versions={evil: "1"}))
    assert "<script" not in html
    assert "<i>" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3


@pytest.mark.heavy
def test_oracle_objective_is_red(save_sweep: SaveSweep) -> None:
    html = page_with_figures(save_sweep(objective="oracle_target_val"))
    assert '<code class="oracle">oracle_target_val</code>' in html
    assert re.search(r"\.hurt, \.oracle \{ color: var\(--red\)", html)
    assert "could not have been found without target labels" in html


def test_an_objective_of_ours_is_explained(save_sweep: SaveSweep) -> None:
    told = "under the finetuned encoder"
    html = page(save_sweep(objective="target_emd"))
    assert told in html
    assert "How it is taken is a choice made here." in html
    assert "on another scale" in html
    assert "Both lines are macro-F1" not in html
    assert told not in page(save_sweep(objective="source_val"))


def told(html: str) -> str:
    """Return what a page says: without its styles and pictures."""
    return re.sub(r"base64,[^\"]+", "", html.split("</style>")[1])


def test_a_difference_of_one_run_is_no_finding(save_sweep: SaveSweep, made: Any) -> None:
    for against in (0.64, 0.56):
        rows = [
            made.trial_row("t000", objective=0.9),
            made.trial_row("t001", target_macro_f1=0.8, objective=0.1),
            made.trial_row("t002", target_macro_f1=0.7, objective=0.2),
            *(
                made.arm_row(arm, target_macro_f1=against)
                for arm in ("no_adapt", "all_source", "random")
            ),
        ]
        said = told(page(save_sweep(trials=rows)))
        assert not CLAIMS.search(said)
        assert not re.findall(r'class="[^"]*(?:helped|hurt|alarm|oracle|difference)', said)
        difference = "\u22120.040" if against > 0.6 else "+0.040"
        row = f'<td>{difference}</td>\n    <td class="wrap" style="min-width: 10rem">one run each, may be chance</td>'
        assert said.count(row) == 3
        assert (
            f"an arm is {difference} for no adaptation, {difference} for all source batches" in said
        )


def test_another_learning_rate_is_told_wherever_it_matters(
    save_sweep: SaveSweep, made: Any
) -> None:
    arms = [made.arm_row(arm, target_macro_f1=0.5) for arm in ("no_adapt", "all_source", "random")]
    slower = made.trial_row("t001", objective=0.9, enqueued=False, learning_rate=1.1e-5)
    html = page(save_sweep(trials=[made.trial_row("t000", objective=0.5), slower, *arms]))
    assert ">t001 (learning rate 1.1e\u221205) against</th>" in html
    assert html.count("one run each, may be chance; other learning rate</td>") == 2
    assert html.count("one run each, may be chance</td>") == 1
    assert html.count("<td>30</td><td>1.0e\u221204</td>") == 2
    assert "arms took 1.0e\u221204, the chosen trial t001 1.1e\u221205." in html
    assert "The learning rate of the line and of the arms is 1.0e\u221204" in html
    both = slower | {"n_steps": 120}
    html = page(save_sweep(trials=[made.trial_row("t000", objective=0.5), both, *arms]))
    assert ">t001 (120 steps, learning rate 1.1e\u221205) against</th>" in html
    assert html.count("one run each, may be chance; other steps and learning rate</td>") == 2
    assert html.count('<div class="caution warning"><strong>Not of equal') == 1


def test_reward_against_chance_is_one_run_each(save_sweep: SaveSweep, made: Any) -> None:
    rows = [made.trial_row("t000"), made.arm_row("random", target_macro_f1=0.55)]
    assert "t000 minus random is +0.050, one run each, may be chance." in page(
        save_sweep(trials=rows)
    )


def test_replicates_are_told_as_means_and_may_say_sensitive(
    save_sweep: SaveSweep, made: Any
) -> None:
    seeds = {"n_replicates": 3, "objective_low": 0.59, "objective_high": 0.61}
    rows = [
        made.trial_row("t000", target_macro_f1=0.50, objective=0.59, **seeds),
        made.trial_row("t001", target_macro_f1=0.56, objective=0.60, **seeds),
        made.arm_row("no_adapt", target_macro_f1=0.60),
        made.arm_row("random", target_macro_f1=0.50, **seeds),
    ]
    said = told(page(save_sweep(trials=rows)))
    assert "Staging is strongly sensitive to tau: target macro-F1 is 0.500\u20130.560" in said
    assert said.count(">means of 3 runs each, no test was made</td>") == 2
    assert "one run each, may be chance" not in said
    assert not re.search("helped|hurt|verdict", said)


@pytest.mark.heavy
def test_single_trial_without_arms(save_sweep: SaveSweep, made: Any) -> None:
    html = page_with_figures(save_sweep(trials=[made.trial_row()], batches=[made.batch_row()]))
    assert "The objective chooses tau_quantile 0.50" in html
    assert html.count(">not run</td>") == 3


@pytest.mark.heavy
def test_no_trial_finished(save_sweep: SaveSweep, made: Any) -> None:
    nothing = {"objective": None, "target_macro_f1": None}
    rows = [made.trial_row(f"t{i:03d}", state="failed", error=None, **nothing) for i in range(7)]
    html = page_with_figures(save_sweep(trials=rows))
    assert "says nothing about tau" in html
    assert "7 of 7 trials and arms failed." in html
    assert "and 2 more" in html


@pytest.mark.heavy
def test_metrics_that_are_all_undefined_are_dashes(save_sweep: SaveSweep, made: Any) -> None:
    undefined = dict.fromkeys(
        ("objective", "target_macro_f1", "target_accuracy", "target_kappa"), math.nan
    )
    rows = [
        made.trial_row("t000", **undefined),
        made.trial_row("t001", enqueued=False, **undefined),
        made.arm_row("no_adapt", **undefined),
    ]
    html = page_with_figures(save_sweep(trials=rows))
    assert not re.search(r"\bnan\b", re.sub(r"base64,[^\"]+", "", html), re.IGNORECASE)
    assert "says nothing about tau" in html


@pytest.mark.heavy
def test_what_the_scheduler_ended_is_no_failure(save_sweep: SaveSweep, made: Any) -> None:
    ended = {"state": "stopped", "objective": None, "target_macro_f1": None, "stopped_after": 3}
    rows = [made.trial_row("t000"), made.trial_row("t001", **ended)]
    html = page_with_figures(save_sweep(trials=rows))
    assert "ended by the scheduler after report 3" in html
    assert "The scheduler ended 1 trial early; it has no metrics." in html
    assert "failed." not in html
    assert "The scheduler" not in page(save_sweep(trials=rows[:1]))


def test_several_seeds_have_an_interval(save_sweep: SaveSweep, made: Any) -> None:
    seeds = {"n_replicates": 5, "objective": 0.6, "objective_low": 0.55, "objective_high": 0.65}
    html = page(save_sweep(trials=[made.trial_row("t000", **seeds)]))
    assert "<td>0.600 (0.550 to 0.650)</td>" in html
    assert "Each was trained with 5 seeds" in html
    assert "seeds: metrics are means" not in page(save_sweep(trials=[made.trial_row("t000")]))


def test_several_objectives_have_a_front(save_sweep: SaveSweep, made: Any) -> None:
    rows = [
        made.trial_row("t000", objective=0.5, transfer_margin=0.04, cost=960.0, on_front=True),
        made.trial_row("t001", objective=0.7, transfer_margin=-0.02, cost=1920.0, on_front=True),
        made.trial_row("t002", objective=0.4, transfer_margin=0.01, cost=960.0, on_front=False),
    ]
    store = save_sweep(trials=rows, also=["transfer_margin", "cost"])
    html = page(store)
    front = html[html.index("<h2>Trade-offs</h2>") :].split("</table>")[0]
    assert (
        "<th>gain of the subject who gains least</th><th>epochs through the network</th>" in front
    )
    assert front.index("<td>t001</td>") < front.index("<td>t000</td>")
    assert "<td>0.700</td><td>\u22120.020</td><td>1,920</td>" in front
    assert "t002" not in front
    assert "Trade-offs" not in page(save_sweep(trials=rows))


def test_files_that_are_damaged_are_named_and_nothing_is_written(save_sweep: SaveSweep) -> None:
    store = save_sweep()
    manifest = store.read_bytes(paths.sweep_manifest("tau-lab"))
    table = parquet_bytes(pa.table({"trial": ["t000"]}))
    half: list[Callable[[bytes], bytes]] = [
        lambda data: data[: len(data) // 2],
        lambda data: bytes(len(data)),
        lambda data: b"",
    ]
    for path, change in (
        *((paths.sweep_manifest("tau-lab"), damaged) for damaged in half),
        (paths.sweep_manifest("tau-lab"), lambda data: b"[]"),
        (paths.sweep_manifest("tau-lab"), lambda data: b"null"),
        (paths.sweep_manifest("tau-lab"), lambda data: data.replace(b"selective", b"\xff")),
        *((paths.sweep_trials("tau-lab"), damaged) for damaged in half),
        *((paths.sweep_batches("tau-lab"), damaged) for damaged in half),
    ):
        before = store.read_bytes(path)
        store.write_bytes(path, change(before))
        line = r":\d+:\d+" if path.endswith("json") else ""
        with pytest.raises(IntegrityError, match=rf"{store.uri_of(path)}{line} is damaged"):
            write_review(store, "tau-lab")
        store.write_bytes(path, before)
    for path, content in (
        (paths.sweep_manifest("tau-lab"), manifest.replace(b'"objective"', b'"nosuchkey"')),
        (paths.sweep_trials("tau-lab"), table),
    ):
        before = store.read_bytes(path)
        store.write_bytes(path, content)
        with pytest.raises(DataError, match="another version wrote it"):
            write_review(store, "tau-lab")
        store.write_bytes(path, before)
    assert store.files("reviews") == []
