"""Known answers for he-infer, by other means than its own: numpy's linear algebra and Chebyshev series, Python's integers.

    python3 -m venv venv && venv/bin/pip install numpy && venv/bin/python make.py > known_answers.json

Made with Python 3.11 and numpy 2.4; rerun only when a case is added.
"""

import json
import random

import numpy as np
from numpy.polynomial import chebyshev

random.seed(20261121)


def encoding(slots):
    """Coefficients m of the real polynomial of degree < 2 slots with m(zeta^(5^j)) = z_j, by solving the linear system."""
    n = 2 * slots
    z = np.array([complex(random.uniform(-1, 1), random.uniform(-1, 1)) for _ in range(slots)])
    zeta = np.exp(1j * np.pi / n)
    points = np.array([zeta ** pow(5, j, 2 * n) for j in range(slots)])
    rows = np.array([[p**t for t in range(n)] for p in points])
    m = np.linalg.solve(np.vstack([rows, rows.conj()]), np.concatenate([z, z.conj()]))
    assert np.abs(m.imag).max() < 1e-10
    return {"re": z.real.tolist(), "im": z.imag.tolist(), "coefficients": m.real.tolist()}


def conversion(source, target, near):
    """Residues modulo `target` of the centred representative of x modulo the product of `source`."""
    product = 1
    for q in source:
        product *= q
    xs = [random.randrange(product) for _ in range(8)] + [0, 1, product - 1]
    xs += [(product // 2 + s * (product >> near)) % product for s in (-1, 1)]
    lifted = [x - product if x > product // 2 else x for x in xs]
    return {
        "source": source,
        "target": target,
        "residues": [[x % q for x in xs] for q in source],
        "answers": [[x % q for x in lifted] for q in target],
    }


def series(degree, step):
    """Values of a Chebyshev series with coefficients at multiples of `step` only."""
    c = [random.uniform(-1, 1) if i % step == degree % step else 0.0 for i in range(degree + 1)]
    x = np.linspace(-1, 1, 64)
    return {"coefficients": c, "x": x.tolist(), "values": chebyshev.chebval(x, c).tolist()}


small = [0x1FFFFFFF50001, 0x10000140001, 0xFFFFE80001]
wide = [0x3FFFFFFD20001, 0x40000560001, 0x3FFFFE80001, 0x400005C0001, 0x3FFFFD20001, 0x3FFFFFFB80001, 0x3FFFFFED60001]
special = [0x3FFFFFDCE0001, 0x3FFFFFD900001, 0x3FFFFFD7A0001]
print(
    json.dumps(
        {
            "encodings": [encoding(s) for s in (4, 16, 64)],
            "conversions": [
                conversion(small, special, 40),
                conversion(wide, special + [0x4020001], 40),
                conversion([wide[0]], wide[1:], 30),
            ],
            "series": [series(d, 1) for d in (1, 2, 3, 7, 15, 27, 31, 59, 63)] + [series(d, 2) for d in (6, 15, 30, 31, 62)],
        }
    )
)
