"""Run one notebook with papermill and publish its figures; what `make figures` calls, one process a notebook.

The notebook runs in a staging folder, build/<profile>/<name>/, and its figures, data and tables move to figures/ (or
build/quick/figures/ in the quick profile) only once it has run to its end. A stamp records the checksums of all that
went in and came out, so that a notebook runs again only when one of them has changed or is missing.
"""

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from pepg.files import checksum, write_whole

PROJECT = Path(__file__).resolve().parent.parent
COLOUR = re.compile("\x1b\\[[0-9;]*m")


class Notebook:
    """The places of one notebook in one profile; `root` is the project."""

    def __init__(self, name, profile, root=PROJECT):
        self.name, self.profile = name, profile
        self.source = root / "notebooks" / f"{name}.ipynb"
        self.module = root / "pepg"
        self.pins = root / "requirements.txt"
        self.build = root / "build" / profile
        self.stage = self.build / name
        self.executed = self.stage / f"{name}.ipynb"
        self.stamp = self.build / f"{name}.json"
        self.published = root / "figures" if profile == "paper" else self.build / "figures"
        self.manifest = self.published / "manifest.json"

    def inputs(self, needs):
        """A checksum of the code, the module, the pins, the data it reads and what other notebooks published for it."""
        digest = hashlib.sha256()
        for cell in json.loads(self.source.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                digest.update("".join(cell["source"]).encode() + b"\0")
        files = [*sorted(self.module.rglob("*.py")), self.pins, *sorted((self.source.parent / "data").glob("*"))]
        for other in needs:
            files += [self.published / file for file in sorted(self.entries(other))]
        for path in files:
            digest.update(path.name.encode() + (checksum(path).encode() if path.exists() else b"missing"))
        return digest.hexdigest()

    def entries(self, name):
        """The manifest's entries of one notebook."""
        manifest = json.loads(self.manifest.read_text(encoding="utf-8")) if self.manifest.exists() else {}
        return {file: entry for file, entry in manifest.items() if entry["notebook"] == name}

    def is_current(self, needs):
        if not self.stamp.exists():
            return False
        stamp = json.loads(self.stamp.read_text(encoding="utf-8"))
        return stamp["inputs"] == self.inputs(needs) and all(
            (self.published / file).exists() and checksum(self.published / file) == expected
            for file, expected in stamp["outputs"].items()
        )

    def execute(self):
        """Run the notebook in its stage; the executed copy stays there whether it ends well or not.

        Returns why it failed, or None.
        """
        import nbclient  # here, because these take a second that a notebook that is up to date need not wait for
        import papermill
        from traitlets.config import Config

        self.stamp.unlink(missing_ok=True)
        shutil.rmtree(self.stage, ignore_errors=True)
        (self.stage / "figures").mkdir(parents=True)
        os.environ["PEPG_OUTPUT"] = str(self.stage / "figures")
        os.environ["PEPG_PUBLISHED"] = str(self.published)
        try:
            with tempfile.TemporaryDirectory(prefix="pepg-") as folder:
                papermill.execute_notebook(
                    self.source,
                    self.executed,
                    parameters={} if self.profile == "paper" else {"profile": self.profile},
                    cwd=self.source.parent,
                    progress_bar=False,
                    config=Config(KernelManager=kernel_sockets(folder)),
                    extra_arguments=["--log-level=CRITICAL"],  # the kernel's notes on its shutdown are no news to a reader
                )
        except (papermill.PapermillExecutionError, nbclient.exceptions.DeadKernelError) as error:
            name, text = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
            return COLOUR.sub("", f"{name}: {text}").splitlines()[0]
        return None

    def publish(self, needs):
        """Move what the notebook saved to its public place, drop what it no longer saves, and enter all in the manifest."""
        record_file = self.stage / "figures" / f"{self.name}.record.json"
        record = json.loads(record_file.read_text(encoding="utf-8")) if record_file.exists() else {}
        self.published.mkdir(parents=True, exist_ok=True)
        for file in record:
            write_whole(self.published / file, lambda partial, f=file: shutil.copyfile(self.stage / "figures" / f, partial))
        with locked(self.build / "manifest.lock"):
            manifest = json.loads(self.manifest.read_text(encoding="utf-8")) if self.manifest.exists() else {}
            for file in [f for f, entry in manifest.items() if entry["notebook"] == self.name and f not in record]:
                (self.published / file).unlink(missing_ok=True)
                del manifest[file]
            text = json.dumps(manifest | record, indent=1, sort_keys=True) + "\n"
            write_whole(self.manifest, lambda partial: partial.write_text(text, encoding="utf-8"))
        stamp = {"inputs": self.inputs(needs), "outputs": {file: entry["sha256"] for file, entry in record.items()}}
        write_whole(self.stamp, lambda partial: partial.write_text(json.dumps(stamp, indent=1), encoding="utf-8"))

    def store(self):
        """Put the executed copy's outputs into the notebook itself, without anything that differs between two runs."""
        import nbformat

        notebook = nbformat.read(self.source, as_version=4)
        executed = [cell for cell in nbformat.read(self.executed, as_version=4).cells if cell.cell_type == "code"]
        for cell, ran in zip((cell for cell in notebook.cells if cell.cell_type == "code"), executed, strict=True):
            cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
        for cell in notebook.cells:
            cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags" and value}
        notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}
        write_whole(self.source, lambda partial: nbformat.write(notebook, partial))


def kernel_sockets(folder):
    """How a kernel is spoken to: by sockets in `folder`, since kernels started at the same moment can pick the same port."""
    return {"transport": "ipc", "ip": os.path.join(folder, f"kernel-{os.getpid()}-{time.monotonic_ns()}")}


@contextmanager
def locked(path):
    """Hold an exclusive lock while another process may want the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main(arguments=None, root=PROJECT):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a notebook, without .ipynb")
    parser.add_argument("--profile", choices=("paper", "quick"), default="paper")
    parser.add_argument("--needs", action="append", default=[], help="a notebook whose published data this one reads")
    parser.add_argument("--store", action="store_true", help="afterwards, put the outputs into notebooks/ (paper profile)")
    options = parser.parse_args(arguments)
    notebook = Notebook(options.name, options.profile, root)
    if not notebook.source.exists():
        known = ", ".join(sorted(path.stem for path in notebook.source.parent.glob("*.ipynb")))
        sys.exit(f"no notebook {options.name}; there are {known}")
    if options.store and options.profile != "paper":
        sys.exit("only the paper profile's outputs are stored in the notebooks")
    with locked(notebook.build / f"{options.name}.lock"):  # two runs of one notebook would share its stage
        return _run(notebook, options)


def _run(notebook, options):
    if notebook.is_current(options.needs) and (notebook.executed.exists() or not options.store):
        print(f"  {options.name:<28} up to date", flush=True)
    else:
        start = time.perf_counter()
        try:
            reason = notebook.execute()
        except KeyboardInterrupt:
            print(f"  {options.name:<28} interrupted", file=sys.stderr, flush=True)
            return 130
        if reason is not None:
            print(f"  {options.name:<28} FAILED: {reason}", file=sys.stderr)
            print(f"  its executed copy: {os.path.relpath(notebook.executed)}", file=sys.stderr, flush=True)
            return 1
        notebook.publish(options.needs)
        print(f"  {options.name:<28} {time.perf_counter() - start:6.1f} s", flush=True)
    if options.store:
        notebook.store()
    return 0


if __name__ == "__main__":
    sys.exit(main())
