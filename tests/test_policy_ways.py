"""Ways of computing the networks: the C kernel, its absence, NumPy; and the benchmark of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
torch.set_num_threads(1)

from m3eda.errors import StorageError  # noqa: E402
from m3eda.learning.layouts import Layout  # noqa: E402
from m3eda.policy import encoders, kernel  # noqa: E402
from m3eda.policy.inference import read_actor  # noqa: E402
from m3eda.policy.networks import Actor, Critic  # noqa: E402
from m3eda.policy.settings import NetworkEntry  # noqa: E402
from m3eda.policy.tokens import Packing  # noqa: E402

LAYOUTS = [Layout(("a", "b", "c"), ("x", "y")), Layout(("a",), ("x",))]
NETWORK = NetworkEntry(d_model=16)
SHAPE = kernel.Shape(32, 16, 1, 4, double=False)


def case(seed: int = 0):
    """A critic, and rows of two circuits."""
    torch.manual_seed(seed)
    packing = Packing(LAYOUTS)
    critic = Critic(NETWORK, packing)
    circuits = torch.randint(2, (9,))
    seen = (2 * torch.rand(9, packing.observation_size) - 1) * packing.observation_mask[circuits]
    acted = (2 * torch.rand(9, packing.action_size) - 1) * packing.action_mask[circuits]
    return critic, circuits, seen, acted.requires_grad_()


def gradients(critic, circuits, seen, acted):
    """Q and its gradients in the action and in every weight."""
    value = critic(circuits, seen, acted)
    found = torch.autograd.grad(value.square().sum(), [acted, *critic.parameters()])
    return [value.detach(), *found]


@pytest.fixture
def compiled():
    """Not where tests are collected, which every process of a run does."""
    if kernel.kernel_of(SHAPE) is None:
        pytest.skip("no C compiler is here")


@pytest.mark.usefixtures("compiled")
def test_the_kernel_is_the_closed_form_to_single_precision(monkeypatch):
    fused = gradients(*case())
    again = gradients(*case())
    assert all(torch.equal(one, two) for one, two in zip(fused, again, strict=True)), "bit for bit"
    monkeypatch.setattr(encoders, "kernel_of", lambda shape: None)
    for one, two in zip(fused, gradients(*case()), strict=True):
        torch.testing.assert_close(one, two, rtol=2e-4, atol=2e-5)


@pytest.mark.usefixtures("compiled")
def test_an_actors_update_asks_the_kernel_for_the_actions_gradient_alone():
    critic, circuits, seen, acted = case()
    expected = gradients(critic, circuits, seen, acted)[1]
    critic.requires_grad_(False)
    critic(circuits, seen, acted).square().sum().backward()
    assert all(each.grad is None for each in critic.parameters())
    torch.testing.assert_close(acted.grad, expected, rtol=1e-5, atol=1e-7)


def test_without_a_compiler_the_closed_form_serves(monkeypatch, tmp_path):
    expected = critic_value()
    monkeypatch.setenv("M3EDA_CACHE", str(tmp_path))
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    broken.chmod(0o755)
    for compiler in ("/nowhere/cc", str(broken)):
        monkeypatch.setenv("CC", compiler)
        kernel.kernel_of.cache_clear()
        assert kernel.kernel_of(SHAPE) is None
        assert critic_value() == pytest.approx(expected, rel=1e-4)
    kernel.kernel_of.cache_clear()


def critic_value() -> float:
    return gradients(*case())[0].sum().item()


def test_numpy_answers_as_torch_does(tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(4)
    packing = Packing(LAYOUTS)
    actor = Actor(NETWORK, packing)
    facts = {"circuits": [vars(each) for each in LAYOUTS], "step": 3}
    save_file(actor.state_dict(), tmp_path / "a.safetensors", {"m3eda": json.dumps(facts)})
    mine = read_actor(tmp_path / "a.safetensors")
    assert mine.layouts == tuple(LAYOUTS)
    rng = np.random.default_rng(1)
    for circuit, layout in enumerate(LAYOUTS):
        seen = rng.uniform(-1, 1, layout.size).astype(np.float32)
        wide = torch.zeros(1, packing.observation_size)
        wide[0, packing.observation_mask[circuit]] = torch.from_numpy(seen)
        own = len(layout.parameters)
        expected = actor.best(torch.tensor([circuit]), wide)[0, :own].detach().numpy()
        np.testing.assert_allclose(mine.best(circuit, seen), expected, atol=1e-5)


def test_a_file_that_is_no_actor_is_told(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"nonsense")
    with pytest.raises(StorageError, match="is damaged or no actor of `m3eda train`"):
        read_actor(path)
