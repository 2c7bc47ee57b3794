"""The checks of arguments: each returns what it was given, as floats where it is an array, or raises a ValueError that names
the argument, the first offence, what was expected and what came.
"""

import re
import sys
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

ROW_SUM_TOLERANCE = 1e-8
MOST = 10**9  # steps, coefficients and counts above this are slips, whose results are rounding or fill any memory
Numbers = float | np.ndarray  # one, or one for each of the leading axes
Seeds = int | Sequence[int] | np.ndarray | None  # one, one for each of the runs side by side, or none
KINDS = {"b": "truth values", "c": "complex numbers", "U": "text", "S": "text", "M": "dates", "m": "times", "O": "objects"}


def described(value):
    """What came, in a few words."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, np.ndarray) and value.ndim:
        return f"an array of {KINDS.get(value.dtype.kind, 'numbers')} of shape {value.shape}"
    if not isinstance(value, (int, float, complex, str, bytes, list, tuple, dict, set, np.generic, np.ndarray, type(None))):
        return f"<function {value.__qualname__}>" if hasattr(value, "__qualname__") else type(value).__name__
    text = str(value) if isinstance(value, (int, float, np.generic, np.ndarray)) else repr(value)
    return text if len(text) <= 60 else f"{text[:56]}..."


def check_instance(name, value, kind, expected=None):
    """`value` where it is an instance of the class `kind`, or a ValueError."""
    if not isinstance(value, kind):
        raise ValueError(f"{name}: expected {expected or f'a {kind.__name__}'}, got {described(value)}")
    return value


def check_function(name, value):
    if not callable(value):
        raise ValueError(f"{name}: expected a function, got {described(value)}")
    return value


def check_choice(name, value, choices):
    if not (isinstance(value, str) and value in choices):
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {described(value)}")
    return value


def check_name(name, value):
    """`value` where it can be a part of a file's name: letters, digits and what stands in names, no folder; or a ValueError."""
    if not (isinstance(value, str) and re.fullmatch(r"\w[\w .,+=-]*", value)):
        raise ValueError(f"{name}: expected a name of letters, digits and underscores, got {described(value)}")
    return value


def check_text(name, value):
    return check_instance(name, value, str, "text")


def check_flag(name, value):
    return bool(check_instance(name, value, (bool, np.bool_), "True or False"))


def check_sequence(name, values, what="values"):
    """`values` as a list that is not empty, or a ValueError for text, a mapping or what cannot be gone through."""
    if isinstance(values, (str, bytes, dict, type)) or not hasattr(values, "__iter__") or np.ndim(values) == 0 and isinstance(values, np.ndarray):
        raise ValueError(f"{name}: expected a sequence of {what}, got {described(values)}")
    values = list(values)
    if not values:
        raise ValueError(f"{name}: expected at least one of {what}, got none")
    return values


def check_mapping(name, value, what):
    """`value` as a dict that is not empty, or a ValueError."""
    check_instance(name, value, dict, f"a dict {{name: {what}}}")
    if not value:
        raise ValueError(f"{name}: expected at least one {what}, got none")
    return value


# Arrays


def _read(name, value):
    """`value` as an array of whatever type, or a ValueError for one with a mask or with lists of unequal lengths."""
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{name}: expected numbers without a mask, got a masked array of shape {value.shape}")
    try:
        return np.asarray(value)
    except Exception as error:  # whatever an object does when it is asked for an array
        raise ValueError(f"{name}: expected an array of numbers, got {described(value)}: {error}") from None


def check_array(name, value):
    """`value` as an array of floats, or a ValueError for what is none, or would lose something: a mask, an imaginary part."""
    if type(value) is np.ndarray and value.dtype == float:
        return value
    array = _read(name, value)
    if array.dtype.kind not in "iuf":
        kind = KINDS.get(array.dtype.kind, "something else")
        raise ValueError(f"{name}: expected an array of real numbers, got {kind}: {described(value)}")
    return array.astype(float)


def check_finite(name, array, shape):
    """`array` as finite floats whose last axes have `shape`, or a ValueError that names the first offence."""
    array = check_array(name, array)
    if array.ndim < len(shape) or array.shape[array.ndim - len(shape):] != shape:
        raise ValueError(f"{name}: expected shape (..., {', '.join(map(str, shape))}), got {array.shape}")
    if not array.size:
        raise ValueError(f"{name}: expected at least one entry, got shape {array.shape}")
    if not np.isfinite(array).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name}: expected finite numbers, but {name}{list(index)} is {array[index]}")
    return array


def check_vector(name, values):
    """`values` as a 1-D array of finite floats, at least one."""
    values = check_finite(name, values, ())
    if values.ndim != 1:
        raise ValueError(f"{name}: expected one axis of numbers, got shape {values.shape}")
    return values


def check_non_negatives(name, values, shape=()):
    """`values` as finite floats >= 0 whose last axes have `shape`."""
    values = check_finite(name, values, shape)
    if (values < 0.0).any():
        index = tuple(int(i) for i in np.argwhere(values < 0.0)[0])
        raise ValueError(f"{name}: expected numbers >= 0, but {name}{list(index)} is {values[index]:.6g}")
    return values


def check_leading(name, lead, others, whose):
    """Whether leading axes broadcast with those of something else; returns both together."""
    try:
        return np.broadcast_shapes(lead, others) if lead and others else lead or others
    except ValueError:
        raise ValueError(f"{name}: expected leading axes that broadcast with {others}, those of {whose}, got {lead}") from None


def check_lead(lead):
    """`lead`, the sizes of leading axes, as a tuple of whole numbers >= 1, () where there are none; or a ValueError."""
    if not isinstance(lead, (tuple, list)):
        raise ValueError(f"lead: expected a tuple of sizes, got {described(lead)}")
    return tuple(check_count("lead", size) for size in lead)


def check_distributions(name, array):
    """Raise a ValueError that names the first row (last axis) of `array` that is no distribution."""
    if not array.size:
        raise ValueError(f"{name}: expected at least one distribution, got shape {array.shape} without an entry")
    error = array.sum(axis=-1) - 1.0
    # Negated comparisons, so that a NaN counts as an offence; the rows' own lowest entries only where there is one.
    if array.min() >= 0.0 and (np.abs(error) <= ROW_SUM_TOLERANCE).all():
        return
    bad = ~((array.min(axis=-1) >= 0.0) & (np.abs(error) <= ROW_SUM_TOLERANCE))
    index = tuple(int(i) for i in np.argwhere(bad)[0])
    raise _no_distribution(name, index, array[index])


def _no_distribution(name, index, row):
    if not np.isfinite(row).all():
        entry = int(np.argmin(np.isfinite(row)))
        found = f"{name}{[*index, entry]} is {row[entry]}"
    elif (row < 0.0).any():
        entry = int(np.argmax(row < 0.0))
        found = f"{name}{[*index, entry]} is {row[entry]:.6g}"
    else:
        found = f"{name}{list(index) if index else ''} sums to {row.sum():.12g}"
    return ValueError(f"{name}: each row must be a distribution (expected entries >= 0 that sum to 1), but {found}")


def check_sparse_distributions(name, array):
    """A ``scipy.sparse`` array (S A, S) of distributions as one of its own in CSR format, or a ValueError that names (s, a)."""
    if array.ndim != 2 or 0 in array.shape or array.shape[0] % array.shape[1]:
        raise ValueError(f"{name}: expected shape (S A, S) of an array that is sparse, row s A + a for action a in state s, got {array.shape}")
    array = array.tocsr()
    array = csr_array((check_array(name, array.data), array.indices, array.indptr), array.shape, copy=True)
    array.sum_duplicates()
    bad = ~(np.abs(array.sum(axis=1) - 1.0) <= ROW_SUM_TOLERANCE)  # a NaN is an offence
    row = np.repeat(np.arange(array.shape[0]), np.diff(array.indptr))
    bad[row[~(array.data >= 0.0)]] = True
    if bad.any():
        first = int(bad.argmax())
        index = divmod(first, array.shape[0] // array.shape[1])
        raise _no_distribution(name, index, array[[first]].toarray()[0])
    return array


def check_policy(policy, n_states, n_actions, name="policy"):
    """`policy` as a float array (..., S, A), or a ValueError that says what is wrong with it and where."""
    policy = check_array(name, policy)
    if policy.shape == (n_states,) and (policy == np.floor(policy)).all():
        raise ValueError(
            f"{name}: expected probabilities (..., {n_states}, {n_actions}), got one action a state; np.eye({n_actions})[{name}] has them"
        )
    if policy.shape[-2:] != (n_states, n_actions):
        raise ValueError(f"{name}: expected shape (..., {n_states}, {n_actions}), got {policy.shape}")
    check_distributions(name, policy)
    return policy


def check_any_policy(policy, name="policy"):
    """`policy` as a float array (..., S, A) of whatever S and A, or a ValueError."""
    policy = check_array(name, policy)
    return check_policy(policy, *policy.shape[-2:], name) if policy.ndim > 1 else check_policy(policy, "S", "A", name)


def check_one_policy(policy, n_states, n_actions, name="policy"):
    """`policy` as a float array (S, A), or a ValueError."""
    policy = check_policy(policy, n_states, n_actions, name)
    if policy.ndim != 2:
        raise ValueError(f"{name}: expected one policy ({n_states}, {n_actions}), got shape {policy.shape}")
    return policy


def check_states(name, states, n_states, expected):
    """`states` as an array of whole numbers from 0 to n_states - 1, or a ValueError."""
    array = _read(name, states)
    if array.dtype.kind not in "iu" or not ((array >= 0) & (array < n_states)).all():
        raise ValueError(f"{name}: expected {expected} got {described(states)}")
    return array


def check_whole(name, values):
    """`values` as an array of whole numbers >= 0, or a ValueError."""
    array = _read(name, values)
    if array.dtype.kind not in "iu" or array.min(initial=0) < 0:
        raise ValueError(f"{name}: expected whole numbers >= 0, got {described(values)}")
    return array


def check_terminal(terminal, n_states):
    """`terminal` (a state, a sequence of states, a mask or None) as a mask (S,), or a ValueError."""
    mask = np.zeros(n_states, dtype=bool)
    given = np.array([]) if terminal is None else _read("terminal", terminal)
    expected = f"states below {n_states} or a mask of them,"
    if given.dtype == bool:
        if given.shape != mask.shape:
            raise ValueError(f"terminal: expected {expected} got {described(terminal)}")
        mask |= given
    elif given.shape != (0,):
        mask[check_states("terminal", given, n_states, expected)] = True
    return mask


def check_lipschitz(lipschitz):
    """Two constants, of the transitions and of the rewards, as non-negative arrays that broadcast with what they bound."""
    if not (isinstance(lipschitz, (tuple, list, np.ndarray)) and len(lipschitz) == 2):
        raise ValueError(f"lipschitz: expected a pair (L_P, L_r), got {described(lipschitz)}")
    return tuple(check_non_negatives("lipschitz", constant) for constant in lipschitz)


# Numbers


def check_number(name, value, expected, good):
    """`value` where it is a finite number that is `good`, or a ValueError that says what was `expected`."""
    if isinstance(value, np.ndarray) and value.ndim == 0 and type(value) is np.ndarray:
        value = value[()]
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not (is_number and abs(value) <= sys.float_info.max and good(value)):  # a NaN fails
        raise ValueError(f"{name}: expected {expected}, got {described(value)}")
    return value


def check_gamma(gamma, name="gamma"):
    """`gamma` as a float in [0, 1), or a ValueError."""
    return float(check_number(name, gamma, "a discount in [0, 1)", lambda x: 0.0 <= x < 1.0))


def check_discount(name, value):
    """`value` as a float in [0, 1], 1 where sums of finitely many steps are meant."""
    return float(check_number(name, value, "a discount in [0, 1]", lambda x: 0.0 <= x <= 1.0))


def check_share(name, value):
    return float(check_number(name, value, "a probability in [0, 1]", lambda x: 0.0 <= x <= 1.0))


def check_level(name, value):
    return float(check_number(name, value, "a level in (0, 1)", lambda x: 0.0 < x < 1.0))


def check_real(name, value):
    return float(check_number(name, value, "a finite number", lambda x: True))


def check_positive(name, value):
    return _limited(name, float(check_number(name, value, "a finite number > 0", lambda x: x > 0)))


def check_non_negative(name, value):
    return _limited(name, float(check_number(name, value, "a finite number >= 0", lambda x: x >= 0)))


def check_count(name, value, least=1):
    return _limited(name, int(check_number(name, value, f"a whole number >= {least}", lambda n: n >= least and n == int(n))))


def _limited(name, value):
    if value > MOST:
        raise ValueError(f"{name}: expected at most {MOST:,}, got {value:.6g}")
    return value


def check_size(name, entries, what):
    """Whether so many numbers are to be kept at once that no memory holds them."""
    if entries > MOST:
        raise ValueError(f"{name}: expected at most {MOST:,} {what}, got {entries:,}")


# Random numbers


def check_seed(name, seed):
    """`seed` as a whole number >= 0, of any size."""
    return int(check_number(name, seed, "a whole number >= 0", lambda n: n >= 0 and isinstance(n, (int, np.integer))))


def check_generator(name, rng):
    return check_instance(name, rng, np.random.Generator, "a numpy.random.Generator")
