"""A wheel has no repository, so its build writes down the commit that it was built from, where there is one."""

import json
import runpy
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.builders.wheel import WheelBuilderConfig


class CommitHook(BuildHookInterface[WheelBuilderConfig]):
    """Puts ``orchestrator/commit.json`` into a wheel, where ``orchestrator.store.provenance`` looks for it."""

    _aside: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the file aside: a build leaves the sources as they are."""
        if version == "editable":  # which runs in the repository
            return
        root = Path(self.root)
        checkout = runpy.run_path(str(root / "orchestrator" / "store" / "checkout.py"))
        commit, dirty = checkout["checkout_state"](root)
        if commit is None:
            return
        self._aside = tempfile.TemporaryDirectory()
        file = Path(self._aside.name, "commit.json")
        file.write_text(json.dumps({"commit": commit, "dirty": dirty}))
        build_data["force_include"][str(file)] = "orchestrator/commit.json"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove it again."""
        if self._aside is not None:
            self._aside.cleanup()
