"""Make the store of version 0.1 that ``test_0_1.py`` opens: a finished and a killed sweep of each method.

``python tests/stores/make_0_1.py OUT`` runs the code of version 0.1 on made-up recordings, in about two minutes. The
store is not made anew when the program changes: what it shows is that what an older one wrote can still be used.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMIT = "2462e4575987cc3959a8ea4a77a16ec046c676b8"
"""The last one of version 0.1."""

ROOT = Path(__file__).parents[2]

DATASET = """\
name: made-up
title: Made-up recordings of two laboratories
licence: none (generated)
recordings:
  - files: "*.edf"
    subject: '^shift[01]-seed1-0[0-9]'
    stages:
      from: annotations
channels:
  eeg: [EEG C3-M2]
"""

# Shortest trainings; two stages, because half a dozen minutes of sleep hold no more in each recording.
COMMON = """\
stages: [W, N2]
"""
SOURCE = """\
source:
  dataset: made-up
  subjects: ["shift0-*"]
  validation: [shift0-seed1-04, shift0-seed1-05]
pretrain: { n_passes: 1, batch_size: 16 }
"""
SWEEPS = {
    "pretrain": f"""\
method: pretrain
{COMMON}{SOURCE}search:
  n_trials: 2
  space: {{ batch_size: {{ integer: [16, 32] }} }}
  enqueue: [{{ batch_size: 16 }}, {{ batch_size: 32 }}]
""",
    "selective": f"""\
method: selective
{COMMON}{SOURCE}target: {{ dataset: made-up, subjects: ["shift1-*"] }}
batch_size: 8
search:
  n_trials: 5
  n_steps: 2
  max_concurrent: 1
  enqueue_taus: [0.25, 0.5, 0.75]
""",
    "sleepmg": f"""\
method: sleepmg
{COMMON}dataset: made-up
modalities: [eeg]
folds: {{ kind: k_fold, n_folds: 2 }}
network: {{ multimodal: false }}
modulation: {{ mod_y: false, mod_d: false }}
training: {{ n_passes: 1, batch_size: 16 }}
search:
  n_trials: 2
  max_concurrent: 1
  space: {{ grl_weight: {{ log_uniform: [0.01, 0.1] }} }}
  enqueue: [{{ grl_weight: 0.05 }}]
""",
}


def main(out: Path) -> None:
    """Write the store, and the files that its sweeps were begun with."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        code = folder / "code"
        _run("git", "-C", ROOT, "worktree", "add", "--quiet", "--detach", code, COMMIT)
        try:
            _make(folder, code, out)
        finally:
            _run("git", "-C", ROOT, "worktree", "remove", "--force", code)


def _make(folder: Path, code: Path, out: Path) -> None:
    out.mkdir(parents=True)
    store = out / "store"
    command = (sys.executable, "-m", "orchestrator")
    # A driver of its own that finds the code of that time, also in the processes that Ray starts.
    env = {**os.environ, "PYTHONPATH": str(code), "ORCHESTRATOR_STORE": str(store)}

    def orchestrator(*arguments: str | Path) -> None:
        _run(*command, *arguments, cwd=folder, env=env)

    for shift, n_subjects in ((0, 5), (1, 1)):
        orchestrator(
            *("synth", "data", "--shift", str(shift), "--subjects", str(n_subjects)),
            *("--hours", "0.3"),
        )
    (out / "made-up.yaml").write_text(DATASET, encoding="utf-8")
    orchestrator("ingest", out / "made-up.yaml", "--data", "data")
    for method, text in SWEEPS.items():
        for state in ("finished", "killed"):
            name = f"{method}-{state}"
            more = text.replace("n_trials: 2", "n_trials: 3") if state == "killed" else text
            (out / f"{name}.yaml").write_text(f"name: {name}\n{more}", encoding="utf-8")
        orchestrator("sweep", out / f"{method}-finished.yaml")
        _kill_between_trials(command, out / f"{method}-killed.yaml", store, folder, env)
    _tell(store)


def _kill_between_trials(
    command: tuple[str, ...], file: Path, store: Path, cwd: Path, env: dict[str, str]
) -> None:
    """Run a sweep until one trial of its search is done, and kill all of its processes."""
    events = store / "sweeps" / file.stem / "events.jsonl"
    with subprocess.Popen(
        [*command, "sweep", file], cwd=cwd, env=env, start_new_session=True
    ) as process:
        while process.poll() is None:
            if events.exists() and '"trial_done"' in events.read_text(encoding="utf-8"):
                os.killpg(process.pid, signal.SIGKILL)
                break
            time.sleep(0.02)
    assert process.returncode == -signal.SIGKILL, f"{file.stem} ended by itself; run this again"
    under_way = [*store.rglob("checkpoint*.safetensors"), *store.rglob("checkpoints/*")]
    assert not under_way, f"killed in the middle of a trial ({under_way}); run this again"


def _tell(store: Path) -> None:
    """Leave out Tune's own files, which nothing reads again, and say what is left."""
    for folder in store.glob("sweeps/*/tune"):
        shutil.rmtree(folder)
    n_bytes = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    n_trials = {
        log.parent.name: sum(
            json.loads(line)["event"] == "trial_done"
            for line in log.read_text(encoding="utf-8").splitlines()
        )
        for log in sorted(store.glob("sweeps/*/events.jsonl"))
    }
    print(f"{n_bytes / 1e6:.1f} MB; trials done: {n_trials}")


def _run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    subprocess.run(command, check=True, cwd=cwd, env=env)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
