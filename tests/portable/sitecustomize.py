"""On the path of `make test-portable`: PIQP, which asks the processor which of its builds to use, is told of an older one."""

import os
import sys
from types import SimpleNamespace

disabled = os.environ.get("NPY_DISABLE_CPU_FEATURES", "").split()
sys.modules["piqp.instruction_set"] = SimpleNamespace(avx512f="X86_V4" not in disabled, avx2="X86_V3" not in disabled)
