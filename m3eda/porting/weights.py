"""What networks of the agent `trust-region` have learnt of a design, to be begun with elsewhere.

Weight sharing of Yang et al., "Trust-Region Method with Deep Reinforcement Learning in Analog
Design Space Exploration", DAC 2021 (arXiv 2009.13772), section V-C. A ledger keeps trials, not
networks, so these are trained again on the trials, as the agent would be after each.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from m3eda.agents.trust_region import TrustRegion
from m3eda.design.space import Space
from m3eda.design.types import Design
from m3eda.errors import DesignError, Mistake
from m3eda.simulate.trial import Trial

AGENT = "trust-region"
MOST_LESSONS = 300
"""Times that networks are trained, on ever more trials."""


def options_of(design: Design) -> dict[str, Any]:
    """The options of `design` for the trust region, without weights of its own."""
    given = design.agent.options if design.agent.name == AGENT else {}
    return {key: value for key, value in given.items() if key != "weights"}


def learnt_weights(design: Design, trials: Sequence[Trial]) -> bytes:
    """The weights after `trials` of `design`, as the text of an .npz file.

    Raises DesignError where there are none.
    """
    if not trials:
        text, hint = "no trials to learn weights from", "size the design first, or share starts"
        raise DesignError([Mistake(text, design.path, hint=hint)])
    agent = TrustRegion(replace(design, starts=()), design.agent.seed, options_of(design))
    every = max(len(trials) // MOST_LESSONS, 1)
    for number, trial in enumerate(trials, 1):
        agent.tell([trial])
        if number % every == 0:
            agent.learn()
    buffer = io.BytesIO()
    np.savez(buffer, **agent.weights())  # type: ignore[arg-type]
    return buffer.getvalue()


def check_alike(old: Design, new: Design) -> None:
    """Raise DesignError where networks of `old` do not fit `new`."""
    differ = _inputs(old) != _inputs(new), _outputs(old) != _outputs(new)
    if any(differ):
        what = "free parameters" if differ[0] else "specs"
        text = f"weights cannot be shared: the {what} are not the same in both technologies"
        raise DesignError([Mistake(text, old.path, hint="--strategy start")])


def _inputs(design: Design) -> tuple[str, ...]:
    return Space(design).names


def _outputs(design: Design) -> Mapping[str, object] | list[object]:
    return [*design.specs, *design.objective.minimize, *design.objective.maximize]
