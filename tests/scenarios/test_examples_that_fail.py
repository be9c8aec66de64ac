"""What becomes of an example that a model cannot learn, and of a model that can learn none?"""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.learner import SUSPEND_AFTER
from millrace.proof import verify
from millrace.replay import replay
from tests.shop import Shop

FRAGILE = '''
class Fragile(linear_model.LogisticRegression):
    """Fails as the amount tells it to: 666 in learning, half-way; 777 breaks what it answers, for ever."""

    def learn_one(self, x, y):
        super().learn_one(x, y)
        if x["amount"] == 666:
            raise ValueError("the number of the beast")
        if x["amount"] == 777:
            self._weights["amount"] = float("nan")

    def predict_proba_one(self, x):
        if x["amount"] == 555:
            raise KeyError("five")
        return super().predict_proba_one(x)


def fragile():
    return compose.Select("amount") | Fragile()


dataset = Dataset('''


@pytest.fixture
def fragile(shop: Shop) -> Shop:
    """The shop with a model that fails as the amount tells it to."""
    shop.change("dataset = Dataset(", FRAGILE)
    shop.change('models={"logistic": logistic}', 'models={"logistic": logistic, "fragile": fragile}')
    return shop


def orders(amounts: list[int], hour: int = 10) -> str:
    """Orders of these amounts, and then their answers."""
    events = [f"event  {hour}-{i}  {hour}:{i // 60:02d}  amount={amount}" for i, amount in enumerate(amounts)]
    labels = [f"label  {hour}-{i}  {hour + 4}:{i // 60:02d}  {'true' if i % 3 else 'false'}" for i, _ in enumerate(amounts)]
    return "\n".join([*events, *labels])


def skipped(shop: Shop, model: str = "fragile") -> list[tuple[int, str]]:
    """The examples on record as skipped: seq, and the error's first words."""
    return [(skip["seq"], skip["error"][:28]) for skip in shop.status().models[model].skipped]


def test_an_example_on_which_a_model_raises_is_skipped_by_that_model_alone(fragile: Shop) -> None:
    fragile.arrive(orders([10, 20, 666, 30, 40]))
    report = fragile.tick()
    assert report.problems == []
    assert skipped(fragile) == [(3, "ValueError: the number of th")]
    found = fragile.status()
    assert (found.models["fragile"].seq, found.models["fragile"].skips, found.models["logistic"].skips) == (5, 1, 0)
    assert any("'fragile' skipped 1 examples (the last: event '10-2', seq 3: ValueError" in line for line in found.problems)


def test_the_model_is_as_if_it_had_never_seen_what_it_skipped(fragile: Shop, mlflow_store: Path) -> None:
    text, digests = fragile.path.read_text(), []
    for amounts in ([10, 666, 20, 777, 777, 30], [10, 20, 30]):
        one = fragile.afresh(mlflow_store)
        one.define(text)
        one.arrive("\n".join(f"event  {a}-{i}  10:00  amount={a}" for i, a in enumerate(amounts)))
        one.arrive("\n".join(f"label  {a}-{i}  11:00  {'true' if a < 25 else 'false'}" for i, a in enumerate(amounts)))
        one.tick()
        digests.append(one.digests()["fragile"][1])
    assert digests[0] == digests[1]


def test_a_model_that_starts_to_answer_nan_loses_the_example_that_broke_it_however_the_log_is_cut(
    fragile: Shop, mlflow_store: Path
) -> None:
    text = fragile.path.read_text()
    amounts = [10 + i for i in range(40)]
    amounts[3], amounts[9], amounts[10], amounts[29] = 777, 777, 666, 777
    lines = orders(amounts).splitlines()
    digests = set()
    for cuts in ([], [7], [1, 2, 3, 8, 9, 10, 11], list(range(1, 40, 5))):
        one = fragile.afresh(mlflow_store)
        one.define(text)
        one.arrive("\n".join(lines[:40]))
        for start, stop in zip([0, *cuts], [*cuts, 40], strict=True):
            one.arrive("\n".join(lines[40 + start : 40 + stop]))
            one.tick()
        assert skipped(one) == [
            (4, "after it, the model answers "),
            (10, "after it, the model answers "),
            (11, "ValueError: the number of th"),
            (30, "after it, the model answers "),
        ]
        digests.add(one.digests()["fragile"])
        assert verify("shop", every=True).problems == []
    assert len(digests) == 1


def test_a_model_that_cannot_answer_about_one_event_still_learns_it(fragile: Shop) -> None:
    fragile.arrive(orders([10, 555, 20]))
    report = fragile.tick()
    assert report.infer
    assert "model 'fragile' could not predict 1 of 3 events (first: KeyError: 'five')" in report.infer.problems
    assert skipped(fragile) == []


def test_a_model_that_fails_on_everything_is_suspended_and_resumed_by_replay(fragile: Shop) -> None:
    fragile.arrive(orders([10, 20, *[666] * (SUSPEND_AFTER + 20)]))
    report = fragile.tick()
    assert "fragile: suspended at seq 102, after 100 examples in a row" in report.problems[0]
    assert "millrace replay shop fragile" in report.problems[0]
    found = fragile.status()
    assert (found.models["fragile"].seq, found.models["logistic"].seq) == (102, 122)
    assert found.models["fragile"].suspended
    assert any("'fragile' is suspended at seq 102" in line for line in found.problems)
    fragile.arrive(orders([30, 40], hour=15))
    assert fragile.tick().problems == []  # it was said once; status goes on saying it
    assert not fragile.pending()
    assert fragile.status().models["fragile"].seq == 102
    fragile.change('if x["amount"] == 666:', 'if x["amount"] == 667:')
    rebuilt = replay("shop", "fragile")
    assert rebuilt.problems == []
    found = fragile.status()
    assert (found.models["fragile"].seq, found.models["fragile"].skips, found.models["fragile"].suspended) == (124, 0, False)
    assert not any("fragile" in line for line in found.problems)
    fragile.arrive(orders([50], hour=16))
    fragile.tick()
    assert fragile.status().models["fragile"].seq == 125
