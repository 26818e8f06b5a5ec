"""The encoders: every way of the Mamba block gives what stepping through time gives."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

torch.set_num_threads(1)

from m3eda.errors import DesignError  # noqa: E402
from m3eda.learning.layouts import Layout  # noqa: E402
from m3eda.policy.encoders import EncoderSettings, computed, make_encoder  # noqa: E402
from m3eda.policy.kernel import Shape, kernel_of  # noqa: E402
from m3eda.policy.mamba import Mamba, cuda_scan  # noqa: E402
from m3eda.policy.networks import Critic, EnvironmentModel  # noqa: E402
from m3eda.policy.settings import NetworkEntry  # noqa: E402
from m3eda.policy.stacked import Stack, graphed  # noqa: E402
from m3eda.policy.tokens import Packing, Tokens  # noqa: E402

KINDS = ("mamba", "transformer", "lstm", "mlp")
ODD = {"d_model": 18, "d_state": 5, "d_conv": 3}
"""Of a block whose sizes fill no vector of a processor."""


@pytest.fixture
def compiled():
    """The kernel of ODD in double precision."""
    kernel = kernel_of(Shape(36, 5, 2, 3, double=True))
    return kernel or pytest.skip("no C compiler is here")


def tokens_of(lengths, longest=None, circuits=3, seed=0, dtype=torch.float64):
    """Random sequences of these lengths; what stands in front of them is not zero."""
    generator = torch.Generator().manual_seed(seed)
    longest = longest or max(lengths)
    values = torch.randn(len(lengths), longest, generator=generator, dtype=dtype)
    which = torch.randint(circuits, (len(lengths),), generator=generator)
    tokens = Tokens(values, torch.tensor(lengths), which)
    behind = torch.arange(longest) > tokens.first[:, None]
    return Tokens(values * behind, tokens.lengths, which)


def encoder_of(kind="mamba", dtype=torch.float64, circuits=3, seed=1, **words):
    torch.manual_seed(seed)
    return make_encoder(EncoderSettings(kind=kind, **words), circuits).to(dtype)


def gradients(encoder, values, found):
    """Of a random combination of outputs, in values and in every parameter."""
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(9)).to(found)
    wanted = [values, *encoder.parameters()]
    return torch.autograd.grad((found * weights).sum(), wanted)


@pytest.mark.parametrize(
    ("kind", "d_model", "count"),
    [
        ("mamba", 256, 437_760),
        ("mamba", 0, 32_640),
        ("transformer", 0, 593_024),
        ("lstm", 0, 526_336),
        ("mlp", 0, 525_312),
    ],
)
def test_latent_parameters_are_as_many_as_published(kind, d_model, count):
    encoder = make_encoder(EncoderSettings(kind=kind, d_model=d_model, length=20), 4)
    assert sum(each.numel() for each in encoder.latent.parameters()) == count


def test_a_block_has_the_state_dict_of_mamba_ssm():
    shapes = {name: tuple(each.shape) for name, each in Mamba(64).state_dict().items()}
    assert shapes == {
        "A_log": (128, 16),
        "D": (128,),
        "in_proj.weight": (256, 64),
        "conv1d.weight": (128, 1, 4),
        "conv1d.bias": (128,),
        "x_proj.weight": (36, 128),
        "dt_proj.weight": (128, 4),
        "dt_proj.bias": (128,),
        "out_proj.weight": (64, 128),
    }


def test_steps_begin_between_a_thousandth_and_a_tenth():
    torch.manual_seed(0)
    steps = torch.nn.functional.softplus(Mamba(64).dt_proj.bias.detach())
    assert 0.999e-3 < float(steps.min()) < 2e-3
    assert 5e-2 < float(steps.max()) < 0.1001


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_in_a_batch_gives_what_it_gives_alone(kind):
    encoder = encoder_of(kind, length=9, **(ODD if kind == "mamba" else {}))
    tokens = tokens_of([9, 1, 2, 4, 7, 3], longest=11 if kind != "mlp" else 9)
    together = encoder(tokens)
    for row, length in enumerate(tokens.lengths.tolist()):
        alone = Tokens(
            tokens.values[row : row + 1, -length:],
            tokens.lengths[row : row + 1],
            tokens.circuits[row : row + 1],
        )
        torch.testing.assert_close(encoder(alone)[0], together[row], rtol=1e-12, atol=1e-12)


def test_a_transformer_gives_the_last_output_of_the_published_layer():
    encoder = encoder_of("transformer")
    tokens = tokens_of([6, 3, 1], longest=7)
    whole = encoder.layer(encoder.placed(tokens), src_key_padding_mask=~tokens.used)
    torch.testing.assert_close(encoder(tokens), whole[:, -1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("lengths", [[5, 5, 5], [8, 1, 2, 3, 5]])
@pytest.mark.parametrize("way", ["closed", "quickest", "scanned"])
def test_every_way_is_the_loop_in_values_and_gradients(way, lengths):
    encoder, tokens = encoder_of(**ODD), tokens_of(lengths)
    values = tokens.values.clone().requires_grad_()
    tokens = Tokens(values, tokens.lengths, tokens.circuits)
    with computed("loop"):
        expected = encoder(tokens)
    if way == "scanned":
        found = encoder.block.scanned(encoder.embedded(tokens), tokens.used, selective_scan)
    else:
        with computed(way):
            found = encoder(tokens)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)
    mine, other = (gradients(encoder, values, each) for each in (found, expected))
    for one, two in zip(mine, other, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-11)


def selective_scan(u, delta, A, B, C, D, delta_bias, delta_softplus):
    """The contract of mamba_ssm's `selective_scan_fn`: rows of shape (B, channels, L)."""
    assert delta_softplus
    steps = torch.nn.functional.softplus(delta + delta_bias[:, None])
    state, found = 0.0, []
    for t in range(u.shape[2]):
        kick = (steps[..., t] * u[..., t])[..., None] * B[:, None, :, t]
        state = torch.exp(steps[..., t, None] * A) * state + kick
        found.append((state * C[:, None, :, t]).sum(dim=2) + D * u[..., t])
    return torch.stack(found, dim=2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA is here")
@pytest.mark.parametrize("lengths", [[19] * 8, [26, 19, 1, 2, 3, 14]])
def test_mamba_ssm_gives_what_the_closed_form_does(lengths):
    if cuda_scan() is None:
        pytest.skip("the package mamba-ssm is not here")
    encoder, tokens = encoder_of(dtype=torch.float32).cuda(), tokens_of(lengths)
    values = tokens.values.float().cuda().requires_grad_()
    tokens = Tokens(values, tokens.lengths.cuda(), tokens.circuits.cuda())
    found = encoder(tokens)
    with computed("closed"):
        expected = encoder(tokens)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    mine, other = (gradients(encoder, values, each) for each in (found, expected))
    for one, two in zip(mine, other, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


def test_a_kernel_is_kept_and_made_anew_where_it_is_damaged(monkeypatch, tmp_path, compiled):
    stub = "int mamba_forward(){return 0;} int mamba_backward(){return 0;}"
    script = tmp_path / "quick-cc"
    script.write_text(
        f"#!/bin/sh\necho x >> {tmp_path}/calls\nfor last; do :; done\n"
        f'echo "{stub}" | cc -shared -fPIC -x c - -o "$last"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))

    def made(folder) -> int:
        monkeypatch.setenv("M3EDA_CACHE", str(tmp_path / folder))
        assert kernel_of.__wrapped__(Shape(2, 2, 1, 2, double=False)) is not None
        return (tmp_path / "calls").read_text().count("x")

    assert made("whole") == 1
    assert made("whole") == 1, "it is kept"
    [kept] = (tmp_path / "whole" / "kernels").iterdir()
    damaged = tmp_path / "damaged" / "kernels" / kept.name
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"no library")
    assert made("damaged") == 2
    assert damaged.read_bytes().startswith(kept.read_bytes()[:4])
    (tmp_path / "file").touch()
    assert made("file") == 3, "where no folder can be made it is not kept"


def test_a_weight_that_is_no_number_is_not_hidden():
    for name in ("embed.weight", "block.A_log", "block.dt_proj.bias", "block.x_proj.weight"):
        encoder, tokens = encoder_of(**ODD), tokens_of([4, 3])
        encoder.get_parameter(name).data.flatten()[0] = torch.nan
        assert encoder(tokens).isnan().any(dim=1).all(), name


def test_the_kernel_reads_no_sequence_beyond_its_rows(compiled):
    encoder, tokens = encoder_of(**ODD), tokens_of([4, 3])
    for lengths, circuits in (([5, 3], [0, 0]), ([0, 3], [0, 0]), ([4, 3], [0, 3])):
        with pytest.raises(IndexError, match="a sequence's length or circuit is out of range"):
            encoder(Tokens(tokens.values, torch.tensor(lengths), torch.tensor(circuits)))


@pytest.mark.parametrize("kind", ["mamba", "lstm", "mlp"])
def test_a_stack_is_its_members(kind):
    packing = Packing([Layout(("a", "b", "c"), ("x", "y")), Layout(("a",), ("x",))])
    torch.manual_seed(3)
    network = NetworkEntry(kind=kind, d_model=6)
    members = [EnvironmentModel(network, packing).double() for _ in range(3)]
    circuits = torch.randint(2, (3, 4))
    seen = torch.randn(3, 4, packing.observation_size).double() * packing.observation_mask[circuits]
    acted = torch.randn(3, 4, packing.action_size).double() * packing.action_mask[circuits]
    acted.requires_grad_()
    for apart in (False, True):
        rows = [each if apart else each[0] for each in (circuits, seen, acted)]
        stack = Stack(members, apart)
        found = graphed(stack, tuple(rows))(*rows)
        every = zip(members, *rows, strict=True) if apart else [(each, *rows) for each in members]
        expected = torch.stack([member(*given) for member, *given in every])
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
        of_stack = torch.autograd.grad(found.square().sum(), [acted, *stack.parameters()])
        own = [each for group in zip(*(m.parameters() for m in members), strict=True)
               for each in group]  # fmt: skip
        of_members = torch.autograd.grad(expected.square().sum(), [acted, *own])
        torch.testing.assert_close(of_stack[0], of_members[0], rtol=1e-8, atol=1e-10)
        for place, one in enumerate(of_stack[1:]):
            three = torch.stack(of_members[1 + 3 * place : 4 + 3 * place])
            torch.testing.assert_close(one, three, rtol=1e-8, atol=1e-10)


def test_a_stack_takes_and_gives_its_members_state():
    packing = Packing([Layout(("a",), ("x",))])
    first, second = ([Critic(NetworkEntry(d_model=4), packing) for _ in range(2)] for _ in range(2))
    stack = Stack(first)
    stack.take(second)
    stack.give(first)
    for one, two in zip(first, second, strict=True):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, two.state_dict()[name]), name


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({"kind": "gru"}, "no encoder 'gru' (one of mamba, transformer, lstm, mlp)"),
        ({"kind": "mlp"}, "length: is 0 (at least 1)"),
        ({"d_state": 0}, "d_state: is 0 (at least 1)"),
        ({"kind": "transformer", "heads": 7}, "heads: is 7 (divides the width 128)"),
    ],
)
def test_settings_that_make_no_encoder_are_told(words, text):
    with pytest.raises(DesignError) as raised:
        EncoderSettings(**words)
    assert text in str(raised.value)
