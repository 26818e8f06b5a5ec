"""PPO, A2C and TRPO behind `m3eda train`: they learn, are kept, and go on."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
pytest.importorskip("safetensors")

from m3eda.errors import DesignError, SimulatorBroken, StorageError  # noqa: E402
from m3eda.learning.simulations import Simulations  # noqa: E402
from m3eda.learning.tasks import TaskGenerator  # noqa: E402
from m3eda.policy.command import TrainOptions, train_command  # noqa: E402
from m3eda.policy.settings import NetworkEntry, load_training, training  # noqa: E402
from m3eda.policy.trainer import TrainingDiverged, make_world  # noqa: E402
from m3eda.report.training import TrainingDisplay  # noqa: E402
from tests.helpers import hide_module, m3eda, only_line  # noqa: E402
from tests.learning_samples import filter_setting, write_filter  # noqa: E402

QUIET = TrainingDisplay("m3", None, {}, quiet=True)
METHODS = {
    "ppo": {"n_steps": 16, "batch_size": 8, "n_epochs": 2},
    "a2c": {},
    "trpo": {"n_steps": 16, "batch_size": 16},
}
"""With rollouts short enough for tests."""
CONFIG = """\
m3eda: 1
train: tiny
method: {method}
steps: 12
network: {{{network}}}
agent: {{exploration: 8, batch: 4}}
evaluation: {{every: 5, episodes: 2}}
checkpoint: {{every: 5}}
environment: {{designs: [{designs}], length: 5, move: 0.2}}
"""


def trainer_of(folder: Path, method: str, circuits: int = 2, **words):
    """On closed forms: the filter, and where there are two the same with a parameter less free."""
    baselines = pytest.importorskip("m3eda.policy.baselines", exc_type=ImportError)
    given = {"exploration": 10, **words.pop("agent", {})}
    settings = training(
        method=method, agent=given, network={"d_model": 16}, environment={"length": 10},
        evaluation={"every": 15, "episodes": 1}, checkpoint={"every": 16}, **{"steps": 40, **words},
    )  # fmt: skip
    some = [filter_setting(folder / "a"), _narrow(folder)][:circuits]
    world = make_world(TaskGenerator(seed=1, settings=some), settings, Simulations())
    options = METHODS[method]
    return baselines.BaselineTrainer(settings, world, world, options=options)


def _narrow(folder: Path):
    path = write_filter(folder / "b")
    path.write_text(path.read_text().replace("n: {min: 1, max: 9, step: 1}", "n: {value: 1}")
                    .replace("design: filter", "design: narrow"))  # fmt: skip
    from m3eda.flow import Project
    from m3eda.learning.settings import Setting

    return Setting.of(Project.load(path))


def run_of(trainer, folder: Path, **words):
    from m3eda.policy.baselines import BaselineRun

    return BaselineRun(trainer, folder, **words)


def weights(trainer):
    return {name: each.clone() for name, each in trainer.model.policy.state_dict().items()}


def same(ours, theirs) -> bool:
    return all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.mark.parametrize("method", METHODS)
def test_a_method_learns_and_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path, monkeypatch, method
):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    whole = run_of(trainer_of(tmp_path, method), tmp_path / "whole")
    before = weights(whole.trainer)
    whole.go(QUIET)
    assert not same(before, weights(whole.trainer))
    record = json.loads((tmp_path / "whole" / "evaluations.json").read_text())
    assert [each["step"] for each in record["evaluations"]] == [15, 30, 40]
    assert set(record["evaluations"][0]["circuits"]) == {"filter", "narrow"}
    assert record["steps"] == 40
    assert record["updates"] > 0
    assert (tmp_path / "whole" / "actor.safetensors").is_file()

    part = run_of(trainer_of(tmp_path, method), tmp_path / "part")
    hear = part._hear

    def interrupted(display, step):
        hear(display, step)
        if step.step == 32:
            raise KeyboardInterrupt

    part._hear = interrupted
    with pytest.raises(KeyboardInterrupt):
        part.go(QUIET)
    again = run_of(trainer_of(tmp_path, method), tmp_path / "part")
    begun = again.trainer.step
    assert 0 < begun < 32
    again.go(QUIET)
    assert same(weights(whole.trainer), weights(again.trainer))
    assert again.trainer.scores == whole.trainer.scores
    ended = run_of(trainer_of(tmp_path, method), tmp_path / "part")
    assert (ended.trainer.step, ended.trainer.scores) == (40, whole.trainer.scores)
    longer = run_of(trainer_of(tmp_path, method, steps=45), tmp_path / "part")
    longer.go(QUIET)
    assert [each["step"] for each in longer.trainer.scores] == [15, 30, 45]
    assert not list((tmp_path / "temporary").glob("SB3*"))  # its logger's folders


def test_layers_and_rates_are_the_papers_unless_the_file_sets_them(tmp_path):
    first = trainer_of(tmp_path, "ppo", circuits=1)
    layers = [
        m.out_features for m in first.model.policy.mlp_extractor.policy_net if hasattr(m, "bias")
    ]
    assert layers == [16, 16]
    assert first.model.learning_rate == 3e-4
    assert trainer_of(tmp_path, "a2c").model.learning_rate == 7e-4
    given = trainer_of(tmp_path, "a2c", agent={"learning_rate": 1e-4}, circuits=1)
    assert given.model.learning_rate == 1e-4
    plain = first.settings.model_copy(update={"network": NetworkEntry()})
    wide = type(first)(plain, first.world, first.examined).model.policy.mlp_extractor
    assert [m.out_features for m in wide.value_net if hasattr(m, "bias")] == [512, 512]


def test_faults_are_told_and_the_last_checkpoint_is_kept(tmp_path):
    run = run_of(trainer_of(tmp_path, "a2c"), tmp_path / "run")
    hear = run._hear

    def poisoned(display, step):
        hear(display, step)
        if step.step == 10:
            next(run.trainer.model.policy.parameters()).data[:] = math.nan

    run._hear = poisoned
    with pytest.raises(TrainingDiverged, match=r"step 10, update \d+: the policy's weights"):
        run.go(QUIET)
    kept = run_of(trainer_of(tmp_path, "a2c"), tmp_path / "run")
    assert kept.trainer.step <= 10
    kept.trainer.check_finite()

    with pytest.raises(StorageError, match=r"of another configuration \(method differ\)"):
        run_of(trainer_of(tmp_path, "ppo"), tmp_path / "run")
    data = bytearray(kept.path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    kept.path.write_bytes(bytes(data))
    with pytest.raises(StorageError, match=r"checkpoint.safetensors: .*model is damaged"):
        run_of(trainer_of(tmp_path, "a2c"), tmp_path / "run")
    run_of(trainer_of(tmp_path, "a2c"), tmp_path / "run", fresh=True)

    solve = tmp_path / "a" / "solve.py"
    trainer = trainer_of(tmp_path, "a2c", circuits=1, agent={"exploration": 200})
    solve.write_text(solve.read_text().replace('values["c"] > 10e-9', "True"))
    with pytest.raises(SimulatorBroken, match=r"filter in none: the first 100 .* rbroken"):
        trainer.train(lambda step: None, lambda: None)


@pytest.mark.parametrize(
    ("method", "designs"),
    [("ppo", ["a"]), ("trpo", ["a", "b"]), ("sac", ["a"]), ("sac", ["a", "b"])],
)
def test_the_command_trains_for_one_circuit_and_for_several(tmp_path, capsys, method, designs):
    if method != "sac":
        pytest.importorskip("stable_baselines3")
        pytest.importorskip("sb3_contrib")
    for name in designs:
        path = write_filter(tmp_path / name)
        path.write_text(path.read_text().replace("design: filter", f"design: {name}"))
    config = tmp_path / "tiny.yaml"
    named = ", ".join(f"{name}/design.yaml" for name in designs)
    config.write_text(CONFIG.format(method=method, network="kind: mlp, d_model: 16", designs=named))
    train_command(config, TrainOptions())
    assert "step 12: mean return (successes): a " in capsys.readouterr().err
    record = json.loads((tmp_path / "training" / "tiny" / "evaluations.json").read_text())
    assert [each["step"] for each in record["evaluations"]] == [5, 10, 12]
    assert list(record["evaluations"][0]["circuits"]) == designs
    assert record["settings"]["method"] == method


def test_another_encoder_is_refused_with_its_line(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("m3eda: 1\nmethod: ppo\nnetwork: {kind: lstm}\n")
    with pytest.raises(DesignError, match=r"bad.yaml:3:\d+: network.kind: ppo has fully connected"):
        load_training(path)


def test_without_stable_baselines_one_line_says_so(tmp_path):
    (tmp_path / "m3.yaml").write_text("m3eda: 1\nmethod: ppo\n")
    hide_module(tmp_path, "stable_baselines3")
    done = m3eda("train", Path("m3.yaml"), cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "method ppo needs stable_baselines3: pip install 'm3eda[baselines]'" in only_line(done)
