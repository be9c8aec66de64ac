"""Is what the documents say true? The README's example is run, and every command, setting and link in it is there."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from millrace import cli
from millrace.clock import parse_moment
from millrace.feed import feed
from millrace.run import run
from millrace.settings import Settings
from millrace.status import status
from tests.conftest import CHECKOUT

README = (CHECKOUT / "README.md").read_text()
DOCUMENTS = [CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCUMENTS += sorted((CHECKOUT / "docs").glob("*.md"))
TARGETS = set(re.findall(r"^([a-z]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))


def files(text: str) -> dict[str, str]:
    """Return the files that a document shows: a path alone on a line, and a block below it."""
    return dict(re.findall(r"^`([^`\n]+)`\n\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def sessions(text: str) -> list[tuple[str, str]]:
    """Return the commands that a document shows together with what they answer."""
    return re.findall(r"^```console\n\$ ([^\n]+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def code(text: str) -> list[str]:
    """Return what a document sets as code: the lines of its blocks, and what stands between backticks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", prose)


def asked(text: str, program: str) -> set[str]:
    """Return the commands of a program that a document mentions."""
    found = (re.match(rf"(?:\$ )?{program} ([a-z]+)\b", line) for line in code(text))
    return {match[1] for match in found if match}


def lines(text: str) -> list[str]:
    """Return the lines that say something, without the spaces that only fill a terminal; a digest is the environment's."""
    return [re.sub(r"\b[0-9a-f]{8}$", "(digest)", line.rstrip()) for line in text.splitlines() if line.strip()]


@pytest.fixture
def example(place: Path, mlflow_store: Path) -> Path:
    """The README's example, as a reader would put it down: the dataset's file, then the files that arrive."""
    (place / "mlruns").mkdir()
    shutil.copy(mlflow_store, place / "mlruns" / "mlflow.db")
    for name, text in files(README).items():
        if name.startswith(("datasets/", "landing/")):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)
    return place


def test_the_example_answers_what_the_readme_says(example: Path) -> None:
    shown = sessions(README)
    assert [command for command, _ in shown] == ["millrace run orders", "millrace status orders"]
    for command, answer in shown:
        done = CliRunner().invoke(cli.millrace, shlex.split(command)[1:], catch_exceptions=False)
        assert done.exit_code == 0
        assert lines(done.output) == lines(answer)
    assert (example / "landing" / "orders" / "done").is_dir()

    found = status("orders")
    assert (found.events, found.labels, found.quarantined, found.examples, found.events_waiting) == (3, 2, 1, 2, 1)
    assert {name: model.seq for name, model in found.models.items()} == {"prior": 2, "logistic": 2}
    assert found.problems == []

    for name, text in files(README).items():
        if name.startswith("outbox/"):
            assert _served((example / name).read_text()) == _served(text)


def _served(text: str) -> list[dict[str, Any]]:
    """Read predictions; the moment at which they were made is another each time, but always told."""
    rows: list[dict[str, Any]] = [orjson.loads(line) for line in text.splitlines()]
    assert rows and all(row.pop("at") for row in rows)
    return rows


def test_a_model_added_to_the_example_learns_the_whole_log(example: Path) -> None:
    runner = CliRunner()
    runner.invoke(cli.millrace, ["run", "orders"], catch_exceptions=False)
    path, added = example / "datasets" / "orders.py", "def other():\n    return linear_model.LogisticRegression()\n\n\ndataset = "
    path.write_text(path.read_text().replace('models={"logistic": logistic}', 'models={"logistic": logistic, "other": other}'))
    path.write_text(path.read_text().replace("dataset = ", added))
    assert runner.invoke(cli.millrace, ["run", "orders"], catch_exceptions=False).exit_code == 0
    assert status("orders").models["other"].seq == 2


def test_the_champion_answers_as_the_readme_asks_it(bundled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    feed("flights", parse_moment("2013-01-01"), parse_moment("2013-01-01T14:00Z"))
    assert run("flights").problems == []
    [snippet] = [
        block for block in re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL) if "load_model" in block
    ]
    exec(compile(snippet, "README.md", "exec"), {})
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["prediction", "proba_False", "proba_True"]
    assert sum(map(float, row.split()[2:])) == pytest.approx(1)


def test_every_command_is_in_the_readme() -> None:
    assert asked(README, "millrace") == set(cli.millrace.commands)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_a_document_names_is_there(path: Path) -> None:
    text = path.read_text()
    assert asked(text, "millrace") <= set(cli.millrace.commands)
    assert asked(text, "make") <= TARGETS


def test_every_option_in_the_readme_is_there() -> None:
    """In the table of commands, those of the command whose row it is."""
    rows = re.findall(r"^\| `millrace (\w+)[^`]*` \| (.*) \|$", README, re.MULTILINE)
    assert {name for name, _ in rows} == set(cli.millrace.commands)
    for name, text in rows:
        known = {option for parameter in cli.millrace.commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", text)) <= known, name


def test_every_setting_is_in_the_readme_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `MILLRACE_(\w+)` \| `?([^`|]+?)`? \|", README, re.MULTILINE))
    assert rows == {name.upper(): str(value) or "none" for name, value in vars(Settings()).items()}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_and_picture_is_there_and_small(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if not link.startswith(("http://", "https://", "#")):
            target = path.parent / link.partition("#")[0]
            assert target.exists(), link
            assert target.suffix != ".png" or target.stat().st_size < 200_000, link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_document_says_a_thing_twice(document: Path) -> None:
    prose = re.sub(r"^```\w*\n.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    sentences = re.split(r"(?<=\.) ", " ".join(prose.split()))
    assert [one for one in sentences if len(one) > 60 and sentences.count(one) > 1] == []
