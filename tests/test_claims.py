"""Claims: what is stated holds exactly where it rounds to what was measured."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pepg.companion import claims
from pepg.companion.claims import check


@pytest.mark.parametrize(
    "measured, stated, holds, stored",
    [
        (0.00885, 0.0089, True, "0.008850"),
        (0.008949, 0.0089, True, "0.008949"),
        (0.00896, 0.0089, False, "0.008960"),
        (0.504, "0.50", True, "0.5040"),
        (0.51, "0.50", False, "0.5100"),
        (0.51, 0.5, True, "0.510"),
        (-0.0685, "−0.0685", True, "-0.068500"),
        (1069, "1,069", True, "1069.00"),
        (1070, "1,069", False, "1070.00"),
        (42.3, "42 %", True, "42.30"),
        (12345, "1.2e4", True, "12345"),
        (np.nan, 0.1, False, "nan"),
        (3e-13, "< 1e-10", True, "< 1e-10"),  # the size of a rounding error is no result
        (3e-9, "< 1e-10", False, "below 1e-06"),
        (6.4e-12, "<= 1e-06", True, "below 1e-06"),
        (0.0, "< 0.01", True, "below 1e-06"),
        (-4e-17, ">= -1e-5", True, "below 1e-06"),
        (2e-6, "< 1e-5", True, "2e-06"),
        (0, "<= 0", True, "0"),  # counts are no rounding errors
        (0, "< 100", True, "0"),
        (0.2, "<= 0.25", True, "0.2"),
        (3, ">= 3", True, "3"),
        (3, "> 3", False, "3"),
        ((0.1, 0.2), "above", True, "(0.1, 0.2)"),
        ((0.0, 0.2), "above", False, "(0, 0.2)"),
        ((-0.2, -0.1), "below", True, "(-0.2, -0.1)"),
        ((-0.1, 0.2), "level", True, "(-0.1, 0.2)"),
        (True, True, True, "True"),
        (np.True_, False, False, "True"),
    ],
)
def test_check(measured, stated, holds, stored):
    claim = check("it is so", measured, stated)
    assert (claim.holds, claim.measured, claim.stated) == (holds, stored, str(stated))
    assert type(claim.holds) is bool and claim.source == "measured"


@given(st.floats(-1e3, 1e3), st.integers(0, 6))
def test_a_number_holds_where_it_rounds_to_what_is_stated(measured, places):
    stated = f"{measured:.{places}f}"
    unit = 10.0**-places
    assert check("x", measured, stated).holds
    assert not check("x", float(stated) + 0.51 * unit, stated).holds
    assert not check("x", float(stated) - 0.51 * unit, stated).holds


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("", 1, 1), "statement: expected a sentence"),
        ((None, 1, 1), "statement: expected a sentence"),
        (("x", 1, "about 3"), "stated: expected a number, a comparison"),
        (("x", 0.1, "above"), "measured: expected the ends of an interval"),
        (("x", (1, 2), 1), "measured: expected a number"),
        (("x", "0.1", 0.1), "measured: expected a number"),
        (("x", 1, True), "measured: expected a truth value"),
        (("x", True, 1), "measured: expected a number"),
    ],
)
def test_what_cannot_be_read_as_a_claim(arguments, message):
    with pytest.raises(ValueError, match=message):
        check(*arguments)


def test_claims_are_stored_and_shown(tmp_path, monkeypatch, capsys):
    from pepg import companion

    monkeypatch.setenv("PEPG_OUTPUT", str(tmp_path))
    out = companion.Output("n", profile="quick")
    out.claim("first", 0.12, 0.1, "paper")
    out.claim("second", 0.3, 0.2)
    out.claim("second", 0.2, 0.2)  # a cell run again
    assert (tmp_path / "n_claims.csv").read_text() == (
        "statement,stated,measured,holds,source\nfirst,0.1,0.120,True,paper\nsecond,0.2,0.200,True,measured\n"
    )
    assert claims.show(tmp_path)
    out.claim("third", 0.3, 0.2)  # the quick profile only records
    assert not claims.show(tmp_path)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "holds  n: first: 0.1 (measured 0.120; paper)" and shown[-1].startswith("FAILS  n: third: 0.2")
    with pytest.raises(AssertionError, match="third: stated 0.2, measured 0.300"):
        companion.Output("n").claim("third", 0.3, 0.2)
