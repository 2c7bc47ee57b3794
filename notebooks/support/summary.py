"""For notebook 07: the numbers that the theory notebooks claim, as text."""

import re

from pepg.companion.claims import COMPARISONS, number


def text(claim):
    """A claim's number as prose has it: a limit as it is stated, a number with as many digits as are stated."""
    if claim["stated"].startswith(tuple(COMPARISONS)):
        return claim["stated"] if claim["holds"] else claim["measured"]
    measured = number(claim["measured"]).quantize(number(claim["stated"]))
    return re.sub(r"^-", "−", f"{measured:,}")


def numbers(table):
    """{statement: text} of a table of claims whose statements are numbers and limits."""
    rows = table[~table["stated"].astype(str).isin(("above", "below", "level", "True", "False"))]
    return {row["statement"]: text(row) for row in rows.astype({"stated": str, "measured": str}).to_dict("records")}
