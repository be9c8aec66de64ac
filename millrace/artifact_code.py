"""Is the code that came with a model run?

A dataset's text is if it is that of the file in ``datasets/``, or on record in the table ``definitions``; all else,
``code_paths`` always, by its sha256 in ``MILLRACE_TRUST``.
"""

from __future__ import annotations

import atexit
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

from millrace.errors import MillraceError


def add_code(folder: Path, trust: Collection[str]) -> None:
    """Put the code that came with a model on the path, from a folder of its own that holds what is trusted and nothing else.

    Bytecode in a ``__pycache__`` is left out: Python would run it in place of the source beside it.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    files = [(path.relative_to(folder), path.read_bytes()) for path in paths]
    parts = [part for path, content in files for part in (path.as_posix().encode(), content)]
    check_trusted(folder, b"".join(len(part).to_bytes(8, "big") + part for part in parts), trust)
    copy = Path(tempfile.mkdtemp(prefix="millrace-code-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    for path, content in files:
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_bytes(content)
    sys.path.insert(0, str(copy))


def within(folder: Path, name: str) -> Path:
    """Return the path of an artifact's file, which is in its folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.exists():
        raise MillraceError(f"the artifact {folder} names {name!r}, which is not in its folder, and is not loaded")
    return path


def known(name: str, text: str) -> bool:
    """Tell whether a text is that of the dataset's file here, or was."""
    from millrace import catalog, models
    from millrace.settings import settings

    file = settings().datasets / f"{name}.py"
    running = [dataset.text for dataset in catalog.loaded() if dataset.name == name]
    return text in running or (file.is_file() and file.read_text(encoding="utf-8") == text) or models.on_record(name, text)


def check_trusted(path: Path, content: bytes, trust: Collection[str]) -> None:
    """Refuse code whose sha256 nobody has trusted."""
    from millrace.settings import settings

    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 not in trust and sha256 not in settings().trusted:
        raise MillraceError(
            f"{path} is code that came with the model, and is neither that of a dataset here nor on record: it is not run; where "
            f"you have read it, set MILLRACE_TRUST={sha256}"
        )
