"""Why Xyce failed, in one line: messages in its log, and failures that it does not call errors."""

from __future__ import annotations

import pytest
from m3eda_plugins.xyce.log import diagnose, messages, read_log, tail, undefined

from m3eda.simulate.types import State

DECK = "title\nv1 in 0 dc 1\n* a comment\nm1 out in 0 0\n+ nowhere w=1u\nr1 in out {rr}\n.op\n"
ABORT = (
    "Simulation aborted due to error.  There are 0 MSG_FATAL errors and 1 MSG_ERROR\n errors\n"
    "*** Xyce Abort ***\n"
)


def at(line, text, file="deck.cir"):
    return f"Netlist error in file {file} at or near line {line}\n {text}\n{ABORT}"


def judged(log, printed="", deck=DECK):
    return diagnose(log, printed, deck, "deck.cir")


@pytest.mark.parametrize(
    ("log", "state", "reason"),
    [
        (
            at(5, "Model is required for device M1 and no valid model card found."),
            State.MODEL_MISSING,
            "line 4: Model is required for device M1 and no valid model card found: "
            "m1 out in 0 0 nowhere w=1u",
        ),
        (
            at(4, "Unrecognized parameter OUT for device M1"),
            State.MODEL_MISSING,
            "line 4: the model of m1 is not there, or is of a level Xyce lacks: "
            "m1 out in 0 0 nowhere w=1u",
        ),
        (
            at(4, "Unrecognized parameter FOO for device M1"),
            State.PARSE_ERROR,
            "line 4: Unrecognized parameter FOO for device M1: m1 out in 0 0 nowhere w=1u",
        ),
        (
            at(6, "Illegal value found for device R1 for\n parameter = R value = rr*2"),
            State.PARSE_ERROR,
            "line 6: Illegal value found for device R1 for parameter = R value = rr*2: "
            "r1 in out {rr}",
        ),
        (
            "Netlist error: Could not find include file /no/x.lib\n",
            State.MODEL_MISSING,
            "Could not find include file /no/x.lib",
        ),
        (
            at(7, "Subcircuit NOSUB has not been defined for instance X1", "parts.lib"),
            State.MODEL_MISSING,
            "parts.lib line 7: Subcircuit NOSUB has not been defined for instance X1",
        ),
        (
            at(9, "There was 1 undefined symbol in .PRINT command: V(OUTT)"),
            State.VECTOR_MISSING,
            "There was 1 undefined symbol in .PRINT command: V(OUTT)",
        ),
        (
            "Netlist error: Solving for DC operating point failed! Cannot continue AC\n analysis\n"
            + ABORT,
            State.NO_CONVERGENCE,
            "no operating point: Newton did not converge",
        ),
        (
            "Numerically singular matrix found by Amesos, returning zero solution!\n"
            "Netlist error: Solving for DC operating point failed! Cannot continue AC\n analysis\n",
            State.NO_CONVERGENCE,
            "no operating point: the matrix is singular: a loop of voltage sources, or a part "
            "without a path to ground",
        ),
        (
            "\n\tFailed DC sweep steps:\t\t\n\t\tDC Step # 1\n",
            State.NO_CONVERGENCE,
            "no operating point: Newton did not converge",
        ),
        (
            " *** Transient failure history: \nTime step too small near step number: 41  Exiting "
            "transient loop.\n",
            State.NO_CONVERGENCE,
            "time step too small",
        ),
        (
            "DC Operating Point Failed.  Exiting transient loop\n",
            State.NO_CONVERGENCE,
            "no operating point: Newton did not converge",
        ),
    ],
)
def test_messages_of_the_log(log, state, reason):
    assert judged(log) == (state, reason)


@pytest.mark.parametrize(
    ("printed", "state", "reason"),
    [
        (
            "terminate called after throwing an instance of 'std::bad_alloc'\n  what(): "
            "std::bad_alloc\n",
            State.CRASH,
            "Xyce ran out of memory",
        ),
        (
            "mpirun noticed that process rank 1 with PID 0 on node here exited on signal 9.\n",
            State.CRASH,
            "Xyce was ended by signal 9",
        ),
        (
            "-----\nThere are not enough slots available in the system to satisfy the 64 slots\n",
            State.CRASH,
            "There are not enough slots available in the system to satisfy the 64 slots",
        ),
    ],
)
def test_what_was_printed_beside_the_log(printed, state, reason):
    assert judged("***** Executing netlist deck.cir\n", printed) == (state, reason)


def test_nothing_said():
    assert judged("***** Setting up topology...\n") is None


def test_a_wrapped_file_name_and_message_are_one_line():
    log = (
        "Netlist error in file\n /a/very/long/path/that/wraps/models.lib at or near line 12\n"
        " Device model NCH: something that is\n said on three\n lines\nNetlist error: other\n"
    )
    first, second = messages(log)
    assert (first.file, first.line) == ("/a/very/long/path/that/wraps/models.lib", 12)
    assert first.text == "Device model NCH: something that is said on three lines"
    assert (second.text, second.line) == ("other", 0)


def test_warnings_are_no_errors():
    log = "Netlist warning in file deck.cir at or near line 4\n Device M1: no error: dtox ignored\n"
    assert list(messages(log)) == []


def test_all_names_that_are_not_there():
    log = (
        at(9, "There were 2 undefined symbols in .PRINT command: V(OUTT),\n I(R9)")
        + "Netlist error: Function or variable N(M1:VTH) is not defined\n"
    )
    assert undefined(log) == ("v(outt)", "i(r9)", "n(m1:vth)")


def test_a_long_log_is_read_at_both_ends(tmp_path):
    path = tmp_path / "run.log"
    path.write_text("first\n" + "x" * (6 << 20) + "\nlast\n")
    text = read_log(path)
    assert text.startswith("first\n")
    assert text.endswith("\nlast\n")
    assert len(text) < 5 << 20
    assert read_log(tmp_path / "none.log") == ""


def test_the_tail_leaves_out_tables_of_times(shared):
    log = (shared / "xyce_samples" / "nonconvergent" / "run.log").read_text()
    told = tail(log, "", "an error at last\n")
    assert "Failed DC sweep steps" in told
    assert "Timing summary" not in told
    assert told.endswith("an error at last")
    assert len(told) <= 2001


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("broken_model", (State.MODEL_MISSING, "line 17: Model is required for device MN5 and")),
        ("nonconvergent", (State.NO_CONVERGENCE, "no operating point")),
        ("failed_measure", None),
        ("opamp_ac", None),
        ("noise", None),
        ("tran", None),
        ("batch_step_data", None),
    ],
)
def test_goldens(shared, folder, expected):
    sample = shared / "xyce_samples" / folder
    printed = (sample / "stdout.txt").read_text() + (sample / "stderr.txt").read_text()
    deck = (sample / "deck.cir").read_text()
    found = diagnose(read_log(sample / "run.log"), printed, deck, "deck.cir")
    if expected is None:
        assert found is None
    else:
        assert found[0] is expected[0]
        assert found[1].startswith(expected[1])
