"""Which code an artefact is recorded with: of the packages as they lie there, whatever is around them."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import trainables
from orchestrator.errors import IntegrityError
from orchestrator.store import paths
from orchestrator.store.checkout import PACKAGES, checkout_state
from orchestrator.store.provenance import (
    BUILT,
    Code,
    OtherCode,
    code_in,
    encoders_of_other_code,
    recorded_code,
    this_code,
    trainables_sha256,
)
from orchestrator.store.store import Store

INSTALLED = Path(trainables.__file__).parent
OURS = Code(commit="1" * 40, dirty=False, trainables_sha256="a" * 64)
OTHER = Code(commit="2" * 40, dirty=True, trainables_sha256="b" * 64)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the sources of ``trainables`` alone."""
    folder = tmp_path / "elsewhere" / "trainables"
    shutil.copytree(INSTALLED, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_the_hash_is_of_the_sources_alone_wherever_they_lie(copied: Path) -> None:
    expected = trainables_sha256(INSTALLED)
    assert trainables_sha256(copied) == expected
    (copied / "notes.txt").write_text("nothing that runs", encoding="utf-8")
    (copied / "__pycache__").mkdir()
    (copied / "__pycache__" / "fold.cpython-311.pyc").write_bytes(b"compiled")
    assert trainables_sha256(copied) == expected


@pytest.mark.parametrize("change", ["content", "name", "new", "gone"])
def test_every_change_of_a_source_gives_another_hash(change: str, copied: Path) -> None:
    before = trainables_sha256(copied)
    file = copied / "models" / "mrcnn.py"
    match change:
        case "content":
            file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n", 1))
        case "name":
            file.rename(copied / "mrcnn.py")
        case "new":
            (copied / "models" / "empty.py").touch()
        case "gone":
            file.unlink()
    assert trainables_sha256(copied) != before


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_a_shell_gives_the_same_hash(copied: Path) -> None:
    line = "find trainables -name '*.py' | LC_ALL=C sort | xargs sha256sum | sha256sum"
    done = subprocess.run(line, shell=True, cwd=copied.parent, capture_output=True, check=True)
    assert done.stdout.decode().split()[0] == trainables_sha256(copied)


Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """Runs git as somebody without settings."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(*arguments: str) -> str:
        name = ("-c", "user.name=n", "-c", "user.email=n@example.org")
        done = subprocess.run(
            ["git", *name, *arguments], capture_output=True, text=True, check=True, encoding="utf-8"
        )
        return done.stdout.strip()

    return run


@pytest.fixture
def checkout(tmp_path: Path, git: Git) -> Path:
    """A repository with one commit of three packages, and no change since."""
    root = tmp_path / "checkout"
    for package in PACKAGES:
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").write_text('"""A package."""\n', encoding="utf-8")
    (root / ".gitignore").write_text("__pycache__/\n.venv/\n", encoding="utf-8")
    (root / "README.md").write_text("A program.\n", encoding="utf-8")
    git("init", "--quiet", str(root))
    git("-C", str(root), "add", ".")
    git("-C", str(root), "commit", "--quiet", "--message", "Begin")
    return root


def test_a_checkout_has_its_commit(checkout: Path, git: Git) -> None:
    commit = git("-C", str(checkout), "rev-parse", "HEAD")
    assert re.fullmatch(r"[0-9a-f]{40}", commit)
    assert checkout_state(checkout) == (commit, False)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("path", "dirty"),
    [
        ("trainables/__init__.py", True),
        ("search_spaces/new.py", True),
        ("orchestrator/reviews/page.html.j2", True),
        ("README.md", False),
        ("runs/sweeps/tau/manifest.json", False),
        ("trainables/__pycache__/a.pyc", False),
    ],
)
def test_changes_of_the_packages_count_and_no_others(
    path: str, dirty: bool, checkout: Path, git: Git
) -> None:
    git("-C", str(checkout), "config", "status.showUntrackedFiles", "no")
    (checkout / path).parent.mkdir(parents=True, exist_ok=True)
    (checkout / path).write_text("# changed\n", encoding="utf-8")
    commit, found = checkout_state(checkout)
    assert commit is not None
    assert found is dirty
    if path.startswith("trainables/__init__"):
        git("-C", str(checkout), "add", "trainables")
        assert checkout_state(checkout) == (commit, True)


def test_asking_changes_nothing_in_the_repository(checkout: Path) -> None:
    os.utime(checkout / "trainables" / "__init__.py", (1, 1))  # git would note that it is as before
    index = (checkout / ".git" / "index").read_bytes()
    assert checkout_state(checkout)[1] is False
    assert (checkout / ".git" / "index").read_bytes() == index


def test_a_wheel_in_a_repository_has_not_its_commit(checkout: Path, git: Git) -> None:
    site = checkout / ".venv" / "lib" / "site-packages"
    for package in PACKAGES:
        shutil.copytree(checkout / package, site / package)
    assert checkout_state(site) == (None, None)
    other = checkout.parent / "other"
    shutil.copytree(site, other)
    git("init", "--quiet", str(other))
    assert checkout_state(other) == (None, None)  # no commit yet
    (other / "notes.txt").touch()
    git("-C", str(other), "add", "notes.txt")
    git("-C", str(other), "commit", "--quiet", "--message", "Notes")
    assert checkout_state(other) == (None, None)  # a commit without the package


def test_a_second_work_tree_has_a_commit_of_its_own(checkout: Path, git: Git) -> None:
    second = checkout.parent / "second"
    git("-C", str(checkout), "worktree", "add", "--quiet", "--detach", str(second))
    (second / "trainables" / "new.py").touch()
    assert checkout_state(second)[1] is True
    assert checkout_state(checkout)[1] is False


def test_what_git_is_told_of_another_repository_does_not_count(
    checkout: Path, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, _ = checkout_state(checkout)
    other = checkout.parent / "other"
    git("init", "--quiet", str(other))
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))  # as in a hook
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / "index"))
    assert checkout_state(checkout) == (commit, False)


def test_without_git_or_a_repository_that_is_in_order_there_is_no_commit(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (checkout / ".git" / "HEAD").write_text("damaged", encoding="utf-8")
    assert checkout_state(checkout) == (None, None)
    monkeypatch.setenv("PATH", str(checkout))
    assert checkout_state(checkout) == (None, None)
    assert capfd.readouterr() == ("", "")


def test_a_repository_of_somebody_else_is_not_read(
    checkout: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs to give a folder away")
    os.chown(checkout, 12345, 12345)
    os.chown(checkout / ".git", 12345, 12345)
    assert checkout_state(checkout) == (None, None)
    assert capfd.readouterr() == ("", "")


@pytest.mark.heavy
def test_a_git_that_hangs_is_not_waited_for(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = tmp_path / "bin" / "git"
    hangs.parent.mkdir()
    hangs.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n", encoding="utf-8")
    hangs.chmod(0o755)
    monkeypatch.setenv("PATH", str(hangs.parent))
    monkeypatch.setattr("orchestrator.store.checkout._PATIENCE_S", 0.2)
    assert checkout_state(checkout) == (None, None)


def test_code_is_that_of_the_packages_in_a_folder(
    checkout: Path, copied: Path, tmp_path: Path
) -> None:
    commit, _ = checkout_state(checkout)
    found = code_in(checkout)
    assert found == Code(
        commit=commit, dirty=False, trainables_sha256=trainables_sha256(checkout / "trainables")
    )
    wheel = copied.parent
    assert code_in(wheel) == Code(
        commit=None, dirty=None, trainables_sha256=trainables_sha256(INSTALLED)
    )
    (wheel / BUILT).parent.mkdir()
    (wheel / BUILT).write_text(json.dumps({"commit": "c" * 40, "dirty": True}), encoding="utf-8")
    assert (code_in(wheel).commit, code_in(wheel).dirty) == ("c" * 40, True)


def test_this_code_is_asked_for_once() -> None:
    assert this_code() is this_code()
    assert this_code().trainables_sha256 == trainables_sha256(INSTALLED)


def test_what_is_recorded_is_read_back(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    assert recorded_code(store, "manifest.json") is None
    for content, expected in (
        ({"code": asdict(OTHER)}, OTHER),
        ({"code": asdict(OTHER) | {"more": 1}}, OTHER),
        ({}, None),
        ({"code": {"commit": "1" * 40, "dirty": False}}, None),
    ):
        store.write_bytes("manifest.json", json.dumps(content).encode())
        assert recorded_code(store, "manifest.json") == expected
    for key, value in (("trainables_sha256", 5), ("commit", []), ("dirty", "no")):
        content = {"code": asdict(OTHER) | {key: value}}
        store.write_bytes("manifest.json", json.dumps(content).encode())
        with pytest.raises(
            IntegrityError, match=rf"manifest\.json is damaged: '{key}' of its 'code'"
        ):
            recorded_code(store, "manifest.json")
    store.write_bytes("manifest.json", b'{\n "code": {"com')
    with pytest.raises(IntegrityError, match=r"manifest\.json:2:11 is damaged"):
        recorded_code(store, "manifest.json")


def save_encoder(store: Store, encoder_id: str, code: Code | None) -> None:
    content = {"encoder_id": encoder_id} | ({"code": asdict(code)} if code else {})
    store.write_bytes(paths.encoder_json(encoder_id), json.dumps(content).encode())


def test_encoders_of_other_code_are_found_together(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    third = replace(OTHER, trainables_sha256="c" * 64)
    for encoder_id, code in {
        "e5": OTHER,
        "e1": OTHER,
        "e2": OURS,
        "e3": replace(OURS, commit=None, dirty=None),  # the same trainables
        "e4": None,
        "e0": third,
    }.items():
        save_encoder(store, encoder_id, code)
    found = encoders_of_other_code(
        store, OURS, ["e5", "e4", "e3", "e2", "e1", "e0", "e1", "missing"]
    )
    assert found == (
        OtherCode(encoders=("e0",), trained_by=third, began_with=OURS),
        OtherCode(encoders=("e1", "e5"), trained_by=OTHER, began_with=OURS),
    )
    assert encoders_of_other_code(store, None, ["e5"]) == ()


def test_code_is_told_in_words() -> None:
    assert OURS.text == "trainables/ aaaaaaaaaaaa (commit 1111111111)"
    assert OTHER.text == "trainables/ bbbbbbbbbbbb (commit 2222222222 with changes)"
    unknown = replace(OURS, commit=None, dirty=None)
    assert unknown.text == "trainables/ aaaaaaaaaaaa (commit unknown)"
