"""What counts as the same result on another machine, and what does not."""

import pytest
from agreement import csv_disagreements, text_disagreements

STORED = "name,x,n,text\na,1.23456,12,12 of 20 at 0.0571\nb,1e-09,13,\nc,-250.0,14,none\n"


@pytest.mark.parametrize(
    "old, new",
    [("1.23456", "1.23457"), ("1e-09", "3e-07"), ("-250.0", "-249.9998"), ("0.0571", "0.0572")],
    ids=["sixth digit", "far below the column's largest", "a millionth of it", "last printed digit"],
)
def test_rounding_agrees(old, new):
    assert csv_disagreements(STORED.replace(old, new), STORED) == []


@pytest.mark.parametrize(
    "old, new",
    [("1.23456", "1.2349"), ("-250.0", "250.0"), (",12,", ",13,"), ("12 of", "13 of"), ("0.0571", "0.0573"), ("none", "None"), ("1e-09", "")],
)
def test_other_results_do_not(old, new):
    (line,) = csv_disagreements(STORED.replace(old, new), STORED)
    assert line.startswith("row ")


def test_shape_and_names():
    assert csv_disagreements(STORED.replace("name", "label"), STORED)
    assert csv_disagreements(STORED + "d,1,1,\n", STORED)


def test_text():
    stored = "two lines\nthe second at 2.50e-03 & 7"
    assert text_disagreements(stored.replace("2.50", "2.51"), stored) == []
    assert len(text_disagreements(stored.replace("& 7", "& 8"), stored)) == 1
    assert text_disagreements(stored + "\n", stored) == [] and text_disagreements(stored + "\nthird", stored)
