"""What is learned of an event, and where in the log, by each policy of labels?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deltalake import DeltaTable

from millrace import asof, catalog, join, models, outcomes, progressive
from millrace.errors import ConflictError, DatasetError, MillraceError
from millrace.explain import explain
from millrace.infer import infer
from millrace.ingest import ingest
from millrace.mend import mend
from millrace.proof import verify
from millrace.tables import Table
from millrace.validate import validate
from millrace.validation import questions
from millrace.validation.judge import judge
from millrace.validation.questions import Questions, Stretch
from tests.conftest import enter, settled, undone
from tests.shop import Shop

WINDOW = "Labels(window=timedelta(days=1))"
STORY = """
    event  a  10:00
    event  b  10:05
    label  b  11:00  true
    event  c  11:10
    label  early  11:20  true
    label  a  11:30  false
    event  early  11:15
    event  d  2026-01-06T10:04:00Z
    label  d  2026-01-06T10:04:30Z  false
    label  d  2026-01-06T10:04:40Z  true
    event  e  2026-01-06T10:20:00Z
    label  e  2026-01-06T11:00:00Z  true
    label  c  2026-01-06T11:10:01Z  true
    event  f  2026-01-05T09:00:00Z
    label  f  2026-01-06T11:15:30Z  true
    label  g  2026-01-06T11:30:00Z  true
    label  h  2026-01-06T11:31:00Z  false
    event  g  2026-01-05T11:30:00Z
    event  h  2026-01-06T11:30:30Z
    event  z  2026-01-08T10:00:00Z
"""
# A window is a day. Arrivals: a 1, b 2, c 4, early 7 (its label 5), d 8, e 11; c's window closes at 13, where its label comes,
# one second too late; f comes at 14 when its own is closed; early's closes at 15, with f's label, too late as well; g's label
# comes in time at 16 and g when its window is closed, at 18; those of d, e and h (19, its label 17) close at z, 20.
OUTCOMES = [
    (1, 8, "a", False, "natural"), (2, 11, "b", True, "natural"), (3, 13, "c", False, "default"), (4, 14, "f", False, "default"),
    (5, 15, "early", True, "natural"), (6, 18, "g", True, "natural"), (7, 20, "d", False, "natural"),
    (8, 20, "e", True, "natural"), (9, 20, "h", False, "natural"),
]  # fmt: skip


def labels(shop: Shop, learn: str) -> None:
    shop.change(WINDOW, f'Labels(window="1d", default=False, learn="{learn}")')


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Callable[[str], Shop]:
    """The story, lived once by each policy, in one tick."""
    known = dict[str, Shop]()

    def of(learn: str) -> Shop:
        if learn not in known:
            place = tmp_path_factory.mktemp(learn) / "place"
            place.mkdir()
            with settled(place, mlflow_store) as shop:
                labels(shop, learn)
                shop.arrive(STORY)
                report = shop.tick()
                assert report.learn and report.learn.join.late == 2 and report.problems == []
            known[learn] = shop
        return known[learn]

    return of


@pytest.fixture
def lived(lives: Callable[[str], Shop], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Shop]:
    """The story as it was lived by a policy: to look at, and to change nothing."""

    def of(learn: str) -> Shop:
        shop = lives(learn)
        enter(shop.place, monkeypatch)
        return shop

    return of


def log(shop: Shop) -> list[tuple[Any, ...]]:
    return shop.table("examples").select("seq", "arrival", "event_id", "label", "label_source").rows()


def outcomes_of(shop: Shop) -> list[tuple[Any, ...]]:
    return shop.table("outcomes").select("number", "arrival", "event_id", "label", "label_source").rows()


def questions_of_all(delay: str) -> Questions:
    dataset = catalog.load("shop")
    at = questions.position(dataset)
    first, last = questions.span(dataset, at)
    return questions.read("shop", at, Stretch(first, last, first), delay)


def asked_and_learned(shop: Shop, delay: str) -> str:
    """In which order events are asked about and learned."""
    asked = questions_of_all(delay)
    ids = shop.table("events").sort("event_time", "arrival")["event_id"].to_list()
    steps = progressive.order(asked.asked, asked.answered, None, asked.of, asked.ranks)
    return " ".join(ids[i] if i >= 0 else f"{ids[asked.of[~i]]}={asked.labels[~i]}" for i in steps)


def test_by_arrival_an_answer_is_learned_when_it_comes_and_the_default_when_the_window_closes(
    lived: Callable[[str], Shop],
) -> None:
    shop = lived("arrival")
    assert log(shop) == [
        (1, 3, "b", True, "natural"),
        (2, 6, "a", False, "natural"),
        (3, 7, "early", True, "natural"),
        (4, 9, "d", False, "natural"),
        (5, 12, "e", True, "natural"),
        (6, 13, "c", False, "default"),
        (7, 14, "f", False, "default"),
        (8, 18, "g", True, "natural"),
        (9, 19, "h", False, "natural"),
    ]
    assert outcomes_of(shop) == OUTCOMES
    assert shop.table("outcomes")["seq"].to_list() == [3, 4, 6, 7, 7, 8, 9, 9, 9]
    assert asked_and_learned(shop, "labels") == (
        "f a b b=True c early early=True a=False g f=False d d=False e e=True c=False g=True h h=False z"
    )
    said = str(explain("shop", "c"))
    assert "late, after the window of 1d had closed, and not learned" in said
    assert "example at seq 6 of the log: the default, False, at arrival 13" in said
    assert verify("shop").problems == []


def test_by_window_both_classes_are_learned_where_the_window_closes(lived: Callable[[str], Shop]) -> None:
    shop = lived("window")
    assert log(shop) == outcomes_of(shop) == OUTCOMES
    found = shop.status()
    assert (found.events_waiting, found.events_held, found.outcomes, found.corrections) == (1, 0, 9, 1)
    times = shop.table("examples").filter(event_id="c").select("label_time", "label_arrival", "clock").rows(named=True)[0]
    assert (str(times["label_time"]), times["label_arrival"]) == ("2026-01-06 11:10:00+00:00", None)
    assert str(times["clock"]) == "2026-01-06 11:10:01+00:00"
    assert asked_and_learned(shop, "arrival") == (
        "f a b c early g a=False d b=True e c=False f=False early=True h g=True d=False e=True h=False z"
    )
    held = "f a b c early g f=False a=False d b=True e c=False early=True g=True h d=False e=True h=False z"
    assert (asked_and_learned(shop, "labels"), asked_and_learned(shop, "2h")) == (held, held)
    assert asked_and_learned(shop, "3d") == "f a b c early g f=False d e c=False h z"  # then no label would have been in time
    assert asked_and_learned(shop, "none").startswith("f f=False a a=False b b=True c c=False early early=True")
    assert verify("shop").problems == []


def test_by_window_an_answer_is_held_until_its_window_closes(
    lives: Callable[[str], Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    with undone(lives("window"), monkeypatch) as shop:
        shop.arrive("label  z  2026-01-08T11:00:00Z  true")
        shop.tick()
        assert (len(shop.log()), shop.status().events_held, shop.status().events_waiting) == (9, 1, 0)
        assert "held until its window of 1d closes" in str(explain("shop", "z"))


def test_by_window_without_a_default_an_event_without_an_answer_is_not_learned(shop: Shop) -> None:
    shop.change(WINDOW, 'Labels(window="1d", learn="window")')
    shop.arrive(STORY)
    lived_through()
    assert [event for _, event, _ in shop.log()] == ["a", "b", "early", "g", "d", "e", "h"]
    assert log(shop) == outcomes_of(shop)


def test_provisionally_the_default_is_learned_at_once_and_a_contrary_answer_later(lived: Callable[[str], Shop]) -> None:
    shop = lived("provisional")
    assert log(shop) == [
        (1, 1, "a", False, "default"),
        (2, 2, "b", False, "default"),
        (3, 3, "b", True, "natural"),
        (4, 4, "c", False, "default"),
        (5, 7, "early", False, "default"),
        (6, 7, "early", True, "natural"),
        (7, 8, "d", False, "default"),
        (8, 10, "d", True, "natural"),
        (9, 11, "e", False, "default"),
        (10, 12, "e", True, "natural"),
        (11, 14, "f", False, "default"),
        (12, 18, "g", False, "default"),
        (13, 18, "g", True, "natural"),
        (14, 19, "h", False, "default"),
        (15, 20, "z", False, "default"),
    ]
    assert asked_and_learned(shop, "arrival") == (
        "f a a=False b b=False b=True c c=False early early=False early=True g d d=False d=True e e=False e=True f=False "
        "h g=False g=True h=False z z=False"
    )
    assert asked_and_learned(shop, "2h") == (
        "f f=False a a=False b b=False c c=False early early=False g g=False b=True early=True g=True d d=False e e=False "
        "h h=False d=True e=True z z=False"
    )
    said = str(explain("shop", "d"))
    assert "example at seq 7 of the log: the default, False, at arrival 8" in said
    assert "as the default, which was learned before" in said
    assert "label True (natural) at 2026-01-06T10:04:40Z, 0:00:40 after the event, a correction: learned at seq 8" in said
    assert "example at seq 8 of the log\n  prior learned it by its checkpoint at seq 15" in said
    # d's first label confirms the default, its second, in time, is contrary.
    contrary = [(*one[:3], True, "natural") if one[2] == "d" else one for one in OUTCOMES]
    assert outcomes_of(shop) == contrary
    assert verify("shop").problems == []


def test_what_was_said_of_an_event_is_scored_once_by_its_final_answer(lived: Callable[[str], Shop]) -> None:
    shop = lived("provisional")
    dataset, asked = catalog.load("shop"), questions_of_all("arrival")
    judged = judge(dataset, asked, asof.learner_at(dataset, "logistic", 0).data, None)
    model, said = models.build(dataset, "logistic"), dict[str, Any]()
    finals = {event: label for _, _, event, label, _ in outcomes_of(shop)}
    xs = dict(shop.table("examples").select("event_id", "x").rows())
    for step in asked_and_learned(shop, "arrival").split():
        event, _, label = step.partition("=")
        if label:
            model.learn_one(xs[event], label == "True")
        else:
            said[event] = model.predict_proba_one(xs[event])
    losses = [dataset.race_loss.of(said[event], finals[event]) for event in said if event in finals]
    assert judged.losses[:-1].tolist() == losses
    assert np.isnan(judged.losses[-1])  # z's window is open: its default is learned, and not yet final
    at, (first, last) = questions.position(dataset), questions.span(dataset, questions.position(dataset))
    assert questions.labelled(dataset, at, Stretch(first, last, first)) == len(losses) == 9
    shown = {event: [one.loss for one in explain("shop", event).predictions] for event in ("z", "h", "d")}
    assert (shown["z"], None in shown["h"], None in shown["d"]) == ([None, None], False, False)


@pytest.mark.parametrize("learn", ["arrival", "provisional"])
def test_an_answer_of_an_open_window_is_learned_and_not_yet_scored(
    lives: Callable[[str], Shop], monkeypatch: pytest.MonkeyPatch, learn: str
) -> None:
    """Those who convert answer at once, those who do not never: before the window closes all answers are of one class."""
    with undone(lives(learn), monkeypatch) as shop:
        shop.arrive("label  z  2026-01-08T11:00:00Z  true")
        lived_through()
        dataset = catalog.load("shop")
        at, (first, last) = questions.position(dataset), questions.span(dataset, questions.position(dataset))
        for delay in ("arrival", "labels", "none", "2h"):
            assert asked_and_learned(shop, delay).endswith("z=True")
            judged = judge(dataset, questions_of_all(delay), asof.learner_at(dataset, "prior", 0).data, None)
            assert np.isnan(judged.losses).tolist() == [False] * 9 + [True]
        assert questions.labelled(dataset, at, Stretch(first, last, first)) == 9
        with pytest.raises(MillraceError, match="with a default an event counts once its window has closed"):
            validate("shop", first=last - timedelta(hours=1), keep=False)
        shop.arrive("event  later  2026-01-09T12:00:00Z")
        lived_through()
        assert np.count_nonzero(questions_of_all("arrival").counts) == 10


def test_without_a_default_each_answer_is_scored_as_river_does(shop: Shop) -> None:
    shop.arrive("event  a  10:00\nevent  b  10:05\nlabel  b  11:00  true")
    lived_through()
    assert questions_of_all("arrival").counts.tolist() == [True, True]


@pytest.mark.parametrize("learn", ["arrival", "window", "provisional"])
def test_line_by_line_it_is_the_same_and_two_processes_learn_it_once(
    lived: Callable[[str], Shop], shop: Shop, monkeypatch: pytest.MonkeyPatch, learn: str
) -> None:
    whole = log(lived(learn)), outcomes_of(lived(learn))
    enter(shop.place, monkeypatch)
    labels(shop, learn)
    append, steps, lost = Table.append, {"examples": join.join, "outcomes": outcomes.mature}, list[str]()

    def competed(table: Table, *arguments: Any) -> None:
        step = steps.pop(table.name, None)
        if step:
            step("shop")  # another process does it between this one's read and its commit
        try:
            append(table, *arguments)
        except ConflictError:
            lost.append(table.name)
            raise
        finally:
            if step:
                steps[table.name] = step

    monkeypatch.setattr(Table, "append", competed)
    for line in STORY.strip().splitlines():
        shop.arrive(line)
        lived_through()
    assert (log(shop), outcomes_of(shop)) == whole
    learned = [step for step in asked_and_learned(shop, "arrival").split() if "=" in step]
    assert learned == [f"{event}={label}" for _, _, event, label, _ in log(shop)]
    assert set(lost) == {"examples", "outcomes"}
    assert verify("shop", "prior").problems == []


@pytest.mark.parametrize("given", ['window="3d", default=False, learn="window"', 'window="1d", learn="window"', 'window="1d"'])
def test_other_labels_than_the_log_began_with_are_refused(
    lives: Callable[[str], Shop], monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    with undone(lives("window"), monkeypatch) as shop:
        before, text = log(shop), shop.path.read_text()
        shop.change('window="1d", default=False, learn="window"', given)
        began = "the log of shop began with Labels(window=timedelta(days=1), default=False, learn='window'), and now"
        assert began in "".join(shop.status().problems)
        assert [began in problem for problem in verify("shop", "prior").problems] == [True, True]
        shop.arrive("event  y  2026-01-10T10:00:00Z")
        with pytest.raises(DatasetError) as refused:
            lived_through()
        assert began in str(refused.value)
        assert "bring the past in there: millrace replay shop2 --events … --labels …" in str(refused.value)
        assert (log(shop), shop.status().events) == (before, 11)
        shop.define(text + "\n# as it was")
        lived_through()
        assert outcomes_of(shop)[:-1] == OUTCOMES


def test_a_log_of_an_earlier_release_began_by_arrival(lives: Callable[[str], Shop], monkeypatch: pytest.MonkeyPatch) -> None:
    with undone(lives("arrival"), monkeypatch) as shop:
        definitions = shop.place / "root" / "shop" / "definitions"
        DeltaTable(str(definitions)).delete("model = 'labels'")
        shop.define(shop.path.read_text() + "\n# another text, so that the record is read")
        shop.arrive("event  y  2026-01-10T10:00:00Z")
        with pytest.raises(DatasetError, match=r"began with Labels\(window=timedelta\(days=1\), learn='arrival'\), and now"):
            lived_through()
        shop.change(', default=False, learn="arrival"', "")
        lived_through()
        assert shop.table("definitions").filter(model="labels")["fingerprint"].to_list() == [
            "Labels(window=timedelta(days=1), learn='arrival')"
        ]


def test_what_is_missing_is_put_back_only_where_the_rest_is_made_the_same(
    lives: Callable[[str], Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    with undone(lives("provisional"), monkeypatch) as shop:
        before, text = log(shop), shop.path.read_text()
        DeltaTable(str(shop.place / "root" / "shop" / "examples")).delete("seq in (2, 6)")
        lost = log(shop)
        shop.change("    race=", '    weight=pl.col("amount") / 10,\n    race=')
        with pytest.raises(MillraceError, match=r"seq 1 \(event 'a'\): weight is 1.0 on record, and made again 3.0; nothing was"):
            mend("shop")
        assert log(shop) == lost
        shop.define(text)
        assert (mend("shop"), log(shop)) == ((2, 0), before)
        shop.change('learn="provisional"', 'learn="window"')
        with pytest.raises(DatasetError, match="began with"):
            mend("shop")


def lived_through() -> None:
    """Take in what arrived, and settle it; nothing is folded."""
    for step in (ingest, infer, join.join, outcomes.mature):
        step("shop")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("window=7", "window=7 has no unit; write '7d' or timedelta(days=7)"),
        ("window='7'", "window='7' has no unit; write '7d' or timedelta(days=7)"),
        ("window='soon'", "labels: window='soon': 'soon' is no length of time"),
        ("window=[7]", "window=[7] is no length of time; write '7d' or timedelta(days=7)"),
        ("learn='window'", "learn='window' needs window=, such as window='7d'"),
        ("default=False", "default=False needs window=, such as window='7d'"),
        ("window='7d', learn='provisional'", "learn='provisional' needs default="),
        ("window='7d', default=False, learn='windo'", "did you mean 'window'"),
        ("window='7d', default=0, learn='window'", "labels: default=0 is no label: a label is Boolean"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(shop: Shop, given: str, said: str) -> None:
    shop.change(WINDOW, f"Labels({given})")
    with pytest.raises(DatasetError) as refused:
        catalog.load("shop")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("label", "given", "said"),
    [
        ("pl.String", "default='no', learn='provisional'", "learn='provisional' is for binary tasks, not multiclass"),
        ("pl.String", "default=1, learn='window'", "default=1 is no label: a label is String"),
        ("Column(pl.String, known=['a', 'b'])", "default='c', learn='window'", "default='c' is no label: known= has 'a', 'b'"),
        ("pl.Int64", "default=True, learn='window'", "default=True is no label: a label is Int64"),
    ],
)
def test_a_default_that_is_no_label_is_refused(shop: Shop, label: str, given: str, said: str) -> None:
    shop.change('task="binary"', 'task="multiclass"')
    shop.change("label=pl.Boolean", f"label={label}")
    shop.change(WINDOW, f"Labels(window='7d', {given})")
    with pytest.raises(DatasetError) as refused:
        catalog.load("shop")
    assert said in str(refused.value)
