"""The environments by name, for `gymnasium.make`: this module registers them when it is imported.

`gymnasium.make("m3eda.learning.registration:m3eda/Sizing-v0", ...)` imports it by itself. The
environments' own modules are imported when one is made.
"""

from __future__ import annotations

from gymnasium.envs.registration import register, registry

IDS = {
    "m3eda/Sizing-v0": (
        "m3eda.learning.environment:SizingEnv",
        "m3eda.learning.vector:one_circuit",
    ),
    "m3eda/MultiCircuit-v0": (
        "m3eda.learning.environment:MultiCircuitEnv",
        "m3eda.learning.vector:SizingVectorEnv",
    ),
}
"""Name -> the environment, and many of it in step."""

for name, (single, many) in IDS.items():
    if name not in registry:
        register(name, entry_point=single, vector_entry_point=many)
