"""One notebook: run with papermill in a process of its own, its figures published once it has run to its end.

It runs in a staging folder, build/<profile>/<name>/, and its figures, data, tables and claims move to figures/ (or build/<profile>/figures/
in another than the paper profile; own/ in it for a reader's own notebooks) only then: all are first copied beside their places, then
renamed, the manifest last. A journal says what is to be renamed, so that where a process is killed in between the next one ends what it
began. A stamp records the checksums of all that went in and came out, so that a notebook runs again only when one of them has changed or is
missing.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from contextlib import contextmanager

from ..experiments.files import checksum, sweep_up, write_whole
from .output import OWN, PROJECT

COLOUR = re.compile("\x1b\\[[0-9;]*m")
READS = re.compile(r"read_published\(\s*[\"']([^\"']+)[\"']")
MOST_LINES = 12  # of an exception's message


class Notebook:
    """The places of one notebook in one profile; `root` is the project."""

    def __init__(self, name, profile, root=PROJECT):
        self.name, self.profile, self.root = name, profile, root
        self.source = root / "notebooks" / f"{name}.ipynb"
        self.module = root / "pepg"
        self.pins = root / "requirements.txt"
        self.build = root / "build" / profile
        self.stage = self.build / name
        self.executed = self.stage / f"{name}.ipynb"
        self.stamp = self.build / f"{name}.json"
        self.journal = self.build / f"{name}.publishing.json"
        self.figures = root / "figures" if profile == "paper" else self.build / "figures"
        self.published = self.figures if is_companions(name) else self.figures / OWN
        self.manifest = self.published / "manifest.json"

    def code(self):
        """The sources of its code cells."""
        cells = json.loads(self.source.read_text(encoding="utf-8"))["cells"]
        return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]

    def needs(self):
        """The notebooks whose published data this one reads, as its calls of ``read_published`` name them."""
        read = [name for source in self.code() for name in READS.findall(source)]
        others = [path.stem for path in self.source.parent.glob("*.ipynb") if path.stem != self.name]
        return sorted({max((o for o in others if name.startswith(f"{o}_")), key=len, default=None) for name in read} - {None})

    def inputs(self):
        """A checksum of the code, the module, the pins, the data it reads and what other notebooks published for it."""
        digest = hashlib.sha256()
        for source in self.code():
            digest.update(source.encode() + b"\0")
        beside = [path for folder in ("data", "support") for path in sorted((self.source.parent / folder).glob("*.*"))]
        files = [*sorted(self.module.rglob("*.py")), self.pins, *beside]
        for other in self.needs():
            files += [self.place(other).published / file for file in self.place(other).files()]
        for path in files:
            digest.update(path.name.encode() + (checksum(path).encode() if path.exists() else b"missing"))
        return digest.hexdigest()

    def place(self, other):
        """Another notebook of the same project and profile."""
        return Notebook(other, self.profile, self.root)

    def files(self):
        """What it has published, as the manifest says."""
        manifest = read_json(self.manifest)
        return [file for file in sorted(manifest) if manifest[file]["notebook"] == self.name]

    def is_current(self):
        stamp = read_json(self.stamp)
        return bool(stamp) and stamp["inputs"] == self.inputs() and all(
            (self.published / file).exists() and checksum(self.published / file) == expected
            for file, expected in stamp["outputs"].items()
        )

    def execute(self, tell):
        """Run the notebook in its stage; the executed copy stays there whether it ends well or not.

        ``tell(cell, of)`` is called as each cell starts. Returns why it failed, or None.
        """
        import nbclient  # here, because these take a second that a notebook that is up to date need not wait for
        import papermill
        from papermill.engines import NBClientEngine, papermill_engines
        from traitlets.config import Config

        class Engine(NBClientEngine):
            @classmethod
            def execute_managed_notebook(cls, nb_man, kernel_name, **options):
                start, total = nb_man.cell_start, len(nb_man.nb.cells)

                def cell_start(cell, cell_index=None, **more):
                    tell(cell_index + 1, total)
                    return start(cell, cell_index, **more)

                nb_man.cell_start = cell_start
                return super().execute_managed_notebook(nb_man, kernel_name, **options)

        papermill_engines.register("telling", Engine)
        self.stamp.unlink(missing_ok=True)
        shutil.rmtree(self.stage, ignore_errors=True)
        (self.stage / "figures").mkdir(parents=True)
        os.environ["PEPG_OUTPUT"] = str(self.stage / "figures")
        os.environ["PEPG_PUBLISHED"] = str(self.figures)
        try:
            with tempfile.TemporaryDirectory(prefix=f"pepg-{os.getpid()}-") as folder:
                papermill.execute_notebook(
                    self.source,
                    self.executed,
                    parameters={} if self.profile == "paper" else {"profile": self.profile},
                    cwd=self.source.parent,
                    engine_name="telling",
                    progress_bar=False,
                    config=Config(KernelManager=kernel_sockets(folder)),
                    extra_arguments=["--log-level=CRITICAL"],  # the kernel's notes on its shutdown are no news to a reader
                )
        except papermill.PapermillExecutionError as error:
            return _cause(error)
        except nbclient.exceptions.DeadKernelError as error:
            return f"{type(error).__name__}: {error}"
        return None

    def warnings(self):
        """What the executed copy wrote to its stderr, each text once."""
        cells = read_json(self.executed).get("cells", [])
        outputs = [output for cell in cells for output in cell.get("outputs", []) if output.get("name") == "stderr"]
        return list(dict.fromkeys(COLOUR.sub("", "".join(output["text"])).strip() for output in outputs))

    def publish(self):
        """Move what the notebook saved to its public place, drop what it no longer saves, and enter all in the manifest.

        Raises OSError that names the file where a disk is full; what was published is then as it was.
        """
        saved = self.stage / "figures"
        record = read_json(saved / f"{self.name}.record.json")
        with locked(self.build / "manifest.lock"):
            self.end_publishing()
            changed = [file for file, entry in record.items() if not self._holds(file, entry)]
            try:
                for file in changed:
                    write_whole(self._waiting(file), lambda partial, f=file: shutil.copyfile(saved / f, partial))
                write_json(self.journal, {"record": record, "changed": changed})
            except OSError:
                for file in changed:
                    self._waiting(file).unlink(missing_ok=True)
                raise
            self.end_publishing()
        write_json(self.stamp, {"inputs": self.inputs(), "outputs": {file: entry["sha256"] for file, entry in record.items()}})

    def end_publishing(self):
        """Rename what the journal says, and write the manifest; nothing where there is no journal. The manifest's lock is held."""
        journal = read_json(self.journal)
        if not journal:
            return
        record = journal["record"]
        for file in journal["changed"]:
            if self._waiting(file).exists():  # else a process that was killed had come so far
                os.replace(self._waiting(file), self.published / file)
        manifest = read_json(self.manifest)
        for file in [f for f, entry in manifest.items() if entry["notebook"] == self.name and f not in record]:
            (self.published / file).unlink(missing_ok=True)
            del manifest[file]
        write_json(self.manifest, manifest | record)
        self.journal.unlink()

    def _holds(self, file, entry):
        path = self.published / file
        return path.exists() and checksum(path) == entry["sha256"]

    def _waiting(self, file):
        return self.published / f".waiting-{file}"

    def forget(self):
        """Take back what it published, with its entries in the manifest, its stage and its stamp; the files that went."""
        with locked(self.build / "manifest.lock"):
            manifest, gone = read_json(self.manifest), self.files()
            for file in gone:
                (self.published / file).unlink(missing_ok=True)
                del manifest[file]
            if gone:
                write_json(self.manifest, manifest)
        shutil.rmtree(self.stage, ignore_errors=True)
        for left in (self.stamp, self.build / f"{self.name}.lock"):
            left.unlink(missing_ok=True)
        return gone

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


def is_companions(name):
    """Whether a notebook is the companion's: their names start with a digit, a reader's own do not."""
    return name[:1].isdigit()


def companions_and_own(profile, root=PROJECT):
    """A notebook of each kind, for the two folders, each with a manifest, that notebooks publish into."""
    return Notebook("0", profile, root), Notebook(OWN, profile, root)


def run(notebook, store=False, tell=lambda cell, of: None):
    """Execute and publish; True and the warnings, or False and why it failed. Two runs of one notebook wait for each other."""
    with locked(notebook.build / f"{notebook.name}.lock"):  # they would share its stage
        if notebook.is_current() and (notebook.executed.exists() or not store):
            if store:
                notebook.store()
            return True, []  # another build has run it meanwhile
        try:
            reason = notebook.execute(tell)
            if reason is not None:
                return False, reason
            notebook.publish()
            if store:
                notebook.store()
        except OSError as error:  # a full disk, a folder without permission: no fault of the notebook
            return False, f"{error.strerror or error}: {error.filename}"
        return True, notebook.warnings()


def tidy(profile, root=PROJECT):
    """Begin: end what a process that was killed was publishing, and clear what dead processes left.

    Raises OSError where the project cannot be written to.
    """
    places = companions_and_own(profile, root)
    build = places[0].build
    with locked(build / "manifest.lock"):
        for journal in sorted(build.glob("*.publishing.json")):
            Notebook(journal.name.removesuffix(".publishing.json"), profile, root).end_publishing()
        for path in [path for place in places for path in place.published.glob(".waiting-*")]:
            path.unlink()
    for folder in (*(place.published for place in places), build, root / "notebooks", *(root / "build").glob("sweeps/*")):
        sweep_up(folder)
    sweep_up(tempfile.gettempdir(), "pepg-{}-*")
    for folder in {tempfile.gettempdir(), "/dev/shm"}:
        sweep_up(folder, "joblib_memmapping_folder_{}_*")
        sweep_up(folder, "sem.loky-{}-*")


def _cause(error):
    """Where and why a notebook failed: the cell, its line, and the exception's message, cut after some lines."""
    message = COLOUR.sub("", f"{error.ename}: {error.evalue}").splitlines()
    message = message[:MOST_LINES] + ["..."] * (len(message) > MOST_LINES)
    source = error.source.splitlines()
    # The traceback's first arrow points into the cell, the others into what the cell called.
    arrow = re.search(r"^-+> (\d+) ", COLOUR.sub("", "\n".join(error.traceback)), re.M)
    line = int(arrow[1]) - 1 if arrow else 0
    failing = f": {source[line].strip()}" if line < len(source) else ""
    return "\n".join([f"cell {error.cell_index + 1}{failing}", *message])


def read_json(path):
    """What a JSON file holds, {} where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write_json(path, content):
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))


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
