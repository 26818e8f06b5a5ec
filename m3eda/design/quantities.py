"""What a measure is, by the names that designers give it or by its formula."""

from __future__ import annotations

import re

from m3eda.design.types import Measure

_FUNCTIONS = {
    "dc_gain": "gain", "unity_gain_frequency": "unity-gain frequency",
    "phase_margin": "phase margin", "gain_margin": "gain margin", "bandwidth_3db": "bandwidth",
    "slew_rate": "slew rate", "settling_time": "settling time", "overshoot": "overshoot",
    "noise_density": "noise", "integrated_noise": "noise", "noise_figure": "noise figure",
    "saturation_margin": "saturation margin", "frequency": "frequency", "thd": "distortion",
    "temperature_coefficient": "temperature coefficient", "dropout_voltage": "dropout",
    "peaking": "peaking", "stability_mu": "stability factor",
}  # fmt: skip
"""Function of a formula -> the quantity that it gives, where it gives one."""
_NAMES = {
    "gain": r"gain|gaindb|a0|a0db|av|av0|avo|avol|aol|ao|adc|adm|ad|dcgain\w*|gaindc|gain0|"
            r"openloopgain|olgain|voltagegain|vgain|loopgain0|rt|zt|transimpedance",
    "unity-gain frequency": r"ugbw|ugf|ugb|gbw|gbp|gbwp|gbprod|gainbandwidth\w*|fu|ft|f0db|fc0|"
                            r"funity|unitygain\w*|wu",
    "phase margin": r"pm|phm|phasemargin|phasem|pmdeg|phimargin",
    "gain margin": r"gainmargin|gmargin|gmdb",
    "bandwidth": r"bw|bandwidth|f3db|bw3db|fc|fcutoff|f3|cutoff|fm3db|bandwidth3db",
    "slew rate": r"slew|slewrate|sr|srmin|slewmin",
    "settling time": r"settling|settlingtime|tsettle|tset|ts|settle",
    "supply current": r"ivdd|idd|iddq|icc|ibias|iq|isupply|isup|itot|itotal|supplycurrent|current|"
                      r"quiescentcurrent|iquiescent|isum|ivcc|iavdd|is",
    "power": r"power|pwr|pdc|pdiss|ptot|pq|dissipation|powerdissipation|pstatic|powerw",
    "noise": r"noise|vn|vnin|inoise|inputnoise|irn|noisein|noisedensity|en|vnoise|onoise|"
             r"outputnoise|rmsnoise|integratednoise",
    "offset": r"offset|vos|voff|voffset|inputoffset|systematicoffset",
    "cmrr": r"cmrr\w*|commonmoderejection\w*",
    "psrr": r"psrr?\w*|supplyrejection\w*|powersupplyrejection\w*",
    "area": r"area|gatearea|totalarea|activearea|diearea|cellarea|size",
    "swing": r"swing|outputswing|outswing|vswing|voutswing",
    "saturation margin": r"sat|satmargin|saturation|saturationmargin|vdsmargin|headroommargin",
    "delay": r"delay|td|tpd|tdelay|propagationdelay|propdelay|tp|tclkq|decisiontime|clktoq",
    "energy": r"energy|epc|energypercycle|eop|econv",
    "hysteresis": r"hysteresis|vhys|hyst|vhyst|hystwidth|hysteresiswidth",
    "noise figure": r"nf|noisefigure|nfdb",
    "frequency": r"fosc|freq|frequency|fout|fcenter|fcentre|f0|fmid|oscfreq|oscillation\w*",
    "jitter": r"jitter|jrms|tj|rmsjitter",
    "dropout": r"dropout|vdo|vdropout|dropoutvoltage",
    "line regulation": r"line|linereg|lineregulation|linesensitivity",
    "temperature coefficient": r"tc|tempco|tcf|temperaturecoefficient|tcppm|drift",
    "kickback": r"kickback|kick|vkick",
    "deviation": r"deviation|transient|dvout|undershootmax",
    "error": r"error|accuracy|inaccuracy",
    "attenuation": r"attenuation|stopband|stopbandattenuation|rejection",
    "peaking": r"peak|peaking|peakingdb",
    "overshoot": r"overshoot|os",
    "input return loss": r"rlin|inputreturnloss|rls11",
    "output return loss": r"rlout|outputreturnloss|rls22",
    "isolation": r"isolation|reverseisolation",
    "capacitance": r"capacitance|ctot|ctotal|totalcapacitance",
    "inductance": r"inductance|ltot|ltotal|totalinductance",
}  # fmt: skip
"""Quantity -> the names that it goes by, without case and underscores."""
_UNITS = {"phase margin": {"deg", ""}, "supply current": {"A", ""}, "power": {"W", ""},
          "area": {"m^2", ""}, "slew rate": {"V/s", ""}, "unity-gain frequency": {"Hz", ""},
          "bandwidth": {"Hz", ""}, "settling time": {"s", ""}, "delay": {"s", ""}}  # fmt: skip
"""Units that a quantity can have, where its names might be those of others."""
_CALL = re.compile(r"\b([a-z]\w*)\s*\(")


def quantity_of(measure: Measure) -> str:
    """What `measure` is, by its name, else by the only function of its formula that tells; empty
    where neither tells."""
    bare = measure.name.lower().replace("_", "")
    for quantity, names in _NAMES.items():
        if re.fullmatch(names, bare) and measure.unit in _UNITS.get(quantity, {measure.unit}):
            return quantity
    told = {_FUNCTIONS[name] for name in _CALL.findall(measure.expression) if name in _FUNCTIONS}
    return told.pop() if len(told) == 1 else ""
