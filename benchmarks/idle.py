"""Does an idle `millrace run` load a library that learns? It is run as a process of its own, and fails if it does."""

from __future__ import annotations

import contextlib
import io
import sys

from millrace.cli import main

if __name__ == "__main__":
    sys.argv = ["millrace", "run", "flights"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main()
    assert said.getvalue() == "flights: nothing new\n", said.getvalue()
    heavy = {"river", "mlflow", "great_expectations"} & set(sys.modules)
    assert not heavy, heavy
