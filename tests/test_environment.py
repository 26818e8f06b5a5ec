"""The environments: what is observed, rewarded and ended, as the M3 paper has it."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from m3eda.design.types import Corner
from m3eda.errors import DesignError
from m3eda.learning import Setting, Simulations, TaskGenerator
from m3eda.learning.episodes import Episode, Rules
from m3eda.learning.settings import design_specs
from m3eda.learning.simulations import Request
from m3eda.learning.tasks import Task
from m3eda.simulate.trial import CornerResult
from m3eda.simulate.types import State
from tests.learning_samples import corner_frequency, filter_project, filter_setting

gymnasium = pytest.importorskip("gymnasium", "1.1", reason="needs the extra m3eda[gym]")

from gymnasium.utils.env_checker import check_env  # noqa: E402

from m3eda.learning.environment import MultiCircuitEnv, SizingEnv  # noqa: E402
from m3eda.learning.vector import SizingVectorEnv  # noqa: E402

needs_sb3 = pytest.mark.skipif(
    importlib.util.find_spec("stable_baselines3") is None, reason="needs stable-baselines3"
)


def d(x, y):
    return (x - y) / (abs(x) + abs(y))


def generator(folder, seed=1, **options):
    return TaskGenerator(settings=[filter_setting(folder, **options)], seed=seed)


@pytest.mark.simulator
def test_an_episode_is_that_of_the_paper(tmp_path):
    env = SizingEnv(tasks=generator(tmp_path, closed=False), move=0.25)
    number = next(n for n in range(99) if env.world.tasks.task(n).target == 2)
    observation, info = env.reset(options={"task": number})
    assert observation[:3] == pytest.approx([0.5, 0.5, 0.5], abs=0.02)
    rng = np.random.default_rng(1)
    for step in range(1, 31):
        before = observation[:3]
        action = rng.uniform(-1, 1, 3).astype(np.float32)
        observation, reward, terminated, truncated, info = env.step(action)
        assert observation[:3] == pytest.approx(np.clip(before + 0.25 * action, 0, 1), abs=1e-6)
        low, high = env.world.tasks.settings[0].targets[2].values()
        f3db, far = info["measures"]["f3db"], info["measures"]["far"]
        if info["state"] == "complete":
            sized = corner_frequency(info["sizing"]["r"], info["sizing"]["c"] + 1e-9)
            assert f3db == pytest.approx(sized, rel=0.02)
            fom = min(d(f3db, low.limits.minimum), 0) - max(d(far, high.limits.maximum), 0)
            assert observation[3:] == pytest.approx(
                [d(f3db, 40e3), d(1e6, 40e3), d(far, 0.05), d(1e-6, 0.05)], abs=1e-6
            )
        else:
            fom = -2.0
            assert observation[3:] == pytest.approx([-1, d(1e6, 40e3), 1, d(1e-6, 0.05)], abs=1e-6)
        assert reward == pytest.approx(fom)
        assert (terminated, truncated) == (False, step == 30)
    env.close()


def test_success_ends_an_episode(tmp_path):
    env = SizingEnv(tasks=generator(tmp_path))
    number = next(n for n in range(99) if env.world.tasks.task(n).target == 0)
    env.reset(options={"task": number})
    for _ in range(10):
        *_, reward, terminated, truncated, info = env.step(np.array([-1, -1, 0], np.float32))
        if terminated:
            break
        assert reward == info["fom"] < -0.02
    assert (reward, terminated, truncated) == (10.0, True, False)
    assert info["fom"] >= -0.02
    assert info["met"] == (info["measures"]["f3db"] >= 10e3 and info["measures"]["far"] <= 0.1)


def test_an_episode_crosses_every_range(tmp_path):
    env = SizingEnv(tasks=generator(tmp_path), move=1 / 30)
    env.reset(seed=1)
    env._episode.x[:] = 0.0
    for _ in range(30):
        observation, *_ = env.step(np.ones(3, np.float32))
    assert observation[:3] == pytest.approx(1.0)
    with pytest.raises(DesignError, match="30 moves of"):
        Rules(move=0.03)


MEASURES = [
    ({"a": math.nan, "b": 1.0}, -1.0, [-1.0, d(2, 2), d(1, 4), 0.0]),
    ({"a": 2.0, "b": math.nan}, -1.0, [0.0, 0.0, 1.0, 0.0]),
    ({"a": math.inf, "b": math.inf}, -2.0, [-1.0, 0.0, 1.0, 0.0]),
    ({"a": 0.0, "b": 4.0}, -1.0, [-1.0, 0.0, 0.0, 0.0]),
    ({"a": -2.0, "b": 4.0}, -1.0, [-1.0, 0.0, 0.0, 0.0]),
    ({"a": 2.0, "b": -4.0}, 0.0, [0.0, 0.0, -1.0, 0.0]),
    ({"a": 1.97, "b": 4.0}, d(1.97, 2), [d(1.97, 2), 0.0, 0.0, 0.0]),
]


@pytest.mark.parametrize(("measures", "fom", "seen"), MEASURES)
def test_measures_that_are_missing_zero_or_of_another_sign(tmp_path, measures, fom, seen):
    specs = design_specs({"a": {"min": 2.0}, "b": {"max": 4.0}})
    setting = Setting("any", "", (specs,), lambda: filter_project(tmp_path))
    episode = Episode(Task(0, setting, Corner("nominal"), 0), Rules(), np.zeros(3))
    request = Request(setting, episode.task.corner, {})
    episode.hear(request, CornerResult(measures, state=State.COMPLETE))
    assert episode.fom == pytest.approx(fom)
    assert episode.reward == (10.0 if fom >= -0.02 else pytest.approx(fom))
    assert episode.observation()[3:] == pytest.approx(seen)
    assert np.isfinite(episode.observation()).all()


def test_a_negative_target_is_normalised_by_its_own_sign():
    specs = tuple(design_specs({"gain": {"max": limit}}) for limit in (-20.0, -40.0, -60.0))
    assert Setting("any", "", specs, lambda: None).normalisers == {"gain": -40.0}
    zero = Setting("any", "", (design_specs({"v": {"min": 0.0}}),), lambda: None)
    assert zero.normalisers == {"v": 1.0}


@pytest.mark.simulator
def test_gymnasiums_own_checks_pass(tmp_path):
    two = [filter_setting(tmp_path, "one", closed=False), filter_setting(tmp_path / "b", "two")]
    three = TaskGenerator(settings=[*two, Setting.of(filter_project(tmp_path / "c"))])
    for env in (SizingEnv(tasks=TaskGenerator(settings=two), start="random"),
                SizingEnv(filter_project(tmp_path / "d").design),
                MultiCircuitEnv(tasks=three)):  # fmt: skip
        check_env(env, skip_render_check=True)
        env.close()


def two_circuits(folder):
    """The filter, and one with a parameter and a spec less."""
    wide = filter_setting(folder / "wide")
    design = filter_project(folder / "narrow").design.pinned("n", 1.0)
    small = filter_project(folder / "small").__class__.of(design)
    return [wide, Setting("small", "none", (design_specs({"far": {"max": 0.01}}),), lambda: small)]


def test_several_circuits_are_padded(tmp_path):
    env = MultiCircuitEnv(tasks=TaskGenerator(settings=two_circuits(tmp_path), seed=3))
    seen = set()
    for _ in range(12):
        observation, info = env.reset()
        index = int(observation["circuit"])
        seen.add(index)
        assert info["circuit"] == env.world.tasks.circuits[index]
        layout, values = env.layouts[index], observation["numbers"]
        assert values.shape == (3 + 2 * 2,)
        if index == 1:
            assert layout.parameters == ("r", "c")
            assert (values[2], *values[5:]) == (0, 0, 0)
            before = values[:2].copy()
            moved = env.step(np.array([0, 0.1, 1], np.float32))[0]["numbers"]
            assert moved[:3] == pytest.approx([before[0], before[1] + 0.01, 0], abs=1e-6)
    assert seen == {0, 1}
    with pytest.raises(DesignError, match="take MultiCircuitEnv"):
        SizingEnv(tasks=env.world.tasks)


def test_environments_in_step_are_those_alone(tmp_path):
    settings = two_circuits(tmp_path)
    rng = np.random.default_rng(7)
    many = SizingVectorEnv(3, TaskGenerator(settings=settings, seed=2), jobs=2, start="random")
    batch, _ = many.reset()
    assert many.observation_space.contains(batch)
    single = MultiCircuitEnv(tasks=TaskGenerator(settings=settings, seed=2), start="random")
    numbers = [0, 1, 2]
    shown = [single.reset(options={"task": n})[0] for n in numbers]
    episodes = []
    for n in numbers:
        single.reset(options={"task": n})
        episodes.append(single._episode)
    ended = 0
    for _ in range(40):
        for index, one in enumerate(shown):
            assert np.array_equal(batch["numbers"][index], one["numbers"])
            assert batch["circuit"][index] == one["circuit"]
        actions = rng.uniform(-1, 1, (3, 3)).astype(np.float32)
        batch, rewards, terminated, truncated, infos = many.step(actions)
        for index in range(3):
            single._episode = episodes[index]
            one, reward, success, cut, info = single.step(actions[index])
            assert (reward, success, cut) == (rewards[index], terminated[index], truncated[index])
            if success or cut:
                ended += 1
                assert np.array_equal(infos["final_obs"][index]["numbers"], one["numbers"])
                assert infos["final_info"][index]["fom"] == info["fom"]
                numbers[index] += 3
                one, info = single.reset(options={"task": numbers[index]})
                episodes[index] = single._episode
            shown[index] = one
    assert ended > 3
    many.close()


def test_a_batch_keeps_the_order_of_many_circuits(tmp_path):
    settings = [filter_setting(tmp_path / str(k), str(k)) for k in range(4)]
    sizings = [{"r": 1e3 * (k + 1), "c": 1e-9, "n": 1.0} for k in range(8)]
    light = settings[0].project.design.corners[0]
    with Simulations(jobs=2, kept=2) as simulations:
        requests = [
            Request(settings[k % 4], light if k % 3 else Corner("nominal"), sizing)
            for k, sizing in enumerate(sizings)
        ]
        found = [result.measures["f3db"] for result in simulations.run(requests)]
    load = [1e-10 if k % 3 else 1e-9 for k in range(8)]
    wanted = [corner_frequency(1e3 * (k + 1), 1e-9 + load[k]) for k in range(8)]
    assert found == pytest.approx(wanted, rel=0.02)


def test_made_by_name(tmp_path, monkeypatch):
    design = filter_project(tmp_path).design
    env = gymnasium.make("m3eda.learning.registration:m3eda/Sizing-v0", circuit=design)
    assert env.reset(seed=1)[0].shape == (7,)
    many = gymnasium.make_vec(
        "m3eda/MultiCircuit-v0", 2, vectorization_mode="vector_entry_point",
        tasks=generator(tmp_path),
    )  # fmt: skip
    assert many.reset(seed=1)[0].shape == (2, 7)


def test_nothing_heavy_is_imported_before_it_is_used():
    program = (
        "import sys, m3eda, m3eda.learning, m3eda.learning.tasks, m3eda.learning.dataset;"
        "print({'gymnasium', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "set()"


@needs_sb3
@pytest.mark.filterwarnings("default")
def test_stable_baselines3_trains_on_them(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # its loggers write there
    from stable_baselines3 import PPO, SAC
    from stable_baselines3.common.env_checker import check_env as check

    one = SizingEnv(tasks=generator(tmp_path))
    check(one, warn=True)
    model = SAC("MlpPolicy", one, learning_starts=20, seed=1).learn(40)
    assert model.num_timesteps == 40
    several = MultiCircuitEnv(tasks=TaskGenerator(settings=two_circuits(tmp_path)))
    check(several, warn=True)
    assert PPO("MultiInputPolicy", several, n_steps=16, batch_size=8).learn(16).num_timesteps == 16


OTAS = ["current_mirror_ota", "five_transistor_ota"]


def of_the_library():
    """An environment of one circuit of the library, and one of two."""
    yield "MlpPolicy", SizingEnv("five_transistor_ota", technologies=["generic180"])
    both = TaskGenerator(circuits=OTAS, technologies=["generic180"])
    yield "MultiInputPolicy", MultiCircuitEnv(tasks=both)


@pytest.mark.simulator
def test_gymnasiums_own_checks_pass_on_circuits_of_the_library():
    for _, env in of_the_library():
        check_env(env, skip_render_check=True)
        env.close()


@pytest.mark.simulator
@needs_sb3
@pytest.mark.filterwarnings("default")
def test_stable_baselines3_trains_on_circuits_of_the_library(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_checker import check_env as check

    for policy, env in of_the_library():
        check(env, warn=True)
        model = PPO(policy, env, n_steps=20, batch_size=10, n_epochs=1, seed=1).learn(20)
        assert model.num_timesteps == 20
        env.close()
