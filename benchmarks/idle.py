"""Does an idle tick load a library that learns? It is run as a process of its own, and fails if it does."""

from __future__ import annotations

import sys

from millrace.run import run

if __name__ == "__main__":
    assert str(run("flights")) == "nothing new"
    heavy = [name for name in ("river.linear_model", "mlflow", "great_expectations") if name in sys.modules]
    assert not heavy, heavy
