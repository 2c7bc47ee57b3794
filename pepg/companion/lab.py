"""What `make lab` tells JupyterLab: a notebook that has only been looked at is saved as it was."""


def as_stored(model, **_):
    """Drop from a notebook that is about to be saved what JupyterLab adds to its metadata and `make store` does not keep.

    model : what a contents manager saves, changed in place. The kernel's version stands in it, so that autosave would change every
    notebook that was opened under another one.
    """
    if model["type"] == "notebook" and model["content"]["nbformat"] == 4:
        metadata = model["content"]["metadata"]
        metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
        metadata["language_info"] = {"name": "python"}
