"""Whatever stands in a design file, it is a design or a list of mistakes with places."""

from __future__ import annotations

import copy

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3eda.design import Design
from m3eda.errors import DesignError
from tests.design_samples import DESIGN, load, write

WHOLE = f"""{DESIGN}
description: a filter
technology: {{name: demo, lib: models.lib, sections: {{tt: tt}}, nominal: tt, supply: {{vdd: 1.2}}}}
simulator: {{name: ngspice, options: {{reltol: 1e-4}}, timeout: 60}}
objective: {{minimize: gain, maximize: [pm]}}
corners: {{process: [tt], vdd: [1, 2], named: [{{name: hot, temp: 125}}]}}
variation: {{mismatch: true, samples: 10, yield: 0.9}}
agent: {{name: auto, budget: 500, options: {{a: 1}}}}
failures: {{retries: 1, ladder: [gmin]}}
plugins: [mine.py]
"""


def _paths(data, path=()):
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from _paths(value, (*path, key))


PATHS = list(_paths(yaml.safe_load(WHOLE)))
JUNK = [None, "", "x", "1M", "2 *", "v(out)", 0, -1, 1e400, True, [], [None], ["a", "a"], [[1]],
        {}, {"": 1}, {"a": None}, {"min": 1}, {1: {2: 3}}, "../x", "$X", "a: b"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("junk")
    load(write(folder, WHOLE, models__lib="", mine__py=""))
    return folder


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.sampled_from(PATHS), st.sampled_from(JUNK), st.booleans()),
        min_size=1,
        max_size=4,
    )
)
def test_junk_anywhere_is_told_or_taken(folder, changes):
    data = yaml.safe_load(WHOLE)
    for path, junk, as_key in changes:
        holder = data
        for step in path[:-1]:
            known = isinstance(holder, dict) and step in holder
            known = known or (isinstance(holder, list) and step in range(len(holder)))
            holder = holder[step] if known else None
        inside = isinstance(holder, list) and path[-1] in range(len(holder))
        if isinstance(holder, dict) and as_key:
            holder[str(junk)] = holder.pop(path[-1], None)
        elif isinstance(holder, dict) or inside:
            holder[path[-1]] = copy.deepcopy(junk)
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    try:
        complete = isinstance(load(path), Design)
    except DesignError as error:
        complete = all(m.file and m.line and m.column and m.message for m in error.mistakes)
    assert complete
