"""Is a shadow promoted when it is better with evidence, and only then; and is what it lacks told?"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import orjson
import polars as pl
import pytest

from millrace import Column, Dataset, Race, Schema
from millrace.dataset import PRIOR
from millrace.errors import DatasetError
from millrace.loss import Loss
from millrace.reign import Reign, Verdict
from millrace.standings import Race as Standings

START = datetime(2026, 1, 1, tzinfo=UTC)


def good() -> Any:
    """A model's place in the file: it is never built here."""


def dataset(**race: Any) -> Dataset:
    """A dataset of a loss from 0 to 1 with two models."""
    return Dataset(
        task="regression", event=Schema({"a": pl.Float64}), label=Column(pl.Float64), features=[pl.col("a")],
        models={"good": good, "other": good}, loss=Loss("absolute", scale=1.0), race=Race(**race),
    )  # fmt: skip


def lived(reign: Reign, problem: Dataset, losses: Mapping[str, float], count: int) -> list[tuple[int, Verdict]]:
    """See so many outcomes of these losses, and return each challenger and after how many outcomes it was one."""
    found = []
    for _ in range(count):
        reign.see(problem, losses, START + timedelta(hours=reign.outcomes))
        if (verdict := reign.challenger(problem)) is not None:
            found.append((reign.outcomes, verdict))
    return found


def test_a_better_shadow_is_promoted_as_soon_as_there_is_evidence() -> None:
    reign, problem = Reign(), dataset(minimum=10, level=0.05, window=None)
    [first, *_] = lived(reign, problem, {PRIOR: 0.5, "good": 0.4}, 120)
    outcomes, verdict = first
    assert 40 < outcomes < 80
    assert (verdict.model, verdict.over, verdict.labels) == ("good", "reign", outcomes)
    assert 0 < verdict.lower < verdict.difference < verdict.upper
    assert verdict.difference == pytest.approx(0.1)
    assert verdict.reason(problem, 1).startswith("mean absolute loss lower by 0.1 (at least 0.00")
    assert verdict.reason(problem, 1).endswith(f"at level 0.05) over the same {outcomes} labelled events")
    evidence = orjson.loads(verdict.evidence(problem, 1))
    assert evidence.keys() == {"labels", "difference", "lower", "upper", "over", "level", "shadows", "loss", "window"}
    assert (evidence["labels"], evidence["level"], evidence["shadows"], evidence["window"]) == (outcomes, 0.05, 1, None)


def test_the_minimum_and_the_level_and_the_number_of_shadows_each_ask_for_more() -> None:
    def first(losses: Mapping[str, float], **race: Any) -> int:
        return lived(Reign(), dataset(**{"minimum": 1, "window": None, **race}), losses, 400)[0][0]

    two = {PRIOR: 0.5, "good": 0.4}
    usual = first(two)
    assert first(two, minimum=200) == 200
    assert first(two, level=0.001, minimum=1) > usual
    assert first({**two, "other": 0.5}) > usual
    assert first(two, level=1) == 1  # the lower mean is enough


def test_the_shares_of_the_level_make_up_all_of_it_however_many_shadows_join() -> None:
    reign, problem = Reign(), dataset()
    lived(reign, problem, {PRIOR: 0.5, "good": 0.5, "other": 0.5}, 3)
    lived(reign, problem, {PRIOR: 0.5, "good": 0.5, "third": 0.5}, 3)
    lived(reign, problem, {PRIOR: 0.5, **{f"later {i:03}": 0.5 for i in reversed(range(200))}}, 3)
    shares = [Fraction(pair.share).limit_denominator(1_000_000) for pair in reign.pairs.values()]
    assert shares[:4] == [Fraction(1, 3), Fraction(1, 3), Fraction(1, 12), Fraction(1, 20)]
    assert sum(shares) == 1 - Fraction(1, len(shares) + 1)
    assert list(reign.pairs)[3:] == sorted(list(reign.pairs)[3:])  # however the predictions are laid out
    assert [level for _, _, level in reign.pairs["third"].looks(0.05)] == [0.05 / 12 / 2]


def test_of_two_that_are_ready_the_better_is_promoted() -> None:
    found = lived(Reign(), dataset(minimum=200), {PRIOR: 0.5, "good": 0.3, "other": 0.2}, 200)
    assert [verdict.model for _, verdict in found] == ["other"]


def test_after_a_promotion_the_cool_down_passes_first() -> None:
    problem = dataset(minimum=10, cooldown=150)
    assert lived(Reign(), problem, {PRIOR: 0.5, "good": 0.2}, 60)  # the first champion has none
    found = lived(Reign("other", before=PRIOR), problem, {"other": 0.5, "good": 0.2}, 160)
    assert found[0][0] == 150


def test_a_worse_or_equal_or_removed_shadow_is_never_promoted() -> None:
    for losses in ({PRIOR: 0.5, "good": 0.5}, {PRIOR: 0.5, "good": 0.6}, {PRIOR: 0.5, "gone": 0.1}, {"good": 0.1}):
        assert lived(Reign(), dataset(minimum=1, level=1), losses, 300) == []
        assert lived(Reign(), dataset(minimum=1), losses, 300) == []


def test_one_that_is_better_only_lately_is_found_by_the_window() -> None:
    def life(window: int | None) -> list[tuple[int, Verdict]]:
        reign, problem = Reign(), dataset(minimum=50, window=window)
        assert lived(reign, problem, {PRIOR: 0.4, "good": 0.6}, 2_000) == []
        return lived(reign, problem, {PRIOR: 0.5, "good": 0.3}, 900)

    assert life(None) == []
    outcomes, verdict = life(300)[0]
    assert 2_100 < outcomes < 2_300  # the sixth window ends within, and the seventh is the first that is all new
    assert (verdict.over, verdict.labels < 300) == ("window", True)
    assert verdict.reason(dataset(), 1).endswith("labelled events of a window")


def test_it_is_told_what_a_shadow_lacks() -> None:
    problem = dataset(minimum=100, cooldown=150)
    reign = Reign("good", before=PRIOR)
    lived(reign, problem, {PRIOR: 0.5, "good": 0.4, "other": 0.399, "gone": 0.3}, 60)
    said = {verdict.model: verdict for verdict in reign.verdicts(problem)}
    labels, cool = "40 labels of the minimum of 100", "90 labels of the cool-down of 150"
    assert said["other"].lacks == (labels, cool, "evidence")
    assert said["gone"].lacks[0] == "its place in the dataset's file"
    assert str(said[PRIOR]).startswith("prior: mean loss higher by 0.1000 (-0.")
    assert str(said[PRIOR]).endswith(f"over 60 labelled events of the reign; lacks {labels}, {cool}, evidence")
    lived(reign, problem, {PRIOR: 0.5, "good": 0.4, "other": 0.2}, 140)
    assert str(reign.verdicts(problem)[0]).endswith("would be promoted")


def test_since_when_a_champion_is_no_better_than_prior() -> None:
    reign, problem = Reign("good", before=PRIOR), dataset(minimum=50, window=100)
    lived(reign, problem, {PRIOR: 0.5, "good": 0.4}, 200)
    assert reign.worse_since is None
    lived(reign, problem, {PRIOR: 0.5, "good": 0.9}, 70)
    assert reign.worse_since == START + timedelta(hours=249)  # the first label at which the window has its minimum
    assert reign.judged is not None and reign.judged[:2] == ("window", 70)
    assert reign.judged[2] == pytest.approx(0.4)
    lived(reign, problem, {PRIOR: 0.5, "good": 0.0}, 130)
    assert reign.worse_since is None


def test_the_alarm_stands_until_a_new_window_is_long_enough() -> None:
    reign, problem = Reign("good", before=PRIOR), dataset(minimum=50, window=100)
    lived(reign, problem, {PRIOR: 0.5, "good": 0.4}, 500)
    said = set()
    for _ in range(500):
        lived(reign, problem, {PRIOR: 0.5, "good": 0.55}, 1)
        said.add(reign.worse_since)
    assert said == {None, START + timedelta(hours=549)}


def test_the_best_of_the_others_stands_in_for_a_champion_that_is_gone() -> None:
    reign, problem = Reign("gone", before=PRIOR), dataset(minimum=20)
    assert reign.heir(problem) == PRIOR
    lived(reign, problem, {"gone": 0.1, PRIOR: 0.5, "good": 0.4, "other": 0.3}, 20)
    assert reign.heir(problem) == "other"


def test_a_champion_that_predicts_no_more_is_judged_by_what_is_served_in_its_place() -> None:
    def life(arrival: int) -> str:
        """Score events that the champion, who reigns since place 5, did not predict."""
        race, problem = Standings(), dataset(minimum=10, cooldown=10)
        race.reign = Reign("good", before=PRIOR, place=5)
        for _ in range(200):
            race.score(problem, {PRIOR: 0.5, "other": 0.1}, 0.0, arrival)
            race.decide(problem)
        return race.reign.champion

    assert life(arrival=6) == "other"
    assert life(arrival=5) == "good", "what came before its reign is not its to answer for"


def test_it_goes_on_from_a_pickle() -> None:
    problem = dataset(minimum=10, window=30)
    whole, cut = Reign(), Reign()
    lived(whole, problem, {PRIOR: 0.5, "good": 0.45}, 90)
    for _ in range(90):
        lived(cut, problem, {PRIOR: 0.5, "good": 0.45}, 1)
        cut = pickle.loads(pickle.dumps(cut))
    assert cut == whole


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"level": 0}, "level=0 must be above 0"),
        ({"level": 5}, "0.05 is 5%"),
        ({"window": 100}, "window=100 is shorter than minimum=200 labels"),
        ({"minimum": 0}, "minimum=0 must be 1 or more"),
    ],
)
def test_a_rule_that_cannot_be_right_is_refused(declared: dict[str, Any], said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        replace(Race(), **declared)
