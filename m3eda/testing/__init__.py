"""What m3eda relies on, as pytest classes that an author of plugins subclasses with one fixture."""

from __future__ import annotations

import contextlib

KINDS = ("agents", "measures", "sessions", "simulators", "technologies")

with contextlib.suppress(ImportError):  # the fakes are of use without pytest
    import pytest

    # before they are imported: only then a failed `assert` tells what the values were
    pytest.register_assert_rewrite(*(f"{__name__}.{kind}" for kind in KINDS))
