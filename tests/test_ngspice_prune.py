"""What of a process design kit a netlist needs: less text, the same results."""

from __future__ import annotations

from pathlib import Path

import pytest
from m3eda_plugins.ngspice import ngspice
from m3eda_plugins.ngspice.prune import NotPruned, Pruner

from m3eda.simulate.difference import difference
from m3eda.simulate.types import Deck, Skeleton

BIN = (
    ".model core.{n} nmos level=54 version=4.5 lmin={lmin} lmax={lmax} wmin={wmin}\n"
    "+ wmax={wmax} toxe={tox} vth0={{0.4+shift+{n}e-3}} rsh={{rs}} $ a comment\n"
)
HEAD = "kit\n"
TAIL = (
    ".subckt stage in out vdd\nxm1 out in 0 0 nfet w={w} l=0.3 m=2\nxr1 vdd out load\n.ends\n"
    "vdd vdd 0 1.8\nvin in 0 dc 0.7 ac 1\nx1 in out vdd stage\nxm9 out in 0 0\n+ NFET w=2.5 l=0.7\n"
    ".ac dec 3 1k 1g\n.end\n"
)


def bins(scale: float) -> str:
    """Nine models for lengths and widths of 0.1 to 10 um."""
    edges = [0.1e-6 * scale, 0.5e-6 * scale, 2e-6 * scale, 10e-6 * scale]
    return "".join(
        BIN.format(n=3 * i + j, lmin=edges[i], lmax=edges[i + 1], wmin=edges[j],
                   wmax=edges[j + 1], tox=(3 + 0.1 * (3 * i + j)) * 1e-9)
        for i in range(3) for j in range(3)
    )  # fmt: skip


def write_kit(folder: Path, parameters: str = "", filler: int = 2500) -> str:
    """A kit of two corners in three files; the line that asks for one of them."""
    unused = "".join(f".param unused{n}={n}\n" for n in range(filler))
    (folder / "models.spice").write_text(
        ".option scale=1u\n.param rs={20*resistance}\n"
        f"{unused}.subckt other a b\nr1 a b {{unused7}}\n.ends other\n"
        ".subckt nfet d g s b\n.param l=1 w=1 nf=1\n"
        "* a transistor\nMcore d g s b core l={l} w={w} nf={nf}\n+ nrd={0.1/w}\n"
        f"{bins(1.0)}.ends nfet\n"
        ".subckt load a b=0\nr1 a b 20k\n.ends\n".replace(" b=0", " b").replace(
            "a b\nr1", "a b\nr1"
        )
    )
    (folder / "kit.lib").write_text(
        f".lib slow\n.param shift=0.1\n.param resistance=3\n.include models.spice\n.endl slow\n"
        f".lib fast\n.param shift=-0.1\n.param resistance=2\n{parameters}"
        ".include 'models.spice'\n.endl fast\n"
    )
    return f'.lib "{folder / "kit.lib"}" fast\n'


def netlist(reference: str, w: str) -> str:
    return HEAD + reference + TAIL.replace("{w}", w)


@pytest.fixture
def reference(tmp_path):
    return write_kit(tmp_path)


def test_only_what_is_reached_is_left(reference):
    pruner = Pruner(netlist(reference, "1"))
    lines = pruner.netlist(netlist(reference, "1"))
    text = "\n".join(lines)
    assert pruner.lines > 2500
    assert len(lines) < 60
    assert lines[0] == "kit"
    assert ".lib" not in text
    assert "other" not in text
    assert "unused" not in text
    assert "shift=-0.1" in text
    assert "shift=0.1" not in text
    assert text.index(".option scale=1u") < text.index("vdd vdd 0 1.8")


def test_each_call_gets_its_bins(reference):
    text = "\n".join(Pruner(netlist(reference, "1")).netlist(netlist(reference, "0.2")))
    assert text.count(".subckt nfet_m3_") == 2
    assert ".model core.0 " in text  # l = 0.3, w = 0.2
    assert ".model core.5 " in text  # l = 0.7, w = 2.5
    assert text.count(".model core.") == 2


def test_at_an_edge_both_bins_stay(reference):
    text = "\n".join(Pruner(netlist(reference, "1")).netlist(netlist(reference, "0.5")))
    assert ".model core.0 " in text
    assert ".model core.1 " in text


@pytest.mark.parametrize("w", ["{width}", "'2*width'", "100"])
def test_sizes_that_are_not_plain_keep_every_bin(reference, w):
    text = "\n".join(Pruner(netlist(reference, "1")).netlist(netlist(reference, w)))
    assert text.count(".model core.") == 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("vdd vdd 0", "{reference}vdd vdd 0"), "one place"),
        (
            lambda text: text.replace(".subckt stage", ".subckt load a b\n.ends\n.subckt stage"),
            "two",
        ),
        (lambda text: text.replace("fast", "typical"), "no section"),
        (lambda text: text.replace("kit.lib", "gone.lib"), "there is no"),
    ],
)
def test_what_is_left_alone(reference, change, words):
    text = change(netlist(reference, "1")).replace("{reference}", reference)
    with pytest.raises(NotPruned, match=words):
        Pruner(text)


def test_a_library_with_conditions_is_left_alone(tmp_path):
    reference = write_kit(tmp_path, ".if (1)\n.param x=1\n.endif\n")
    with pytest.raises(NotPruned):
        Pruner(netlist(reference, "1"))


@pytest.mark.simulator
def test_the_same_results(reference, tmp_path):
    simulator = ngspice({})
    (tmp_path / "session").mkdir()
    session = simulator.open(tmp_path / "session", strict=True)
    before, after = netlist(reference, "HOLE").split("HOLE")
    skeleton = Skeleton((before, after), (("0.3",), ("3.1",)))
    for number, w in enumerate(("0.2", "0.5", "1.23456789", "2", "7.7")):
        place = tmp_path / str(number)
        place.mkdir()
        deck = Deck(
            skeleton.text((w,)), skeleton=skeleton, fills=(w,), vectors=("v(out)", "i(vdd)"),
            device_values=("@m.x1.xm1.mcore[gm]",), files=(tmp_path / "kit.lib",),
        )  # fmt: skip
        assert difference(simulator.run(deck, place, 30.0), session.run(deck)) == 0.0
    assert type(next(iter(session._ways.values()))).__name__ == "PrunedWay"
    session.close()


@pytest.mark.simulator
def test_a_kit_of_random_devices_is_left_to_processes(tmp_path):
    from m3eda.simulate.types import OnlyCold

    reference = write_kit(tmp_path, ".param mismatch={agauss(0,0.01,1)}\n")
    text = netlist(reference, "1").replace("xm9", "r8 out 0 {1meg*(1+mismatch)}\nxm9")
    (tmp_path / "session").mkdir()
    session = ngspice({}).open(tmp_path / "session", strict=False)
    with pytest.raises(OnlyCold):
        session.run(Deck(text, vectors=("v(out)",), files=(tmp_path / "kit.lib",)))
    session.close()
