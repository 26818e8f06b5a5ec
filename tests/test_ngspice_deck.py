"""What a netlist becomes for ngspice, and what its messages mean: no simulator is needed here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from m3eda_plugins.ngspice.deck import option_text, prepare
from m3eda_plugins.ngspice.log import diagnose, meas_results, unrecognized

from m3eda.simulate.cards import cards, expected_points, stop_time
from m3eda.simulate.types import Deck, SimulationFailed, State

HERE = Path(__file__).parent

NETLIST = """* stage
vdd vdd 0 1.8
v1 in 0 dc 0.7
+ ac 1
r1 vdd out {r}
m1 out in 0 0 nch w=10u l=1u
.param r=10k
"""
AC, TRAN = ".ac dec 10 1 1g\n", ".tran 1n\n+ 1u\n"
MEAS = ".meas ac peak max vdb(out)\n.measure TRAN Slope deriv v(out) at=1n\n"

DECKS = {
    "ac": Deck(NETLIST + AC, vectors=("v(out)", "i(vdd)")),
    "ac_device_values": Deck(NETLIST + ".op\n" + AC + ".end\n", device_values=("@m1[gm]",)),
    "tran": Deck(NETLIST + TRAN, vectors=("v(out)", "i(r1)")),
    "tran_uic": Deck(NETLIST + TRAN.rstrip() + " UIC\n", vectors=("v(out)",)),
    "own_save": Deck(NETLIST + AC + ".save v(in)\n", vectors=("v(out)", "i(vdd)", "i(r1)")),
    "two_meas": Deck(
        NETLIST + AC + TRAN + ".dc v1 0 1 0.1\n" + MEAS,
        vectors=("v(out)",),
        device_values=("@m1[gm]",),
        meas=("peak", "slope"),
    ),
}


@pytest.mark.parametrize("name", DECKS)
def test_golden(name):
    """Written anew where M3EDA_GOLDEN=write is set, to be read as a difference."""
    passes = prepare(DECKS[name], {"reltol": 1e-4, "method": "gear", "itl1": 200.0})
    for number, one in enumerate(passes, 1):
        path = HERE / "golden" / f"ngspice_{name}{'' if len(passes) == 1 else f'_{number}'}.cir"
        if os.environ.get("M3EDA_GOLDEN") == "write":
            path.write_text(one.text)
        assert one.text == path.read_text()


def test_lines_keep_their_numbers():
    text = NETLIST + ".op\n" + AC + ".end\n"
    (one,) = prepare(Deck(text, device_values=("@m1[gm]",)))
    for before, after in zip(text.splitlines(), one.text.splitlines(), strict=False):
        assert after in (before, f"*{before}")


def test_cards_join_continuations_and_skip_comments():
    found = [
        (card.text, card.first, card.last) for card in cards("t\n* c\nr1 a\n* c\n+ 0 1k\n\n.op")
    ]
    assert found == [("r1 a 0 1k", 2, 4), (".op", 6, 6)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (".lib x tt\nr1 a 0 1\n.op\n", "line 1: '.lib x tt' stands in the title line"),
        ("t\nr1 a 0 1\n", "no analysis card"),
        ("t\nr1 a 0 1\n.op\n.CONTROL\nrun\n.endc\n", "line 4: remove the .control block"),
    ],
)
def test_refused(text, words):
    with pytest.raises(SimulationFailed, match="parse error") as caught:
        prepare(Deck(text, vectors=("v(a)",)))
    assert words in caught.value.reason


def test_only_device_values_need_no_analysis_card():
    (one,) = prepare(Deck(NETLIST, device_values=("@m1[gm]",)))
    assert "\n.op\n" in one.text
    assert one.op_required


@pytest.mark.parametrize(
    ("card", "points"),
    [
        (".ac dec 10 1 1e10", 101),
        (".ac DEC 10 1k 10meg", 41),
        (".ac oct 2 1 8", 7),
        (".ac lin 5 1 10", 5),
        (".noise v(a,b) v1 dec 5 1 1k", 16),
        (".ac dec 10 1 {fmax}", None),
        (".ac dec 10", None),
        (".ac dec 10 0 10", None),
    ],
)
def test_expected_points(card, points):
    (found,) = cards(f"t\n{card}")
    assert expected_points(found) == points


@pytest.mark.parametrize(
    ("card", "stop"),
    [
        (".tran 1n 10u", 1e-5),
        (".tran 1n 1e-6 0 1n uic", 1e-6),
        (".tran 1n {10 * tau}", None),
        (".tran {2 * t} 1u", None),
        (".tran 1n", None),
    ],
)
def test_stop_time(card, stop):
    (found,) = cards(f"t\n{card}")
    assert stop_time(found) == stop


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"reltol": 1e-4}, "reltol=0.0001"),
        ({"gmin": 1e-15}, "gmin=1e-15"),
        ({"itl1": 200.0}, "itl1=200"),
        ({"method": "gear", "noopiter": ""}, "method=gear noopiter"),
    ],
)
def test_option_text(options, text):
    assert option_text(options) == text


@pytest.mark.parametrize("options", [{"a b": 1.0}, {"a": "1 .include x"}, {"a": "1\n.op"}])
def test_option_text_refuses(options):
    with pytest.raises(ValueError, match="not an"):
        option_text(options)


# messages, as ngspice 39 printed them

VERDICTS = {
    "model_missing": (State.MODEL_MISSING, "line 3: could not find a valid modelname: m1 out"),
    "model_of_another_size": (
        State.MODEL_MISSING,
        "could not find a valid modelname: m.xm1.mnfet in in 0 0 xm1:nshort_model l= 1.0000",
    ),
    "subckt_missing": (State.MODEL_MISSING, "line 3: unknown subckt: x1 in out nosub"),
    "include_missing": (State.MODEL_MISSING, "Could not find include file /nonexistent/x.lib"),
    "section_missing": (State.MODEL_MISSING, "library file lib.lib, section definition nosec"),
    "bsim4_fatal": (State.MODEL_MISSING, "model nm of device instance m1: Toxe = -1e-09"),
    "unknown_parameter": (State.PARSE_ERROR, "line 4: unknown parameter (foo): m1 out"),
    "duplicate_device": (State.PARSE_ERROR, "line 4: device already exists"),
    "undefined_parameter": (State.PARSE_ERROR, "line 3: Undefined parameter [rr]: r1 in 0 {rr}"),
    "unbalanced_brace": (State.PARSE_ERROR, 'line 3: Closing "}" not found'),
    "subckt_ports": (State.PARSE_ERROR, "Too few parameters for subcircuit type"),
    "ends_missing": (State.PARSE_ERROR, "Mismatch of .subckt"),
    "unknown_card": (State.PARSE_ERROR, "line 4: unimplemented control card"),
    "dc_source_missing": (State.PARSE_ERROR, "no such device: Fatal error: DC Transfer"),
    "noise_source_missing": (
        State.PARSE_ERROR,
        "line 4: the noise analysis's source v9 not in circuit",
    ),
    "voltage_loop": (State.NO_CONVERGENCE, "TRAN: Timestep too small; initial timepoint"),
    "singular": (State.NO_CONVERGENCE, "matrix is singular"),
    "no_convergence": (State.NO_CONVERGENCE, "AC: Timestep too small"),
    "timestep": (State.NO_CONVERGENCE, "TRAN: Timestep too small; time = 5.5e-09"),
    "nothing_to_save": (State.VECTOR_MISSING, "none of the vectors to save is there"),
    "quit": None,
}


def recorded(name: str) -> tuple[str, str]:
    """The netlist and what ngspice said to it."""
    text = (HERE / "logs" / f"ngspice_{name}.txt").read_text()
    netlist, _, log = text.partition("--- printed by ngspice 39\n")
    return netlist, log


@pytest.mark.parametrize("name", VERDICTS)
def test_verdict_on_a_recorded_log(name):
    netlist, log = recorded(name)
    found = diagnose(log, netlist)
    if VERDICTS[name] is None:
        assert found is None
        return
    assert found is not None
    assert found[0] is VERDICTS[name][0]
    assert found[1].startswith(VERDICTS[name][1])


def test_every_recorded_log_is_judged():
    assert {path.stem.removeprefix("ngspice_") for path in (HERE / "logs").glob("ngspice_*")} == (
        set(VERDICTS)
    )


def test_failed_meas_is_no_undefined_parameter():
    log = (
        "Netlist line no. 10:\nUndefined parameter [slope]\n"
        "Netlist line no. 10:\nCannot compute substitute\n"
    )
    assert diagnose(log, NETLIST, ["slope"]) is None
    assert diagnose(log, NETLIST, ["other"]) is not None


def test_meas_results():
    stdout = (
        "\n  Measurements for Transient Analysis\n\n"
        "tp                  =  9.999437e-01\n"
        "m3eda_tp            =  9.9994369826611817e-01\n"
        "rise                =  2.321537e-09 targ=  2.786016e-09 trig=  4.644792e-10\n"
        "bad                 =   failed\n"
        "stale               =  2.000000e+00\n"
        "m3eda_stale         =  1.9000000000000000e+00\n"
    )
    assert meas_results(stdout, ["tp", "rise", "bad", "stale", "absent"]) == {
        "tp": 0.99994369826611817,
        "rise": 2.321537e-09,
        "stale": 2.0,
    }


def test_unrecognized_variables_are_counted():
    log = "Warning: unrecognized variable - @M9[gm]\n" * 2 + "Warning: something else\n"
    assert unrecognized(log) == {"@m9[gm]": 2}
