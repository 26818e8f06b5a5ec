"""The encoders: every way of the Mamba block gives what stepping through time gives."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from m3eda.errors import DesignError  # noqa: E402
from m3eda.policy.encoders import EncoderSettings, make_encoder  # noqa: E402
from m3eda.policy.mamba import Mamba  # noqa: E402
from m3eda.policy.tokens import Tokens  # noqa: E402

KINDS = ("mamba", "transformer", "lstm", "mlp")


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
    encoder = encoder_of(kind, length=9)
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
def test_the_closed_form_is_the_loop(lengths):
    encoder, tokens = encoder_of(d_model=24, d_state=5), tokens_of(lengths)
    values = tokens.values.clone().requires_grad_()
    tokens = Tokens(values, tokens.lengths, tokens.circuits)
    reference = encoder.block(encoder.embedded(tokens), tokens.used)[:, -1]
    found = encoder(tokens)
    torch.testing.assert_close(found, reference, rtol=1e-11, atol=1e-12)
    mine, other = (gradients(encoder, values, each) for each in (found, reference))
    for one, two in zip(mine, other, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-11)


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
