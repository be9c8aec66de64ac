"""What would have been served under another policy: by what is on record, and by asking again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from millrace import catalog, cli
from millrace.control import promote
from millrace.errors import UsageError
from millrace.policy import PolicyReport, policy
from millrace.ways import POLICY, SERVED, Line
from tests.conftest import enter, settled
from tests.scenarios.test_control import crowned, live
from tests.shop import Shop


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Iterator[tuple[Shop, PolicyReport]]:
    """A life in which the rule promotes at seq 7, and a person takes that back at seq 11; and what its rule gave until then."""
    with settled(tmp_path_factory.mktemp("policy"), mlflow_store) as shop:
        shop.change("minimum=5, cooldown=5", "minimum=7, cooldown=3")
        shop.change("labels=Labels(window=timedelta(days=1)),", "")
        for first, last in ((0, 2), (3, 7), (8, 10)):
            live(shop, first, last)
        without_orders = policy("shop", draw=False)
        promote("shop", "prior", reason="to see what comes of it")
        live(shop, 11, 13)
        yield shop, without_orders


@pytest.fixture
def lived(life: tuple[Shop, PolicyReport], monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The same, to ask."""
    enter(life[0].place, monkeypatch)
    return life[0]


def lines(report: PolicyReport) -> dict[str, Line]:
    return {line.name: line for line in report.lines}


def loss(line: Line) -> float:
    assert line.loss is not None
    return line.loss


def turns(report: PolicyReport, of: str) -> list[tuple[str, int]]:
    return [(one.model, one.events) for one in report.reigns[of]]


def test_the_rule_on_record_would_have_served_what_was_served_until_somebody_gave_an_order(lived: Shop) -> None:
    assert [(seq, model) for seq, model, *_ in crowned(lived)] == [(7, "logistic"), (11, "prior")]
    report = policy("shop", ["declared"])
    assert turns(report, SERVED) == [("prior", 8), ("logistic", 3), ("prior", 3)]
    assert turns(report, POLICY) == [("prior", 8), ("logistic", 6)]
    found = lines(report)
    assert list(found) == [SERVED, "the best in hindsight, each 7 labels", "prior alone", "logistic alone", POLICY]
    assert found[SERVED].labelled == found[POLICY].labelled == 14
    logistic, best = found["logistic alone"], found["the best in hindsight, each 7 labels"]
    assert logistic.gain == pytest.approx(loss(found[SERVED]) - loss(logistic))
    assert loss(best) <= loss(found[POLICY]) < loss(found[SERVED])
    assert "1 orders by hand are left out" in report.notes[0]
    assert report.picture and report.picture.read_bytes().startswith(b"\x89PNG")


def test_what_was_served_without_orders_is_what_its_rule_gives(life: tuple[Shop, PolicyReport]) -> None:
    _, report = life
    found = lines(report)
    assert report.reigns[SERVED] == report.reigns[POLICY] and len(report.reigns[SERVED]) == 2
    assert (found[SERVED].loss, found[SERVED].metrics) == (found[POLICY].loss, found[POLICY].metrics)
    assert found[POLICY].gain == 0


def test_a_stricter_rule_and_fewer_models_change_nothing_on_record(lived: Shop) -> None:
    before = crowned(lived), lived.status()
    assert turns(policy("shop", ["minimum=50"], draw=False), POLICY) == [("prior", 14)]
    alone = policy("shop", ["models=prior", "minimum=2", "cooldown=0"], draw=False)
    assert turns(alone, POLICY) == [("prior", 14)] and "logistic alone" not in lines(alone)
    assert (crowned(lived), lived.status()) == before


def test_with_another_cadence_each_model_is_asked_again(lived: Shop) -> None:
    served = lines(policy("shop", ["declared"], draw=False))
    hourly = lines(policy("shop", ["cadence=1h"], draw=False))
    assert hourly["logistic alone"].labelled == 14
    assert hourly["logistic alone"].loss != served["logistic alone"].loss, "it knew more when it was asked"
    assert hourly[SERVED].loss == served[SERVED].loss
    never = lines(policy("shop", ["cadence=9999d"], draw=False))
    assert never["prior alone"].loss == pytest.approx(0.6931, abs=1e-4)
    assert catalog.load("shop").cadence == timedelta(hours=1)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("minimm=5", "unknown policy 'minimm'; did you mean 'minimum'?"),
        ("minimum=five", "minimum=five is no number"),
        ("minimum=0", "minimum=0 must be 1 or more"),
        ("minimum=none", "race: minimum=None must be a whole number of labels, such as minimum=200"),
        ("minimum=2.5", "race: minimum=2.5 must be a whole number of labels"),
        ("cooldown=none", "race: cooldown=None must be a whole number of labels"),
        ("window=1e4", "race: window=10000.0 must be a whole number of labels, such as window=200"),
        ("level=none", "race: level=None must be a number above 0 and at most 1; 0.05 is 5%"),
        ("level=nan", "level=nan is no number"),
        ("minimum", "write minimum=…"),
        ("models=recnt", "unknown model 'recnt'"),
        ("cadence=soon", "soon"),
    ],
)
def test_what_is_no_policy_is_said(lived: Shop, asked: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        policy("shop", [asked])


def test_it_is_asked_by_a_command(lived: Shop) -> None:
    done = CliRunner().invoke(cli.millrace, ["replay", "shop", "--policy", "cooldown=0"], catch_exceptions=False)
    assert "shop: policy: cooldown=0" in done.output and "shop: this policy" in done.output and "drawn: " in done.output
    done = CliRunner().invoke(cli.millrace, ["replay", "shop", "--policy", "declared", "--verify"])
    assert "--verify and --policy are different questions" in str(done.exception)
