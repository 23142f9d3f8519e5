"""The test is touched once: which models it has seen, and when, is written before they see it."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psst.files import write_atomic

__all__ = ["TestRecord"]

NAME = "test_touched.json"


class TestRecord:
    """`test_touched.json` of a search.

    Args:
        folder: The search's output folder.
        option: How the user typed the folder, for errors.
    """

    __test__ = False  # for pytest: no test

    def __init__(self, folder: Path, option: str = "--output") -> None:
        self.path = folder / NAME
        self.option = option

    def read(self) -> dict[str, Any] | None:
        """``when`` and ``units``; None if nothing has been tested."""
        if not self.path.is_file():
            return None
        return dict(json.loads(self.path.read_text(encoding="utf-8")))

    def touch(self, units: Sequence[str]) -> str:
        """Note that these units are about to be tested.

        Returns:
            When the test was touched before, by these units or more, whose results are used again; empty if
            this is the first time.

        Raises:
            ValueError: Other units have been tested: another look at the test would be one more choice.
        """
        before = self.read()
        if before is None:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            write_atomic(self.path, json.dumps({"when": now, "units": list(units)}, indent=1))
            return ""
        new = [name for name in units if name not in before["units"]]
        if new:
            raise ValueError(
                f"`{self.option} {self.path.parent}` was tested on {before['when']} with "
                f"{', '.join(before['units'])}, and now {', '.join(new)} would see the test, too: it is for "
                f"one choice. Give another `{self.option}` for another search, or compare models with "
                "`psst test` where the test may be seen again."
            )
        return str(before["when"])
