"""The logarithm of the normal distribution, in NumPy alone.

Loading `scipy.special` takes 0.2 s, half as long again as all that a circuit known beforehand needs
of this package, and it is for this one function there. An agent that loads SciPy anyway takes
`scipy.special.log_ndtr`, which is ten times as fast.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

# log(erfcx(x) / t) at x = 2 / t - 2 for t in [0, 1]: Chebyshev coefficients, by mpmath;
# W. H. Press et al., Numerical Recipes, 3rd edition, 6.2.2 has this form of erfc.
_COEFFICIENTS = (
    -0.6513268598908547, 0.64196979235649043, 0.019476473204185815, -0.0095615147868085976,
    -0.00094659534448203128, 0.0003668394978527873, 4.2523324806871841e-05, -2.027857811249932e-05,
    -1.6242900047036375e-06, 1.3036558356835915e-06, 1.5626441539753573e-08,
    -8.5238095741051575e-08, 6.529054366947585e-09, 5.0593437002070288e-09,
    -9.9136440439130721e-10, -2.2736477586251074e-10, 9.6467497436311846e-11,
    2.3944869645703835e-12, -6.8864784765889157e-12, 8.9468683336841105e-13,
    3.1317824984933851e-13, -1.1322244634480339e-13, 1.3058243133789356e-15,
    6.1200222235573201e-15, -5.1126122966918972e-16,
)  # fmt: skip


def log_ndtr(z: ArrayLike) -> FloatArray:
    """log P(y <= z) for standard normal y, same shape; to 1e-12 of itself, far into the tails."""
    z = np.asarray(z, dtype=float)
    x = np.abs(z) * math.sqrt(0.5)
    t = 2.0 / (2.0 + x)
    twice = 4.0 * t - 2.0
    below = before = np.zeros_like(t)
    for coefficient in _COEFFICIENTS[:0:-1]:  # Clenshaw's recurrence
        below, before = twice * below - before + coefficient, below
    series = 0.5 * twice * below - before + _COEFFICIENTS[0]
    with np.errstate(under="ignore", divide="ignore"):
        tail = np.log(0.5 * t) - x * x + series
        return np.asarray(np.where(z <= 0.0, tail, np.log1p(-np.exp(tail))))
