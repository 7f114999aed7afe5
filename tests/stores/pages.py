"""The reviews of the stored sweeps, but for their pictures, which no two versions of a library draw alike.

``python tests/stores/pages.py`` writes them anew, where they are meant to change.
"""

import re
import shutil
import tempfile
from pathlib import Path

from orchestrator.reviews.report import write_review
from orchestrator.store import paths
from orchestrator.store.store import Store

FOLDER = Path(__file__).parent / "0.1"
FINISHED = ("pretrain-finished", "selective-finished", "sleepmg-finished")
_PICTURE = re.compile(r"data:image/[a-z+]+;base64,[A-Za-z0-9+/=]+")


def pages_of(store: Store, name: str) -> dict[str, str]:
    """Write the review of a sweep, and return its page and tables by file name, pictures left out."""
    write_review(store, name)
    files = {Path(path).name: path for path in store.files(f"reviews/{name}")}
    return {
        file: _PICTURE.sub("(picture)", store.read_bytes(path).decode())
        for file, path in files.items()
        if not file.endswith(".png")
    }


def main() -> None:
    """Write them anew."""
    with tempfile.TemporaryDirectory() as scratch:
        store = Store.open(str(shutil.copytree(FOLDER / "store", Path(scratch) / "store")))
        for name in FINISHED:
            for file, text in pages_of(store, name).items():
                path = FOLDER / "pages" / paths.review(name, file)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(text.encode())


if __name__ == "__main__":
    main()
