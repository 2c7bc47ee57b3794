"""When two machines' files hold the same results: the same text, and numbers that differ by no more than rounding does.

A number agrees where it is within 1e-6 of the largest in its column, or one unit of the last digit that is stored: the sixth in data, the
last printed one inside a text.
"""

import io
import math
import re

import pandas as pd

RELATIVE = 1e-6
NUMBER = re.compile(r"(?<![\w.])[-−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def csv_disagreements(measured, stored):
    """What of a CSV, given as text, does not agree with the stored one; one line each."""
    ours, theirs = (pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False) for text in (measured, stored))
    if list(ours) != list(theirs) or len(ours) != len(theirs):
        return [f"{list(ours)}, {len(ours)} rows; stored {list(theirs)}, {len(theirs)} rows"]
    found = []
    for column in theirs:
        numbers = pd.to_numeric(theirs[column], errors="coerce")
        largest = numbers.abs().max()
        for row, (mine, other) in enumerate(zip(ours[column], theirs[column])):
            if mine != other and not (_is_near(mine, other, largest) or _says_the_same(mine, other)):
                found.append(f"row {row}, {column}: {mine}, stored {other}")
    return found


def text_disagreements(measured, stored):
    """What of a text, line by line, does not agree; numbers within one unit of their last digit do."""
    ours, theirs = measured.splitlines(), stored.splitlines()
    if len(ours) != len(theirs):
        return [f"{len(ours)} lines, stored {len(theirs)}"]
    return [f"{mine}\n  stored {other}" for mine, other in zip(ours, theirs) if mine != other and not _says_the_same(mine, other)]


def _is_near(mine, other, largest):
    try:
        mine, other = float(mine), float(other)
    except ValueError:
        return False
    sixth = 10.0 ** (math.floor(math.log10(max(abs(mine), abs(other)))) - 5)
    return abs(mine - other) <= max(RELATIVE * largest, 1.001 * sixth)


def _says_the_same(mine, other):
    if NUMBER.sub("#", mine) != NUMBER.sub("#", other):
        return False
    pairs = zip(NUMBER.findall(mine), NUMBER.findall(other))
    return all(a == b or abs(_value(a) - _value(b)) <= 1.001 * max(_last_digit(a), _last_digit(b)) for a, b in pairs)


def _value(number):
    return float(number.replace("−", "-"))


def _last_digit(number):
    """One unit of it; whole numbers are counts, which differ by nothing."""
    mantissa, _, exponent = number.partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - decimals) if decimals or exponent else 0.0
