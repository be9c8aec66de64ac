"""Which of River's supervised estimators are exact, and is this what ``docs/exact.md`` says?

They learn the same examples in two processes: in one without interruption; in the other under another hash seed, in another
order of models and questions, with pickles on the way. ``python -m tests.conformance.test_estimators --write`` writes the
tables of the page.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import estimators, inexact_models

CHECKOUT = Path(__file__).parent.parent.parent
PAGE = CHECKOUT / "docs" / "exact.md"
COMMAND = "python -m tests.conformance.test_estimators --write"
NAMES = [*estimators.walk(), *inexact_models.MODELS]

Pair = tuple[dict[str, Any], dict[str, Any]]
"""What the one process found of a model, and the other."""
Pairs = dict[str, dict[str, list[Pair]]]


def fold_twice() -> tuple[dict[str, str], Pairs]:
    """Fold all in two processes; give what was said of them without a seed, and what each found, by name and input."""
    code = (
        "import json, sys; from tests.conformance import estimators; print(json.dumps(estimators.folds(sys.argv[1] == 'parts')))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, how],
            cwd=CHECKOUT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for how, seed in (("whole", "1"), ("parts", "2"))
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    whole, parts = (json.loads(output) for output in outputs)
    said = {name: whole[name].pop("seed") for name in NAMES}
    assert said == {name: parts[name].pop("seed") for name in NAMES}
    return said, {
        name: {words: list(zip(whole[name][words], parts[name][words], strict=True)) for words in whole[name]} for name in NAMES
    }


def verdict(pair: Pair) -> str:
    whole, parts = pair
    if "raises" in whole and "raises" in parts:
        return "–"
    if whole != parts:
        return "**not exact**"
    return "exact, encoded" if whole["encoded"] else "exact"


def tables(said: dict[str, str], pairs: Pairs) -> str:
    """The tables of the page."""
    lines = ["| Estimator | Seed | Numbers | Numbers and words |", "|---|---|---|---|"]
    for name in estimators.walk():
        cells = [" or ".join(sorted(set(map(verdict, found)))) for found in pairs[name].values()]
        if not pairs[name]["numbers"]:
            cells = ["needs " + re.findall(r"requires (.*) or later", said[name])[0]] * 2
        lines.append(f"| `{name}` | {seed(said[name])} | {' | '.join(cells)} |")
    lines += ["", "| Found in a model | What Millrace says |", "|---|---|"]
    for name in inexact_models.MODELS:
        [(whole, _)] = pairs[name]["numbers and words"]
        lines += [f"| {name} | `{whole['doubts'][0]}` |"]
    return "\n".join(lines)


def seed(said: str) -> str:
    """Say whether a seed is missed, and of which parameter, by the path that the refusal names."""
    path = re.findall(r"generator in (?:model|pipeline\['\w+'\])\.(\S+); give", said)
    inner = re.findall(r"^(policy|anomaly_detector)\.", path[0]) if path else []
    return f"of `{inner[0]}`" if inner else "yes" if path else ""


@pytest.fixture(scope="module")
def found() -> tuple[dict[str, str], Pairs]:
    return fold_twice()


def test_the_page_says_what_is_exact(found: tuple[dict[str, str], Pairs]) -> None:
    assert tables(*found) in PAGE.read_text(), f"docs/exact.md says otherwise: {COMMAND}"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_exact_is_doubted_and_nothing_else_is(name: str, found: tuple[dict[str, str], Pairs]) -> None:
    for words, pairs in found[1][name].items():
        for whole, parts in pairs:
            if "raises" in whole:
                assert "raises" in parts, (words, whole, parts)
                assert "MillraceError" not in whole["raises"], "refused, and for no seed"
            else:
                assert (whole["found"] == parts["found"]) is not bool(whole["doubts"]), (words, whole["doubts"])
                assert whole["found"][-1] == "True: x is as it was"


def test_what_is_known_to_be_inexact_is_found_so(found: tuple[dict[str, str], Pairs]) -> None:
    for name in inexact_models.MODELS:
        [pair] = found[1][name]["numbers and words"]
        assert verdict(pair) == "**not exact**", name


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"usage: {COMMAND}")
    text = re.sub(
        r"(?<=<!-- tables -->\n).*(?=\n<!-- end -->)",
        lambda _: tables(*fold_twice()),
        PAGE.read_text(),
        flags=re.DOTALL,
    )
    PAGE.write_text(text)
