"""M3's training: schedules, experience, environment models, checkpoints, and what goes wrong."""

from __future__ import annotations

import math
import signal
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
pytest.importorskip("safetensors")

from m3eda.errors import DesignError, SimulatorBroken, StorageError  # noqa: E402
from m3eda.learning.layouts import Layout  # noqa: E402
from m3eda.learning.simulations import Simulations  # noqa: E402
from m3eda.learning.tasks import TaskGenerator  # noqa: E402
from m3eda.policy.checkpoint import read_checkpoint  # noqa: E402
from m3eda.policy.command import TrainOptions, train_command  # noqa: E402
from m3eda.policy.ensemble import rollouts  # noqa: E402
from m3eda.policy.networks import Actor  # noqa: E402
from m3eda.policy.replay import ReplayBuffer  # noqa: E402
from m3eda.policy.run import CHECKPOINT, TrainingRun  # noqa: E402
from m3eda.policy.schedule import Schedule  # noqa: E402
from m3eda.policy.settings import load_training, training  # noqa: E402
from m3eda.policy.tokens import Packing  # noqa: E402
from m3eda.policy.trainer import Trainer, TrainingDiverged, make_world  # noqa: E402
from m3eda.report.training import TrainingDisplay  # noqa: E402
from tests.helpers import hide_module, m3eda, only_line, started  # noqa: E402
from tests.learning_samples import filter_setting, write_filter  # noqa: E402

SMALL = {
    "network": {"d_model": 8, "d_state": 4},
    "agent": {"exploration": 30, "batch": 16, "learning_rate": 3e-3},
    "models": {"ensemble": 3, "elites": 2, "every": 3, "epochs": 3, "learning_rate": 3e-3},
    "rollouts": {"every": 2, "starts": 20},
    "schedule": {"scale": 4, "rollout": [1, 3], "updates": [2, 4]},
    "evaluation": {"every": 3, "episodes": 2},
    "checkpoint": {"every": 1},
    "environment": {"length": 10},
}
CONFIG = """\
m3eda: 1
train: tiny
steps: {steps}
network: {{d_model: 8}}
agent: {{exploration: 10, batch: 8}}
models: {{ensemble: 2, elites: 1, every: 4, epochs: 1}}
rollouts: {{every: 2, starts: 20}}
schedule: {{updates: 2}}
evaluation: {{every: 6, episodes: 1}}
checkpoint: {{every: 1}}
environment: {{designs: [a/design.yaml, b/design.yaml], length: 5, move: 0.2}}
"""
"""Two circuits on the real simulator."""


def settings_of(**words):
    return training(**{**SMALL, "steps": 4, **words})


def trainer_of(tmp_path, **words) -> Trainer:
    """Two circuits in closed form: the filter, and the same with a parameter less free."""
    settings = settings_of(**words)
    tasks = TaskGenerator(seed=1, settings=[filter_setting(tmp_path / "a"), _narrow(tmp_path)])
    world = make_world(tasks, settings, Simulations())
    return Trainer(settings, world, make_world(tasks, settings, world.simulations))


def _narrow(tmp_path):
    setting = filter_setting(tmp_path / "b")
    path = tmp_path / "b" / "design.yaml"
    path.write_text(path.read_text().replace("n: {min: 1, max: 9, step: 1}", "n: {value: 1}")
                    .replace("design: filter", "design: narrow"))  # fmt: skip
    from m3eda.flow import Project

    project = Project.load(path)
    return type(setting)("narrow", "none", setting.targets, lambda: project)


def finished(trainer: Trainer) -> Trainer:
    for _ in trainer.steps():
        pass
    return trainer


@pytest.mark.parametrize(("first", "last"), [(1.0, 7.0), (0.95, 0.05), (15.0, 20.0), (3.0, 3.0)])
def test_a_schedule_is_equations_3_to_5(first, last):
    schedule = Schedule(first, last, 15_000)
    for step in (0, 1, 4_999, 7_500, 15_000, 40_000):
        line = first + step * (last - first) / 15_000
        assert schedule.at(step) == max(min(line, max(first, last)), min(first, last))
    assert [schedule.at(step) for step in (0, 15_000, 10**9)] == pytest.approx([first, last, last])


def test_table_1_makes_175875_updates_in_10500_steps():
    updates = Schedule(15, 20, 15_000)
    continuous = sum(updates.at(step) for step in range(1, 10_501))
    assert continuous == pytest.approx(175_875, rel=1e-4)
    assert sum(updates.count(step) for step in range(1, 10_501)) == pytest.approx(175_875, rel=3e-3)


def test_the_defaults_are_table_1(tmp_path):
    (tmp_path / "m3.yaml").write_text("m3eda: 1\n")
    found = load_training(tmp_path / "m3.yaml")
    assert (found.network.kind, found.network.d_state, found.network.d_conv) == ("mamba", 16, 4)
    assert (found.models.ensemble, found.models.elites, found.models.every) == (7, 5, 300)
    assert (found.models.patience, found.models.validation) == (5, 0.2)
    assert (found.rollouts.every, found.agent.learning_rate) == (30, 3e-4)
    assert (found.agent.gradient_clip, found.agent.exploration) == (1.0, 3600)
    assert found.schedule.rollout == (1, 7)
    assert found.schedule.updates == (15, 20)
    assert found.schedule.real == (0.05, 0.95)
    fixed = load_training(tmp_path / "m3.yaml", {"method": "mbrl"}).schedule
    assert (fixed.rollout, fixed.updates, fixed.real) == ((10, 10), (20, 20), (0.05, 0.05))
    assert load_training(tmp_path / "m3.yaml", {"method": "sac"}).schedule.updates == (1, 1)


def test_sequences_are_taken_out_of_padded_numbers():
    packing = Packing([Layout(("a", "b", "c"), ("x", "y")), Layout(("a",), ("x",))])
    seen, moves = torch.arange(1.0, 15.0).reshape(2, 7), torch.tensor([[21.0, 22, 23], [31, 0, 0]])
    tokens = packing.with_actions(torch.tensor([0, 1]), seen, moves)
    assert tokens.values[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 21, 22, 23]
    assert tokens.values[1, -4:].tolist() == [8, 11, 12, 31]
    assert tokens.lengths.tolist() == [11, 5]
    assert tokens.used.sum(dim=1).tolist() == [11, 5]
    assert not tokens.values[1, :7].any()


def test_an_actors_density_integrates_to_one():
    packing = Packing([Layout(("a",), ("x",))])
    torch.manual_seed(3)
    actor = Actor(settings_of().network, packing)
    circuits, seen = torch.zeros(1, dtype=torch.int64), torch.tensor([[0.3, 0.1, -0.2]])
    mean, deviation = (each[0, 0].item() for each in actor.moments(circuits, seen))
    drawn = actor(circuits.repeat(4000), seen.repeat(4000, 1), torch.Generator().manual_seed(1))
    # an expectation of 1 / density over its own draws is the length of [-1, 1]
    assert (-drawn.log_probability).exp().mean().item() == pytest.approx(2.0, rel=0.1)
    raw = torch.atanh(drawn.actions[:, 0].double())
    normal = torch.distributions.Normal(mean, deviation).log_prob(raw.detach())
    whole = normal - torch.log1p(-drawn.actions[:, 0].detach().double().square())
    assert torch.allclose(whole.float(), drawn.log_probability, atol=1e-3)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("m3", {}),
        ("mbrl", {"schedule": {"rollout": 2, "updates": 3}}),
        ("sac", {"agent": {**SMALL["agent"], "temperature": "learnt"}}),
    ],
)
def test_a_resumed_training_equals_an_uninterrupted_one_to_the_bit(tmp_path, method, words):
    whole = finished(trainer_of(tmp_path, method=method, **words))
    part = trainer_of(tmp_path, method=method, **words)
    for step in part.steps():
        if step.step == 2:
            break
    kept = part.checkpoint()
    again = trainer_of(tmp_path, method=method, **words)
    again.restore(kept)
    ended, expected = finished(again).checkpoint(), whole.checkpoint()
    assert set(ended.tensors) == set(expected.tensors)
    for name, tensor in expected.tensors.items():
        assert torch.equal(ended.tensors[name], tensor), name
    facts = [{k: v for k, v in each.facts.items() if k != "seconds"} for each in (ended, expected)]
    assert facts[0] == facts[1]
    assert [each["step"] for each in facts[0]["scores"]] == [3, 4]


def test_a_learnt_temperature_follows_the_entropy(tmp_path):
    agent = {**SMALL["agent"], "temperature": "learnt"}
    trainer = trainer_of(tmp_path, method="sac", agent=agent)
    for step in trainer.steps():
        if step.step == 0:
            break
    assert trainer.agent.temperature == pytest.approx(0.2)
    outputs = trainer.agent.actor.linear
    for log_deviation, falls in ((0.0, True), (-6.0, False)):
        trainer.agent.log_temperature.data.fill_(math.log(0.2))
        outputs.bias.data[2:], outputs.weight.data[2:] = log_deviation, 0.0
        for _ in range(40):
            losses = trainer.agent.update(trainer.real.sample(16, trainer.rng))
        # the aim is -1 for each parameter, of which the circuits have 2 and 1
        assert (losses.entropy > -1.0) == falls
        assert (trainer.agent.temperature < 0.2) == falls


@pytest.mark.parametrize("kind", ["mamba", "transformer", "lstm", "mlp"])
def test_losses_fall_with_every_network(tmp_path, kind):
    width = {"mamba": 16, "transformer": 16, "lstm": 16, "mlp": 32}[kind]
    words = {"agent": {"exploration": 120, "batch": 32, "learning_rate": 3e-3}, "steps": 1,
             "models": {**SMALL["models"], "ensemble": 2, "epochs": 1, "batch": 32}}  # fmt: skip
    trainer = trainer_of(tmp_path, network={"kind": kind, "d_model": width}, **words)
    for step in trainer.steps():
        if step.step == 0:
            break
    fits = [trainer.ensemble.fit(trainer.real.everything(), trainer.rng, clip=1.0).validation
            for _ in range(12)]  # fmt: skip
    assert fits[-1] < 0.8 * fits[0]
    batch = trainer.real.sample(32, trainer.rng)
    losses = [trainer.agent.update(batch).critic for _ in range(60)]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_synthetic_experience_begins_at_real_states_and_ends_in_success(tmp_path):
    trainer = trainer_of(tmp_path)
    for step in trainer.steps():
        if step.step == 1:
            break
    real = {tuple(row) for row in trainer.real.everything().observations.tolist()}
    into = ReplayBuffer(*trainer.synthetic._sizes)

    def filled(length: int, number: int):
        rollouts(
            trainer.ensemble, trainer.agent.actor, trainer.real, into, starts=20, length=length,
            number=number, bonus=10.0, tolerance=0.02, rng=np.random.default_rng(1),
            generator=torch.Generator().manual_seed(1),
        )  # fmt: skip
        return into.everything()

    one = filled(1, 3)
    assert len(one) == 60, "three rollouts of one step from each of 20 states"
    assert all(tuple(row) in real for row in one.observations.tolist())
    long = filled(4, 1)
    assert all(tuple(row) in real for row in long.observations[:20].tolist())
    assert len(long) <= 80
    ended = long.rewards > 5.0
    assert torch.equal(ended.float(), long.terminal)
    assert bool(((long.rewards == 10.0) | (long.rewards < -0.02)).all()), "nothing in between"
    # what ends is not gone on from
    goes_on = long.nexts[:20][~ended[:20]]
    assert torch.equal(long.observations[20 : 20 + len(goes_on)], goes_on)
    trainer.ensemble.mean[-1] = 100.0
    assert len(filled(4, 1)) == 20, "all succeed at once"


def test_a_batch_has_alphas_share_of_real_data(tmp_path):
    trainer = trainer_of(tmp_path, schedule={**SMALL["schedule"], "real": [0.25, 0.75]})
    shares = {}
    for step in trainer.steps():
        if step.step > 0:
            trainer.synthetic._rows["rewards"][:] = 77.0
            shares[step.step] = float((trainer._batch().rewards != 77.0).float().mean())
    assert shares == {1: 6 / 16, 2: 0.5, 3: 10 / 16, 4: 0.75}


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(tmp_path):
    settings = settings_of(steps=6)
    world = make_world(TaskGenerator(seed=1, settings=[filter_setting(tmp_path)]), settings,
                       Simulations())  # fmt: skip
    run = TrainingRun(Trainer(settings, world, world), tmp_path / "run")
    update = run.trainer.agent.update

    def poisoned(batch):
        if run.trainer.step == 3:
            batch.rewards[0] = math.nan
        return update(batch)

    run.trainer.agent.update = poisoned
    with pytest.raises(TrainingDiverged, match=r"step 3, update \d+: losses are no numbers"):
        run.go(TrainingDisplay("m3", None, {}, quiet=True))
    kept = read_checkpoint(tmp_path / "run" / CHECKPOINT)
    assert kept.facts["step"] == 2
    assert all(t.isfinite().all() for t in kept.part("agent").values())


def test_an_environment_whose_every_simulation_fails_is_given_up(tmp_path):
    setting = filter_setting(tmp_path)
    solve = tmp_path / "solve.py"
    solve.write_text(solve.read_text().replace('values["c"] > 10e-9', "True"))
    settings = settings_of(agent={"exploration": 200})
    world = make_world(TaskGenerator(seed=1, settings=[setting]), settings, Simulations())
    with pytest.raises(SimulatorBroken, match=r"filter in none: the first 100 .* rbroken"):
        finished(Trainer(settings, world, world))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("agent: {batch: 0}", r"bad.yaml:2:16: agent.batch: .*greater than or equal to 1"),
        ("agent: {learning_rate: -1}", r"bad.yaml:2:24: agent.learning_rate"),
        ("models: {elites: 9}", r"bad.yaml:2:18: models.elites: is above the ensemble's 7"),
        ("schedule: {real: [0.1, 1.5]}", r"schedule.real: is a share"),
        ("schedule: {updates: 0}", r"schedule.updates: is below 1"),
        ("environment: {move: 0.01}", r"environment.move: an episode cannot cross"),
        ("netwrok: {}", r"bad.yaml:2:1: netwrok: .*did you mean network"),
        ("method: m4", r"bad.yaml:2:9: method"),
    ],
)
def test_numbers_out_of_range_are_told_with_their_line(tmp_path, line, message):
    path = tmp_path / "bad.yaml"
    path.write_text(f"m3eda: 1\n{line}\n")
    with pytest.raises(DesignError, match=message):
        load_training(path)


@pytest.mark.simulator
@pytest.mark.slow
def test_a_killed_training_goes_on_on_the_real_simulator(tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(CONFIG.format(steps=6))
    write_filter(tmp_path / "a", closed=False)
    path = write_filter(tmp_path / "b", closed=False)
    path.write_text(path.read_text().replace("design: filter", "design: other"))
    config = tmp_path / "tiny.yaml"
    train_command(config, TrainOptions(tmp_path / "whole", quiet=True))
    killed = started("train", "tiny.yaml", "-o", "killed", "-q", cwd=tmp_path)
    path = tmp_path / "killed" / CHECKPOINT
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and killed.poll() is None:
        if path.exists() and read_checkpoint(path).facts["step"] >= 2:
            break
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    _, errors = killed.communicate(timeout=30)
    assert path.exists(), errors
    train_command(config, TrainOptions(tmp_path / "killed"))
    assert "step 6: mean return (successes): filter " in capsys.readouterr().err
    ended, expected = (
        read_checkpoint(tmp_path / each / CHECKPOINT) for each in ("killed", "whole")
    )
    for name, tensor in expected.tensors.items():
        assert torch.equal(ended.tensors[name], tensor), name
    assert ended.facts["scores"] == expected.facts["scores"]
    assert list((tmp_path / "whole" / "tensorboard").glob("events*"))

    with pytest.raises(StorageError, match=r"is of another configuration \(seed differ\)"):
        train_command(config, TrainOptions(tmp_path / "whole", seed=2, quiet=True))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(StorageError, match="is damaged or no checkpoint"):
        train_command(config, TrainOptions(tmp_path / "killed", quiet=True))


def test_a_checkpoint_of_another_version_is_told(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "c.safetensors", {"m3eda": "99", "facts": "{}"})
    with pytest.raises(StorageError, match="is a checkpoint of version 99, this m3eda reads 1"):
        read_checkpoint(tmp_path / "c.safetensors")


def test_without_torch_one_line_says_so(tmp_path, monkeypatch):
    (tmp_path / "m3.yaml").write_text("m3eda: 1\n")
    hide_module(tmp_path, "torch")
    done = m3eda("train", Path("m3.yaml"), cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "m3eda train needs torch: pip install 'm3eda[m3]'" in only_line(done)
