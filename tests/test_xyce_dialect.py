"""Decks of ngspice in Xyce's words, card by card: what is written, and what is refused."""

from __future__ import annotations

import pytest
from m3eda_plugins.xyce.dialect import translate

from m3eda.simulate.runner import LADDER
from m3eda.simulate.types import SimulationFailed, State


def body(cards: str) -> str:
    return f"title\n{cards}\n.end\n"


@pytest.fixture
def said(tmp_path):
    """What becomes of cards behind a title."""
    return lambda cards, **how: translate(body(cards), tmp_path, **how)


@pytest.fixture
def line(said):
    """What becomes of one card."""
    return lambda card: said(card).lines[1]


@pytest.fixture
def refusal(said):
    """Why cards are refused."""

    def why(cards):
        with pytest.raises(SimulationFailed) as failed:
            said(cards)
        assert failed.value.state is State.PARSE_ERROR
        return failed.value.reason

    return why


# --- differences of which Xyce would be silent ---


@pytest.mark.parametrize(
    ("ngspice", "xyce"),
    [
        ("r1 a gnd 1k", "r1 a 0 1k"),
        ("r1 GND a 1k", "r1 0 a 1k"),
        ("x1 in gnd out cell", "x1 in 0 out cell"),
        ("e1 out Gnd in gnd 2", "e1 out 0 in 0 2"),
        ("b1 a gnd v=v(in,gnd)*2", "b1 a 0 v={v(in)*2}"),
        ("b1 a 0 v=v(gnd,in)", "b1 a 0 v={(-v(in))}"),
        (".nodeset v(a)=gnd1", ".nodeset v(a)=gnd1"),
    ],
)
def test_ground_is_the_node_0(line, ngspice, xyce):
    assert line(ngspice) == xyce


def test_ground_within_a_subcircuit(said):
    found = said(".subckt cell a gnd\nr1 a gnd 1k\n.ends cell").lines
    # a port that no line of it uses: the ground of the body is the ground of the circuit
    assert found[1:4] == (".subckt cell a gnd", "r1 a 0 1k", ".ends cell")


@pytest.mark.parametrize(
    ("ngspice", "xyce"),
    [
        # ngspice 39 knows no atto and no x: letters behind a number are its unit
        ("c1 a 0 10a", "c1 a 0 10"),
        ("r1 a 0 10x", "r1 a 0 10"),
        ("r1 a 0 4k7", "r1 a 0 4k"),
        ("r1 a 0 1megohm", "r1 a 0 1meg"),
        ("c1 a 0 10pF", "c1 a 0 10p"),
        ("r1 a 0 {10a}", "r1 a 0 {10}"),
        ("r1 a 0 {10mil}", "r1 a 0 {10m}"),
        ("r1 10a 0 1k", "r1 10a 0 1k"),
    ],
)
def test_units(line, ngspice, xyce):
    assert line(ngspice) == xyce


@pytest.mark.parametrize(
    ("ngspice", "xyce"),
    [
        ("2^3", "2**3"),
        # Xyce binds ^ weaker than +
        ("1+2^3", "1+2**3"),
        ("2^3^2", "(2**3)**2"),
        ("-2^2", "-2**2"),
        # ngspice takes the absolute value of the base
        ("a^3", "abs(a)**3"),
        ("a**b", "abs(a)**b"),
        ("a^2", "a**2"),
        ("pwr(a,3)", "abs(a)**3"),
        ("pow(a,3)", "pow(a,3)"),
        ("a||b&&c", "a||(b&&c)"),
        ("!a", "if(a==0,1,0)"),
        ("a>b?1:2", "if(a>b,1,2)"),
        ("a<>b", "a!=b"),
        ("7%4", "fmod(7,4)"),
        ("sqr(a)", "((a)**2)"),
        ("max(1,2,3)", "max(1,max(2,3))"),
        ("ternary_fcn(a,1,2)", "if(a,1,2)"),
        ("log(100)", "log(100)"),
        ("a*(b+c)/2", "a*(b+c)/2"),
        # names that Xyce reads as its own
        ("vt*2", "vt_m3eda*2"),
        ("gmin+freq", "gmin_m3eda+freq_m3eda"),
    ],
)
def test_expressions_of_parameters(line, ngspice, xyce):
    assert line(f".param z={{{ngspice}}}") == f".param z={{{xyce}}}"


@pytest.mark.parametrize(
    ("ngspice", "xyce"),
    [
        ("v(a)^3", "abs(v(a))**3"),
        ("pow(v(a),3)", "abs(v(a))**3"),
        ("pwr(v(a),3)", "pwrs(v(a),3)"),
        ("pi*e", "3.141592653589793*2.718281828459045"),
        ("u(v(a))", "(stp(v(a))+if((v(a))==0,0.5,0))"),
        ("u2(v(a))", "limit(v(a),0,1)"),
        ("gt0(v(a))", "if((v(a))>0,1,0)"),
        ("v(a)>0.5 ? v(b) : 0", "if(v(a)>0.5,v(b),0)"),
        ("i(v.x1.vs)", "i(x1.vs)"),
        ("v(x1.net)*temper", "v(x1.net)*temper"),
        ("{k+1}*v(a)", "(k+1)*v(a)"),
        ("{k^3}*v(a)", "(abs(k)**3)*v(a)"),
    ],
)
def test_expressions_of_b_sources(line, ngspice, xyce):
    assert line(f"b1 out 0 v={ngspice}") == f"b1 out 0 v={{{xyce}}}"


def test_a_table_goes_on_along_its_end_lines(line):
    assert line("b1 o 0 v=pwl(v(a),0,0,1,2)") == (
        "b1 o 0 v={(table(v(a),0,0,1,2)"
        "+min((v(a))-(0),0)*((2)-(0))/((1)-(0))+max((v(a))-(1),0)*((2)-(0))/((1)-(0)))}"
    )


def test_temperature_and_options_in_their_packages(said):
    assert said(".temp 127").options == (".options device temp=127",)
    assert said(".option temp=85 tnom=25").options == (".options device temp=85 tnom=25",)
    found = said(".options reltol=1e-4 vntol=1u abstol=1p gmin=1e-13 chgtol=1e-15 method=gear")
    assert found.options == (
        ".options nonlin reltol=1e-4 abstol=1p",
        ".options nonlin-tran reltol=1e-4",
        ".options timeint reltol=1e-4 abstol=1u method=8",
        ".options device gmin=1e-13 chgtol=1e-15",
    )
    assert found.lines[1].startswith("*")


def test_relaxed_options_of_the_ladder(said):
    found = [said(f".option {text}").options for text in LADDER.values()]
    assert found == [
        (".options device gmin=1e-10",),
        (
            ".options nonlin reltol=1e-2",
            ".options nonlin-tran reltol=1e-2",
            ".options timeint reltol=1e-2",
        ),
        (".options timeint method=8",),
        (".options nonlin maxstep=1000", ".options nonlin-tran maxstep=100"),
    ]


def test_options_that_change_no_results_are_left_out(said):
    assert said(".option noacct savecurrents num_threads=1 sparse post=2 nonsense").options == ()
    assert said(".option method=trap noacct").options == (".options timeint method=7",)
    assert said(".param t=40\n.option temp={t*2}").options == (".options device temp=80",)
    assert said(".option trtol=1").options == (".options timeint reltol=0.000142857",)


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        (".option rshunt=1e12", "line 2: Xyce has no option rshunt (write the resistors"),
        (".option xmu=0.4", "line 2: Xyce has no option xmu"),
        (".option method=euler", "line 2: method=euler is no method of integration"),
        (".temp 27 85", "line 2: '.temp 27 85' must name one temperature"),
        (".option temp", "line 2: the option temp needs a value"),
        (".option temp={hot}", "line 2: no parameter hot is known"),
    ],
)
def test_options_that_cannot_be_said(refusal, card, reason):
    assert refusal(card).startswith(reason)


def test_initial_values_are_for_transients_only(said):
    found = said(".ic v(a)=0.2 v(b)='x/2'\nc1 a 0 1p ic=0.5\n.tran 1n 1u")
    assert found.initial == (".ic v(a)=0.2 v(b)='x/2'",)
    # without uic ngspice passes over ic=, which Xyce would hold
    assert found.lines[1:3] == ("*.ic v(a)=0.2 v(b)='x/2'", "c1 a 0 1p")
    cards = "c1 a 0 1p ic=0.5\n.nodeset v(a)=1\n.tran 1n 1u uic"
    assert said(cards).lines[1:3] == ("c1 a 0 1p", ".nodeset v(a)=1")
    assert said(cards, uic=True).lines[1:3] == ("c1 a 0 1p ic=0.5", "*.nodeset v(a)=1")


def test_a_transient_takes_the_steps_that_ngspice_would(said):
    texts = [
        said(card).analyses[0].text
        for card in (".tran 1n 1u", ".tran 1n 10n", ".tran 1n 1u 0 5n", ".tran 1n 1u 0.5u uic")
    ]
    assert texts == [
        ".tran 1n 1u 0 1e-09",
        ".tran 1n 10n 0 2e-10",
        ".tran 1n 1u 0 5n",
        ".tran 1e-11 1u 0.5u 1e-09 uic",
    ]


def test_the_last_parameter_of_one_name_holds_in_both(said):
    found = said(".param a=1\n.param a=2\n.if (a==2)\nr1 x 0 1k\n.endif")
    assert found.lines[1:5] == (".param a=1", ".param a=2", "*.if (a==2)", "r1 x 0 1k")


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("1/z", "float division by zero"),
        ("sqrt(-2)", "math domain error"),
        ("1+ln(z)", "math domain"),
    ],
)
def test_an_expression_without_a_value(refusal, said, expression, why):
    # Xyce takes 1e50 or 0 for it
    assert refusal(f".param z=0\nr1 a 0 {{{expression}}}").startswith(
        f"line 3: '{expression}' has no value: {why}"
    )
    within = said(f".param z=0\n.subckt s a z=1\nr1 a 0 {{{expression}}}\n.ends").lines
    assert within[3] == f"r1 a 0 {{{expression}}}"


def test_lines_that_begin_with_blanks_are_cards(said):
    assert said("  r1 a 0 1k\n\tr2 a 0\n \t+ 2k").lines[1:4] == ("r1 a 0 1k", "r2 a 0", "+ 2k")


CELL = ".subckt cell a b\n{}r1 a b 1k\n.ends\n.subckt pair a b\nx1 a b cell\n.ends\n"


def test_a_multiplier_is_said_at_every_call(said):
    # without one Xyce takes that of the call before
    found = said(CELL.format("") + "x1 a 0 cell m=3\nx2 a 0 cell\nx3 a 0 pair w=1\n+ l=2").lines
    calls = [line for line in found if line.startswith(("x", "+"))]
    assert calls == [
        "x1 a b cell m=1", "x1 a 0 cell m=3", "x2 a 0 cell m=1", "x3 a 0 pair w=1", "+ l=2 m=1",
    ]  # fmt: skip
    found = said(CELL.format("") + "x1 a 0 cell\nx2 a 0 cell").lines
    assert [line for line in found if line.startswith("x2")] == ["x2 a 0 cell"]


def test_a_multiplier_that_the_subcircuit_declares(said):
    found = said(".subckt cell a m=1\nr1 a 0 1k m={m}\n.ends\nx1 a cell\nx2 a cell m=3").lines
    assert found[4:6] == ("x1 a cell", "x2 a cell m=3")


def test_current_sources_are_not_multiplied_with_their_subcircuit(refusal, said):
    cell = CELL.format("i1 a b 1m\n")
    assert refusal(f"{cell}x1 a 0 pair m=2") == (
        "line 3: Xyce does not multiply i1 with its subcircuit cell, which is called with m=: "
        "write several calls"
    )
    assert said(f"{cell}x1 a 0 pair").lines[2] == "i1 a b dc 1m"


# --- what Xyce refuses of ngspice's text ---


@pytest.mark.parametrize(
    ("ngspice", "xyce"),
    [
        ("r1 a 0 1k $ comment", "r1 a 0 1k"),
        ("r1 a 0 1k // comment", "r1 a 0 1k"),
        ("r1 a 0 1k ; comment", "r1 a 0 1k ; comment"),
        ("r1 a$b 0 1k", "r1 a$b 0 1k"),
        (".model m8 nmos level=8 vth0=0.4", ".model m8 nmos level=9 vth0=0.4"),
        (".model m54 nmos (level = 54 toxe=2n)", ".model m54 nmos (level = 54 toxe=2n)"),
        (".model d1 d is=1e-14 vj=vjx", ".model d1 d is=1e-14 vj={vjx}"),
        (".func f(x,y) = 'x^2+y'", ".func f(x,y) {x**2+y}"),
        (".func f(x,vt) {x*vt}", ".func f(x,vt_m3eda) {x*vt_m3eda}"),
        (".param x = 2 * 3 y='x+1'", ".param x={2 * 3} y='x+1'"),
        (".param a={x} + y", ".param a={(x)+y}"),
        (".global vdd gnd", ".global vdd 0"),
        (".subckt s a b w=1u l='2*k^3'", ".subckt s a b w=1u l={2*abs(k)**3}"),
        ("x1 a b s w = k*2 vt=1", "x1 a b s w={k*2} vt_m3eda=1"),
        ("x1 a b s params: w={k}", "x1 a b s params: w={k}"),
    ],
)
def test_cards(line, ngspice, xyce):
    assert line(ngspice) == xyce


@pytest.mark.parametrize(
    "card",
    [".save v(a)", ".print ac v(a)", ".plot tran v(a)", ".probe", ".four 1k v(a)", ".tf v(a) v1"],
)
def test_cards_that_ask_for_output_become_comments(line, card):
    assert line(card) == f"*{card}"


@pytest.mark.parametrize(
    ("cards", "reason"),
    [
        (
            "r1 a 0 1k\n.control\nrun\n.endc",
            "line 3: remove the .control block: "
            "m3eda runs the analyses that the netlist's own cards ask for",
        ),
        ("a1 [x] [y] adc", "line 2: Xyce has no code models (XSPICE)"),
        (".sp lin 1 1g 1g", "line 2: Xyce has no .sp analysis that m3eda can run"),
        (".nonsense", "line 2: '.nonsense' is no card that Xyce can be told"),
        ("simulator lang=spectre", "line 2: this is Spectre's language"),
        (".model m1 nmos level=69", "line 2: Xyce has no nmos model that is ngspice's level 69"),
        (".model c1 adc_bridge", "line 2: Xyce has no model of type 'adc_bridge'"),
        (".model s1 sw vt=0.5 vh=0.1", "line 2: Xyce's switches have no hysteresis"),
        ("m1 d g s b mod w=1u mulu0=1.1", "line 2: Xyce knows no 'mulu0=' of an M device"),
        (
            "r1 a 0 {agauss(1,0.1,3)}",
            "line 2: Xyce takes the mean of random numbers: switch them off (write the mean)",
        ),
        ("r1 a 0 {table(1,0,0)}", "line 2: ngspice has no function table (write pwl("),
        ("r1 a 0 {a^}", "line 2: the expression 'a^' cannot be read at 'its end'"),
        ("r1 a 0 {(a^2}", "line 2: the expression '(a^2' cannot be read at 'end'"),
        ("r1 a 0 {sqrl(2)}", "line 2: no function sqrl is known (did you mean sqr"),
        ("v1 a 0 dc 0 portnum 1 z0 50", "line 2: ports are for .sp analyses"),
        ("v1 a 0 trnoise(1 2 3)", "line 2: Xyce has no source function trnoise"),
        ("v1 a 0 pulse(0 1 0 1n 1n 1n 5n 3)", "line 2: Xyce's pulse source takes 7 values"),
        ("e1 a 0 laplace {v(b)} {1/s}", "line 2: Xyce has no LAPLACE source"),
        (".param x", "line 2: '.param x' is no parameter: write .param name=value"),
        (".if (q==1)\nr1 a 0 1\n.endif", "line 2: Xyce has no .if, and this one cannot be decided"),
        (".param q=1\n.if (q==1)\nr1 a 0 1", "line 3: this .if has no .endif"),
        (".else", "line 2: .else stands without an .if before it"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_line(refusal, cards, reason):
    assert refusal(cards).startswith(reason)


def test_conditions_are_decided_by_the_parameters(said):
    cards = (
        ".param mode=2 q={mode*3-6}\n.if (mode == 1)\nr1 a 0 1k\n.elseif (mode==2 && !q)\n"
        "r1 a 0 2k\n.if (q > 5)\nr2 a 0 1\n.else\nr2 a 0 3\n.endif\n.else\nr1 a 0 3k\n.endif"
    )
    kept = [text for text in said(cards).lines if text.startswith("r")]
    assert kept == ["r1 a 0 2k", "r2 a 0 3"]


def test_a_random_number_that_is_switched_off_stays(said):
    card = ".param mc=0 spread=2\n.param r={1k*(1+spread*mc*agauss(0,0.1,3))}"
    assert said(card).lines[2] == ".param r={1k*(1+spread*mc*agauss(0,0.1,3))}"


def test_whole_lines_of_comment(said):
    found = said("$ one\n// two\n; three\n * four\nr1 a 0 1k").lines
    assert found[1:5] == ("*$ one", "*// two", "; three", " * four")


def test_every_line_keeps_its_number(said):
    cards = (
        "m1 d g\n* between\n+ s b mod\n\n+ w=1u $ width\n+ l={x^3}\n.param a=1\n+ b = {a^3}\n+ c=2"
    )
    assert said(cards).lines == (
        "title",
        "m1 d g s b mod w=1u l={abs(x)**3}",
        "* between",
        "*",
        "",
        "*",
        "*",
        ".param a=1",
        "+ b={abs(a)**3}",
        "+ c=2",
        "*.end",
    )


def test_the_title_line(tmp_path):
    with pytest.raises(SimulationFailed, match=r"line 1: '.op' stands in the title line"):
        translate(".op\nr1 a 0 1\n", tmp_path)
    assert translate("\nr1 a 0 1\n", tmp_path).lines == ("m3eda", "r1 a 0 1")
    assert translate("", tmp_path).lines == ("m3eda",)


def test_analyses_are_taken_out(said):
    found = said("r1 a 0 1\n.ac dec 10 1 1Gx\n.noise v(a) v1 dec 5 1\n+ 1k\n.dc v1 0 1 0.1")
    assert [(card.text, card.first, card.last) for card in found.analyses] == [
        (".ac dec 10 1 1g", 2, 2),
        (".noise v(a) v1 dec 5 1 1k", 3, 4),
        (".dc v1 0 1 0.1", 5, 5),
    ]
    assert not any(text.startswith((".", "+")) for text in found.lines)
