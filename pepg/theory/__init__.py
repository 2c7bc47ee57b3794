r"""The theory, to be checked on any environment: the two sides of each result, certified optima.

The tags R1 to R8 are those of the theory notebooks, which state and prove each result.
"""

from . import certificate, differences, estimators
from .landscape import decoupled_landscape
from .mixtures import hedge_bound, local_stability
from .report import parts, promised_and_delivered, report
from .results import (
    best_response_gain,
    gradient_domination,
    gradient_parts,
    performance_difference,
    performative_shift,
    promise_and_shift,
    stability_gap,
)
from .steps import Domination, difference_terms, domination_steps, sharp_shift, shift_steps

__all__ = [
    "Domination",
    "best_response_gain",
    "certificate",
    "decoupled_landscape",
    "difference_terms",
    "differences",
    "domination_steps",
    "estimators",
    "gradient_domination",
    "gradient_parts",
    "hedge_bound",
    "local_stability",
    "parts",
    "performance_difference",
    "performative_shift",
    "promise_and_shift",
    "promised_and_delivered",
    "report",
    "sharp_shift",
    "shift_steps",
    "stability_gap",
]
