"""Claims: the numbers and verdicts that people have typed into a text, each beside the measurement that it rests on.

A statement is *stated* in one of four ways, and *measured* to match:

============================ ============================== =================================================================
stated                       measured                       holds where
============================ ============================== =================================================================
``0.0089``, ``"0.50"``, 27   a number                       it rounds to what is stated: within half a unit of the last digit
``"< 1e-10"``, ``">= 3"``    a number                       the comparison is true
``"above"``, ``"below"``     the ends (low, high) of an     it lies above 0, below 0
``"level"``                  interval                       it holds 0
True, False                  a truth value                  it is the one stated
============================ ============================== =================================================================

A number is written as the text has it: as a string where its last digit is a zero (``"0.50"``), with the sign, comma and
percent sign of prose where they help (``"−0.0685"``, ``"1,069"``, ``"42 %"``).
"""

import operator
import re
import sys
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
import pandas as pd

from ..arguments import check_array, check_text, described

COMPARISONS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
VERDICTS = {
    "above": lambda low, high: low > 0.0,
    "below": lambda low, high: high < 0.0,
    "level": lambda low, high: low <= 0.0 <= high,
}
ROUNDING = 1e-6  # a smaller size, held to a limit below 1, may be one of rounding, which differs between machines: not stored


@dataclass(frozen=True)
class Claim:
    """One claim; `measured` is text with two digits more than what is stated, so that it is the same on every machine."""

    statement: str
    stated: str
    measured: str
    holds: bool
    source: str


def number(text):
    """What prose means by a number, as a Decimal; ValueError where it is none."""
    plain = re.sub(r"[,\s %]", "", str(text).replace("−", "-"))
    try:
        return Decimal(plain)
    except InvalidOperation:
        raise ValueError(f"stated: expected a number, a comparison, above, below, level or a truth value, got {text!r}") from None


def check(statement, measured, stated, source="measured"):
    """The :class:`Claim` that `measured` supports `statement` as `stated`.

    Raises ValueError for what cannot be read as a claim.
    """
    if not (isinstance(statement, str) and statement.strip()):
        raise ValueError(f"statement: expected a sentence, got {described(statement)}")
    if not isinstance(stated, (str, int, float, bool, np.bool_, np.number)):
        raise ValueError(f"stated: expected a number, a comparison, above, below, level or a truth value, got {described(stated)}")
    check_text("source", source)
    if isinstance(stated, (bool, np.bool_)):
        if not isinstance(measured, (bool, np.bool_)):
            raise ValueError(f"measured: expected a truth value for {statement!r}, got {measured!r}")
        return Claim(statement, str(bool(stated)), str(bool(measured)), bool(measured) == bool(stated), source)
    if stated in VERDICTS:
        ends = check_array("measured", measured)
        if ends.shape != (2,):
            raise ValueError(f"measured: expected the ends of an interval for {statement!r}, got {measured!r}")
        low, high = map(float, ends)
        return Claim(statement, stated, f"({low:.3g}, {high:.3g})", bool(VERDICTS[stated](low, high)), source)
    if isinstance(measured, (bool, np.bool_, str)) or check_array("measured", measured).ndim:
        raise ValueError(f"measured: expected a number for {statement!r}, got {measured!r}")
    measured = float(measured)
    sign = next((sign for sign in COMPARISONS if str(stated).startswith(sign)), None)
    if sign is not None:
        limit = number(str(stated).removeprefix(sign))
        holds = bool(COMPARISONS[sign](measured, float(limit)))
        if holds and 0 < abs(limit) < ROUNDING:
            return Claim(statement, str(stated), str(stated), holds, source)
        hidden = 0 < abs(limit) < 1 and abs(measured) < ROUNDING
        return Claim(statement, str(stated), f"below {ROUNDING:g}" if hidden else f"{measured:.3g}", holds, source)
    expected = number(stated)
    unit = Decimal(1).scaleb(expected.as_tuple().exponent)
    holds = bool(np.isfinite(measured)) and abs(measured - float(expected)) <= float(unit) * (0.5 + 1e-9)
    places = max(0, 2 - expected.as_tuple().exponent)
    return Claim(statement, str(stated), f"{measured:.{places}f}", holds, source)


def show(folder):
    """Print every claim that is stored in `folder`, a line each; True if all hold."""
    holds = True
    for path in sorted(folder.glob("*_claims.csv")):
        notebook = path.stem.removesuffix("_claims")
        for row in pd.read_csv(path, dtype=str, keep_default_na=False).itertuples():
            holds &= row.holds == "True"
            mark = "holds" if row.holds == "True" else "FAILS"
            print(f"{mark}  {notebook}: {row.statement}: {row.stated} (measured {row.measured}; {row.source})")
    return holds


if __name__ == "__main__":
    sys.exit(not show(Path(sys.argv[1])))
