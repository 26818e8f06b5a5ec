"""The low-pass half of a loudspeaker crossover, built with PySpice."""

from PySpice.Spice.Netlist import Circuit
from PySpice.Unit import u_Hz, u_kHz, u_Ohm


def circuit(l1: float, c1: float, r_coil: float, r_speaker: float) -> Circuit:
    """What the design file calls by these names: parameters and conditions, floats in SI units."""
    made = Circuit("Crossover, low-pass half")
    made.V("in", "amplifier", made.gnd, "dc 0 ac 1")
    made.L(1, "amplifier", "coil", l1)
    made.R("coil", "coil", "speaker", r_coil)
    made.C(1, "speaker", made.gnd, c1)
    made.R("speaker", "speaker", made.gnd, r_speaker @ u_Ohm)
    made.raw_spice += f".ac dec 50 {10 @ u_Hz} {100 @ u_kHz}\n"
    return made
