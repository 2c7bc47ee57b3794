"""For nbval: notebooks run side by side, each kernel with sockets of its own."""

import tempfile

import nbval.kernel

from pepg.companion.notebooks import kernel_sockets

_folder = tempfile.TemporaryDirectory(prefix="pepg-")
_KernelManager = nbval.kernel.KernelManager


def _manager(**settings):
    return _KernelManager(**kernel_sockets(_folder.name), **settings)


nbval.kernel.KernelManager = _manager
