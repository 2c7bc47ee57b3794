"""The checks of arguments: each returns what it was given, as floats where it is an array, or raises a ValueError that names
the argument, the first offence and what was expected.
"""

import numpy as np

ROW_SUM_TOLERANCE = 1e-8


def check_distributions(name, array):
    """Raise a ValueError that names the first row (last axis) of `array` that is no distribution."""
    lowest = array.min(axis=-1)
    error = array.sum(axis=-1) - 1.0
    # Negated comparisons, so that a NaN counts as an offence.
    bad = ~((lowest >= 0.0) & (np.abs(error) <= ROW_SUM_TOLERANCE))
    if not bad.any():
        return
    index = tuple(int(i) for i in np.argwhere(bad)[0])
    row = array[index]
    if not np.isfinite(row).all():
        entry = int(np.argmin(np.isfinite(row)))
        found = f"{name}{[*index, entry]} is {row[entry]}"
    elif (row < 0.0).any():
        entry = int(np.argmax(row < 0.0))
        found = f"{name}{[*index, entry]} is {row[entry]:.6g}"
    else:
        found = f"{name}{list(index)} sums to {row.sum():.12g}"
    raise ValueError(f"{name}: each row must be a distribution (entries >= 0 that sum to 1), but {found}")


def check_policy(policy, n_states, n_actions):
    """`policy` as a float array (..., S, A), or a ValueError that says what is wrong with it and where."""
    policy = np.asarray(policy, dtype=float)
    if policy.shape[-2:] != (n_states, n_actions):
        raise ValueError(f"policy: expected shape (..., {n_states}, {n_actions}), got {policy.shape}")
    check_distributions("policy", policy)
    return policy


def check_gamma(gamma):
    """`gamma` as a float in [0, 1), or a ValueError."""
    if not (np.isscalar(gamma) or np.ndim(gamma) == 0) or not 0.0 <= float(gamma) < 1.0:
        raise ValueError(f"gamma: expected a discount in [0, 1), got {gamma}")
    return float(gamma)


def check_finite(name, array, shape):
    """`array` as finite floats whose last axes have `shape`, or a ValueError that names the first offence."""
    array = np.asarray(array, dtype=float)
    if array.shape[array.ndim - len(shape):] != shape:
        raise ValueError(f"{name}: expected shape (..., {', '.join(map(str, shape))}), got {array.shape}")
    if not np.isfinite(array).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name}: expected finite numbers, but {name}{list(index)} is {array[index]}")
    return array


def check_terminal(terminal, n_states):
    """`terminal` (a state, a sequence of states, a mask or None) as a mask (S,), or a ValueError."""
    mask = np.zeros(n_states, dtype=bool)
    if terminal is not None:
        try:
            mask[np.asarray(terminal)] = True
        except IndexError as error:
            raise ValueError(f"terminal: expected states below {n_states} or a mask of them: {error}") from None
    return mask


def check_number(name, value, expected, good):
    """`value` where it is a finite number that is `good`, or a ValueError that says what was `expected`."""
    is_number = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iuf"
    if not (is_number and np.isfinite(value) and good(value)):
        raise ValueError(f"{name}: expected {expected}, got {value}")
    return value


def check_positive(name, value):
    return float(check_number(name, value, "a finite number > 0", lambda x: x > 0))


def check_non_negative(name, value):
    return float(check_number(name, value, "a finite number >= 0", lambda x: x >= 0))


def check_count(name, value, least=1):
    return int(check_number(name, value, f"a whole number >= {least}", lambda n: n >= least and n == int(n)))
