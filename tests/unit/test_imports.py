"""Do imports point one way, and stay the heavy libraries out of what must be light?"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.shop import Shop

ALLOWED = {
    "flows": {"flows", "tasks", "prefect"},
    "tasks": {"tasks", "millrace", "prefect", "rich"},
    "datasets": {"millrace", "polars", "river", "sklearn"},
}
HEAVY = {"river", "mlflow", "great_expectations", "pandas", "sklearn", "scipy", "matplotlib"}
"""What a module of ``millrace`` imports inside the functions that use it, but for those that are only imported to learn."""
LEARNING = {"exact", "substitutes", "substitute_draws", "substitute_trees", "substitute_leaves"}
LEARNING |= {"substitute_arguments", "prior", "batch", "provisional"}


def imports(path: Path, top_only: bool = False) -> Iterator[str]:
    """Yield the top-level packages that a file imports."""
    tree = ast.parse(path.read_text())
    nodes = _without_type_checking(tree) if top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


def _without_type_checking(tree: ast.Module) -> Iterator[ast.AST]:
    yield from (node for node in tree.body if not isinstance(node, ast.If))


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_folder_imports_what_it_may(folder: str) -> None:
    for path in sorted((CHECKOUT / folder).glob("*.py")):
        foreign = {name for name in imports(path) if name not in sys.stdlib_module_names} - ALLOWED[folder]
        assert not foreign, f"{path} imports {foreign}"


def test_the_machinery_knows_neither_prefect_nor_flows() -> None:
    for path in sorted((CHECKOUT / "millrace").glob("*.py")):
        assert not {"prefect", "flows", "tasks", "tests", "datasets"} & set(imports(path)), path


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    for path in sorted((CHECKOUT / "millrace").glob("*.py")):
        if path.stem not in LEARNING:
            assert not HEAVY & set(imports(path, top_only=True)), path


def test_no_file_is_named_after_a_package() -> None:
    for folder in ("flows", "tasks"):
        names = {path.stem for path in (CHECKOUT / folder).glob("*.py")}
        assert not names & (HEAVY | {"prefect", "polars", "deltalake", "click", "rich"})


@pytest.mark.parametrize("command", [["datasets"], ["status"], ["status", "shop"], ["run", "shop"]])
def test_listing_status_and_an_idle_tick_load_nothing_heavy(shop: Shop, command: list[str]) -> None:
    shop.arrive("""
        event  a  10:00
        label  a  11:00  true
    """)
    shop.tick()
    code = (
        "import sys; sys.argv[1:] = sys.argv[1].split()\n"
        "from millrace.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "heavy = [n for n in ('mlflow', 'great_expectations', 'river.linear_model', 'scipy', 'pandas') if n in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code, " ".join(command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_stage_is_a_function_of_the_package_however_its_module_was_imported() -> None:
    code = """
import millrace, millrace.run
from millrace.status import status
assert callable(millrace.run) and millrace.status is status
"""
    subprocess.run([sys.executable, "-c", code], check=True)
