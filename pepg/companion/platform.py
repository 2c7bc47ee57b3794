"""What decides how the last digit of a float is rounded: the versions that compute, and the processor's features that they use."""

import platform
from functools import cache
from importlib.metadata import version
from sys import modules

import numpy as np
import piqp  # noqa: F401  its builds, one for each set of a processor's features, are modules of which it imports one
import scipy.linalg  # noqa: F401  loads its BLAS
from threadpoolctl import threadpool_info

COMPUTE = ("numpy", "scipy", "piqp", "autograd", "matplotlib")


@cache
def fingerprint():
    """One line: where it is equal on two machines, the same program is expected to give the same bytes on both."""
    simd = np.show_config(mode="dicts")["SIMD Extensions"]
    libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]
    blas = sorted({f"{library['internal_api']} {library['version']} {library.get('architecture')}" for library in libraries})
    solver = sorted(name.removeprefix("piqp.") for name in modules if name.startswith("piqp.piqp"))
    return "; ".join(
        [
            f"{platform.system()} {platform.machine()} {' '.join(platform.libc_ver())}",
            f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in COMPUTE),
            " ".join([*simd["baseline"], *simd.get("found", [])]),
            *blas,
            *solver,
        ]
    )
