"""What may a pickle name, before it is loaded? Each attack is tried, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import copy
import importlib
import inspect
import io
import operator
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from river import anomaly, compose, feature_extraction, linear_model, naive_bayes, preprocessing, stats, stream

from millrace import catalog, foreign, pickles, state
from millrace.errors import MillraceError
from millrace.pickles import Refused, loads
from tests.conformance import estimators, globals
from tests.shop import Shop

FORBIDDEN = {
    *("builtins", "os", "posix", "nt", "sys", "subprocess", "importlib", "pickle", "shutil", "inspect", "types", "ctypes", "io"),
    *("runpy", "pty", "socket", "code", "pathlib", "tempfile", "marshal", "threading", "multiprocessing", "joblib", "pydoc"),
}
"""Modules that hand out attributes, run text, or open something."""
HARMLESS = {"bool", "dict", "float", "int", "iter", "range", "set", "slice", "str", "tuple"}


class Attack:
    """What pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def mark(place: Path) -> Attack:
    return Attack(os.system, f"touch {place / 'executed'}")


def within(place: Path) -> Any:
    """A model of allowed classes, deep within which the attack lies."""
    model = compose.Select("a") | preprocessing.StandardScaler() | linear_model.LogisticRegression()
    model["StandardScaler"].means["a"] = mark(place)
    return model


def chain(module: str, name: str, place: Path) -> bytes:
    """Call what a chain of attributes leads to."""
    return (
        pickle.PROTO + b"\x04"
        + b"".join(pickle.SHORT_BINUNICODE + bytes([len(word)]) + word.encode() for word in (module, name))
        + pickle.STACK_GLOBAL + pickle.UNICODE + f"touch {place / 'executed'}\n".encode()
        + pickle.TUPLE1 + pickle.REDUCE + pickle.STOP
    )  # fmt: skip


ATTACKS: dict[str, Callable[[Path], bytes]] = {
    "posix:system": lambda place: pickle.dumps(mark(place)),
    "os:system": lambda place: f"cos\nsystem\n(S'touch {place / 'executed'}'\ntR.".encode(),
    "posix:system, nested": lambda place: pickle.dumps(within(place)),
    "river.base.base:inspect.os.system": lambda place: chain("river.base.base", "inspect.os.system", place),
    "numpy:testing._private.utils.os.system": lambda place: chain("numpy", "testing._private.utils.os.system", place),
    "river.stats.mean:Mean.__init__.__globals__": lambda place: chain("river.stats.mean", "Mean.__init__.__globals__", place),
    "millrace.state:pickle.loads": lambda place: chain("millrace.state", "pickle.loads", place),
    "builtins:eval": lambda place: pickle.dumps(Attack(eval, f"open({str(place / 'executed')!r}, 'w')")),
    "builtins:exec": lambda place: pickle.dumps(Attack(exec, f"open({str(place / 'executed')!r}, 'w')")),
    "operator:attrgetter": lambda place: pickle.dumps(operator.attrgetter("__init__.__globals__")),
    "subprocess:Popen": lambda place: b"csubprocess\nPopen\n(S'true'\ntR.",
    "river.stream.cache:Cache": lambda place: pickle.dumps(stream.Cache),
    "builtins:function.__globals__": lambda place: pickle.dumps(Attack(getattr, copy.deepcopy, "__globals__")),
    "river.stats.mean:Mean.__subclasses__": lambda place: pickle.dumps(Attack(getattr, stats.Mean, "__subclasses__")),
    "river.base.base:Base._get_params": lambda place: pickle.dumps(Attack(getattr, stats.Mean(), "_get_params")),
}


@pytest.mark.parametrize("load", [loads, foreign.loads], ids=["here", "foreign"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_with_what_it_names_and_nothing_runs(
    attack: str, load: Callable[[bytes], Any], tmp_path: Path
) -> None:
    data = ATTACKS[attack](tmp_path)
    with pytest.raises(Refused) as refusal:
        load(data)
    named = str(refusal.value).split()[3].rstrip(",")
    assert named == attack.partition(",")[0]
    assert "is on no list" in str(refusal.value) and "MILLRACE_TRUST=" in str(refusal.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x04", b"\x80\x04P1\n.", b"\x80\x05\x97.", b"\x82\x01.", pickle.dumps(1.5)[:-3], b"cno.such\nthing\n."]
)
def test_what_is_no_whole_pickle_is_told(data: bytes) -> None:
    for load in (loads, foreign.loads):
        with pytest.raises(MillraceError):
            load(data)


def test_a_class_that_says_it_is_another_is_told_from_it(shop: Shop) -> None:
    """`BUILD` may set attributes of classes: what a class says of itself is not believed."""
    shop.change("def logistic():", "class Own:\n    pass\n\n\ndef logistic():")
    catalog.load("shop")

    class Liar:
        def harm(self) -> None: ...

    Liar.__module__, Liar.__qualname__ = "millrace_datasets.shop", "Own"
    with pytest.raises(Refused, match=r"millrace_datasets.shop:Own.harm"):
        pickles._Reader(io.BytesIO(b""))._method(Liar(), "harm")


def test_of_a_datasets_file_what_it_defines_may_stand_in_a_state_and_not_what_it_imports(shop: Shop) -> None:
    shop.change("from datetime import", "from os import system\nfrom datetime import")
    catalog.load("shop")
    assert loads(b"cmillrace_datasets.shop\nlogistic\n.").__name__ == "logistic"
    for name in ("system", "timedelta", "pl", "dataset", "Dataset", "nothing"):
        with pytest.raises(Refused, match=f"millrace_datasets.shop:{name}"):
            loads(f"cmillrace_datasets.shop\n{name}\n.".encode())
    with pytest.raises(Refused, match=r"millrace_datasets.elsewhere:logistic"):
        loads(b"cmillrace_datasets.elsewhere\nlogistic\n.")


LIBRARY = """
from river import linear_model


class Leaf:
    pass


class Theirs(linear_model.LogisticRegression):
    def learn_one(self, x, y):
        self.leaf = Leaf()
        super().learn_one(x, y)
"""


def test_of_another_library_a_state_may_name_what_the_fresh_model_holds_and_what_is_trusted(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop.place / "their_library.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(shop.place)
    data = state.slim(importlib.import_module("their_library").Theirs())
    with pytest.raises(Refused, match="their_library:Theirs"):
        loads(data)
    shop.change("import polars as pl\n", "import polars as pl\nimport their_library\n")
    shop.change("linear_model.LogisticRegression()", "their_library.Theirs()")
    catalog.load("shop")
    model = loads(data)  # a dataset here builds one: known without a fold in this process
    model.learn_one({"a": 1.0}, True)
    with pytest.raises(Refused, match="MILLRACE_TRUST=their_library:Leaf"):
        loads(state.slim(model))
    assert foreign.loads(state.slim(model), trust=["their_library:Leaf"]).leaf
    monkeypatch.setenv("MILLRACE_TRUST", "their_library:Leaf, a:b")
    assert loads(state.slim(model)).leaf and foreign.loads(state.slim(model)).leaf


@pytest.mark.parametrize(
    "model",
    [
        naive_bayes.GaussianNB(),
        anomaly.HalfSpaceTrees(seed=1),
        feature_extraction.TargetAgg(by="a", how=stats.BayesianMean(prior=0.3, prior_weight=3)),
        feature_extraction.BagOfWords(on="a"),
        linear_model.PAClassifier(),
        stats.Quantile(0.5),
    ],
    ids=lambda model: type(model).__name__,
)
def test_functions_and_methods_that_rivers_models_hold_are_found_again(model: Any) -> None:
    for arguments in (({"a": 1.0}, True), ({"a": "b c"},), ({"a": 1.0},)):
        with contextlib.suppress(Exception):
            model.learn_one(*arguments)
            break
    assert state.digest(loads(state.slim(model))) == state.digest(foreign.loads(state.slim(model))) == state.digest(model)


def test_what_is_listed_is_a_function_or_a_class_that_neither_runs_text_nor_hands_out_attributes() -> None:
    for module, name in pickles.listed():
        value = operator.attrgetter(name)(importlib.import_module(module))
        assert not inspect.ismodule(value) and callable(value), (module, name)
        assert module not in FORBIDDEN or (module == "builtins" and name.split(".")[0] in HARMLESS), (module, name)
        assert (getattr(value, "__module__", None) or module) not in FORBIDDEN - {"builtins"}, (module, name)
    assert not {("operator", "attrgetter"), ("operator", "methodcaller"), ("builtins", "getattr")} & pickles.listed()


def test_each_of_rivers_estimators_is_listed_as_it_is_built() -> None:
    """What they make when they learn is held by the conformance of estimators, which loads them on the way."""
    missing = set()
    for name, kind in estimators.walk().items():
        for make in estimators.makes(name, kind):
            with contextlib.suppress(RuntimeError):  # it needs a later Python
                missing |= pickles.named(state.slim(make(1))) - pickles.listed()
    assert {pair for pair in missing if not pair[0].startswith("tests.")} == set(), f"not in globals.txt: {globals.COMMAND}"
