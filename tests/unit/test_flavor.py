"""How does MLflow keep and load a River model?"""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from millrace import catalog, features, flavor, state
from millrace.dataset import Dataset
from millrace.errors import UsageError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning"),
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
]

FLIGHTS = '''"""Will this flight arrive late?"""

import polars as pl
from river import compose, linear_model, preprocessing

from millrace import Column, Dataset, Schema


def halved(x):
    return {name: value / 2 for name, value in x.items() if isinstance(value, float)}


def logistic():
    scaler = preprocessing.StandardScaler()
    return compose.FuncTransformer(halved) | scaler | linear_model.LogisticRegression()


dataset = Dataset(
    task="binary",
    event=Schema({"carrier": pl.String, "distance": Column(pl.Float64, null=False), "stops": pl.Int64}),
    label=pl.Boolean,
    features=[
        pl.col("carrier"),
        pl.col("distance") / 3,
        pl.col("stops").cast(pl.Float64),
        pl.col("event_time").dt.hour().cast(pl.Float64).alias("hour"),
    ],
    models={"logistic": logistic},
    loss="log",
)
'''
POLLS = '''"""How many approve?"""

import polars as pl
from river import linear_model

from millrace import Dataset, Schema
from millrace.loss import Loss


def linear():
    return linear_model.LinearRegression()


dataset = Dataset(
    task="regression",
    event=Schema({"before": pl.Float64}),
    label=pl.Float64,
    features=[pl.col("before")],
    models={"linear": linear},
    loss=Loss("absolute", scale=100),
)
'''
SEGMENTS = '''"""What is on this picture?"""

import polars as pl
from river import naive_bayes

from millrace import Dataset, Schema


def bayes():
    return naive_bayes.GaussianNB()


dataset = Dataset(
    task="multiclass",
    event=Schema({"red": pl.Float64}),
    label=pl.String,
    features=[pl.col("red")],
    models={"bayes": bayes},
    loss="log",
)
'''
NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module", autouse=True)
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("datasets")
    for name, text in {"flights": FLIGHTS, "polls": POLLS, "segments": SEGMENTS}.items():
        (folder / f"{name}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MILLRACE_DATASETS", str(folder))
        yield folder
    for name in ("flights", "polls", "segments"):
        sys.modules.pop(f"{catalog.PACKAGE}.{name}", None)


def learned(dataset: Dataset) -> Any:
    """A model that has learned 60 examples."""
    model: Any = next(iter(dataset.models.values()))()
    for i in range(60):
        if dataset.task == "binary":
            model.learn_one({"carrier": "AA", "distance": i / 3, "stops": 1.0, "hour": float(i % 24)}, i % 3 == 0)
        elif dataset.task == "regression":
            model.learn_one({"before": i / 60}, i / 30)
        else:
            model.learn_one({"red": float(i)}, "sky" if i > 30 else "path")
    return model


def events(**columns: list[Any]) -> Any:
    import pandas as pd

    return pd.DataFrame({"event_time": [NOON] * len(next(iter(columns.values()))), **columns})


def loaded(folder: Path) -> Any:
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(str(folder))


@pytest.fixture(scope="module")
def kept(datasets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of flights."""
    folder = tmp_path_factory.mktemp("kept") / "model"
    dataset = catalog.load("flights")
    flavor.save_model(learned(dataset), folder, dataset=dataset)
    return folder


def test_a_model_comes_back_as_it_was(kept: Path) -> None:
    assert state.digest(flavor.load_model(str(kept))) == state.digest(learned(catalog.load("flights")))
    assert state.digest(loaded(kept).get_raw_model()) == state.digest(learned(catalog.load("flights")))


def test_a_checkpoints_bytes_are_kept_byte_by_byte(tmp_path: Path) -> None:
    data = pickle.dumps(learned(catalog.load("polls")), protocol=4)
    flavor.save_model(None, tmp_path / "m", dataset=catalog.load("polls"), state=data)
    assert (tmp_path / "m" / "model.pkl").read_bytes() == data
    assert (tmp_path / "m" / "dataset" / "polls.py").read_text() == POLLS


def test_raw_columns_are_taken_and_the_features_computed(kept: Path) -> None:
    dataset = catalog.load("flights")
    raw = pl.DataFrame(
        {
            "event_id": ["a", "b"],
            "event_time": [NOON, NOON],
            "carrier": ["AA", None],
            "distance": [7.0, 40.0],
            "stops": [1, None],
        }
    )
    model = learned(dataset)
    expected = [model.predict_proba_one(x) for x in features.rows(features.compute(dataset, raw))]
    answer = loaded(kept).predict(raw.to_pandas())
    assert answer.columns.to_list() == ["prediction", "proba_False", "proba_True"]
    assert answer["proba_True"].to_list() == [p[True] for p in expected]
    assert answer["proba_False"].to_list() == [p[False] for p in expected]
    assert answer["prediction"].to_list() == [p[True] > p[False] for p in expected]


@pytest.mark.parametrize(
    "columns",
    [
        {"distance": [7.0, 40.0], "stops": [1, 2]},
        {"distance": [7, 40], "stops": [1.0, 2.0]},
        {"distance": ["7", "40.0"], "stops": ["1", "2"]},
        {"distance": [7, "40"], "stops": [1, 2]},
        {
            "distance": [7.0, 40.0],
            "stops": [1, 2],
            "event_time": ["2013-01-01T12:00:00Z", "2013-01-01T07:00-05:00"],
        },
        {"distance": [7.0, 40.0], "stops": [1, 2], "event_id": [1, 2]},
    ],
)
def test_a_value_counts_however_it_is_written(kept: Path, columns: dict[str, list[Any]]) -> None:
    model = loaded(kept)
    usual = model.predict(events(distance=[7.0, 40.0], stops=[1, 2], carrier=["AA", "UA"]))
    assert model.predict(events(**columns, carrier=["AA", "UA"])).equals(usual)


def test_a_column_that_may_be_null_may_be_left_out(kept: Path) -> None:
    model = loaded(kept)
    given_null = model.predict(events(distance=[7.0], carrier=[None], stops=[None]))
    assert model.predict(events(distance=[7.0])).equals(given_null)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"distance": [1.0, float("nan")]}, "row 1: distance is null"),
        ({"distance": [1.0, "far"]}, "row 1: distance 'far' is no number"),
        ({"distance": [1.0, 2.0], "stops": [0.5, 1]}, "row 0: stops '0.5' is no whole number"),
        (
            {"distance": [1.0], "event_time": [NOON.replace(tzinfo=None)]},
            "row 0: event_time '2013-01-01.*is naive",
        ),
        ({"carrier": ["AA"]}, "missing inputs"),
    ],
)
def test_what_ingestion_would_refuse_is_refused_with_the_reason(kept: Path, columns: dict[str, list[Any]], reason: str) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=reason):
        loaded(kept).predict(events(**columns))


def test_probabilities_are_left_out_when_asked(kept: Path) -> None:
    answer = loaded(kept).predict(events(distance=[7.0]), params={"proba": False})
    assert answer.columns.to_list() == ["prediction"]


def test_the_index_and_no_rows_at_all_are_kept(kept: Path) -> None:
    frame = events(distance=[7.0, 8.0])
    frame.index = [5, 3]
    assert loaded(kept).predict(frame).index.to_list() == [5, 3]
    assert loaded(kept).predict(frame[:0]).columns.to_list() == ["prediction", "proba_False", "proba_True"]


@hypothesis_settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.floats(0, 5000), st.none() | st.integers(0, 3), st.integers(0, 10**6)),
        min_size=1,
        max_size=8,
    )
)
def test_an_answer_does_not_depend_on_the_other_rows(kept: Path, rows: list[tuple[float, int | None, int]]) -> None:
    model = flavor._load_pyfunc(str(kept / "model.pkl"))
    frame = events(distance=[row[0] for row in rows], stops=[row[1] for row in rows])
    frame["event_time"] = [NOON + timedelta(seconds=row[2]) for row in rows]
    together = model.predict(frame)["proba_True"].to_list()
    assert together == [model.predict(frame[i : i + 1])["proba_True"].item() for i in range(len(rows))]


def test_a_regression_gives_a_value_and_several_classes_a_column_each(tmp_path: Path) -> None:
    polls, segments = catalog.load("polls"), catalog.load("segments")
    flavor.save_model(learned(polls), tmp_path / "polls", dataset=polls)
    flavor.save_model(learned(segments), tmp_path / "segments", dataset=segments)
    value = loaded(tmp_path / "polls").predict(events(before=[0.5]))
    assert value.to_dict("list") == {"prediction": [learned(polls).predict_one({"before": 0.5})]}
    answer = loaded(tmp_path / "segments").predict(events(red=[3.0]))
    assert answer.columns.to_list() == ["prediction", "proba_path", "proba_sky"]
    assert answer["prediction"].to_list() == ["path"]
    assert answer["proba_path"].item() + answer["proba_sky"].item() == pytest.approx(1)


def test_a_model_that_knows_nothing_yet_answers_null(tmp_path: Path) -> None:
    segments = catalog.load("segments")
    flavor.save_model(segments.models["bayes"](), tmp_path / "m", dataset=segments)
    answer = loaded(tmp_path / "m").predict(events(red=[3.0]))
    assert answer["prediction"].isna().all()


def test_without_a_dataset_the_columns_are_those_of_x_without_the_nulls(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import pandas as pd
    from river import compose, linear_model

    model = compose.Select("a", "b") | linear_model.LogisticRegression()
    model.learn_one({"a": 1, "b": 2.0}, True)
    flavor.save_model(model, tmp_path / "m")
    answer = loaded(tmp_path / "m").predict(pd.DataFrame({"a": [1, 2], "b": [2.0, None]}))
    assert answer["proba_True"][0] == model.predict_proba_one({"a": 1, "b": 2.0})[True]
    assert pd.isna(answer["prediction"][1])  # `Select` fails where one of its columns is missing
    assert "1 of 2 rows have no prediction; row 1: KeyError: 'b'" in caplog.text


def test_a_model_that_does_not_predict_is_kept_without_a_pyfunc(tmp_path: Path) -> None:
    from mlflow.models import Model
    from river import preprocessing

    flavor.save_model(preprocessing.StandardScaler(), tmp_path / "m")
    assert list(Model.load(str(tmp_path / "m")).flavors) == ["river"]
    assert type(flavor.load_model(str(tmp_path / "m"))) is preprocessing.StandardScaler


def test_the_signature_is_the_datasets(kept: Path) -> None:
    from mlflow.models import Model

    found = Model.load(str(kept)).signature
    assert [(column.name, getattr(column.type, "name", "any"), column.required) for column in found.inputs] == [
        ("event_id", "any", False),
        ("event_time", "any", True),
        ("carrier", "string", False),
        ("distance", "any", True),
        ("stops", "any", False),
    ]
    assert found.outputs.input_names() == ["prediction", "proba_False", "proba_True"]
    assert found.params.params[0].name == "proba"
    assert (Model.load(str(kept)).metadata or {})["columns"]["stops"] == "Int64"


@pytest.mark.parametrize(("signature", "example", "names"), [(None, True, ["a"]), (None, False, None), (False, True, None)])
def test_a_signature_comes_from_an_example_or_not_at_all(
    tmp_path: Path, signature: bool | None, example: bool, names: list[str] | None
) -> None:
    import pandas as pd
    from mlflow.models import Model
    from river import linear_model

    frame = pd.DataFrame({"a": [1.0, 2.0]}) if example else None
    flavor.save_model(linear_model.LinearRegression(), tmp_path / "m", signature=signature, input_example=frame)
    found = Model.load(str(tmp_path / "m")).signature
    assert (found and found.inputs.input_names()) == names


def test_requirements_are_pinned_and_name_what_is_used(tmp_path: Path) -> None:
    import numpy
    import river
    from river import compat, linear_model
    from sklearn.linear_model import SGDRegressor

    flavor.save_model(linear_model.LinearRegression(), tmp_path / "a", extra_pip_requirements=["tzdata"])
    flavor.save_model(compat.convert_sklearn_to_river(SGDRegressor(random_state=1)), tmp_path / "b")
    a, b = ((tmp_path / name / "requirements.txt").read_text().split("\n") for name in "ab")
    assert {
        f"river=={river.__version__}",
        f"numpy=={numpy.__version__}",
        f"polars=={pl.__version__}",
        "tzdata",
    } <= set(a)
    assert [line.split("==")[0] for line in b if "scikit" in line] == ["scikit-learn"]
    assert not [line for line in a if "scikit" in line]
    assert flavor.get_default_conda_env()["dependencies"][-1]["pip"][-3:] == flavor.get_default_pip_requirements()[:3]


def test_own_requirements_or_an_own_environment_replace_the_default(tmp_path: Path) -> None:
    from river import linear_model

    flavor.save_model(linear_model.LinearRegression(), tmp_path / "a", pip_requirements=["river"])
    own = {"name": "own", "dependencies": ["python=3.11", {"pip": ["river"]}]}
    flavor.save_model(linear_model.LinearRegression(), tmp_path / "b", conda_env=own)
    for name in "ab":
        lines = (tmp_path / name / "requirements.txt").read_text().split("\n")
        assert "river" in lines and not [line for line in lines if line.startswith("numpy")]


def test_nothing_to_save_and_a_dataset_without_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to save"):
        flavor.save_model(None, tmp_path / "m")
    polls = catalog.load("polls")
    made_here = Dataset("regression", polls.event, pl.Float64, polls.features, polls.models, polls.race_loss)
    with pytest.raises(UsageError, match="does not come from a file"):
        flavor.save_model(learned(polls), tmp_path / "m", dataset=made_here)


def test_no_pickle_is_loaded_where_mlflow_is_told_not_to(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import MlflowException

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    with pytest.raises(MlflowException, match="MLFLOW_ALLOW_PICKLE_DESERIALIZATION"):
        flavor.load_model(str(kept))
    with pytest.raises(MlflowException, match="MLFLOW_ALLOW_PICKLE_DESERIALIZATION"):
        loaded(kept)


def test_a_version_goes_on_with_the_features_and_functions_that_it_was_made_with(
    kept: Path, datasets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = loaded(kept).predict(events(distance=[700.0]))
    monkeypatch.setenv("MILLRACE_TRUST", hashlib.sha256(FLIGHTS.encode()).hexdigest())
    changed = FLIGHTS.replace("value / 2", "value / 4").replace('pl.col("distance") / 3', 'pl.col("distance") / 5')
    (datasets / "flights.py").write_text(changed)
    try:
        present = catalog.load("flights")
        assert loaded(kept).predict(events(distance=[700.0])).equals(before)
        assert sys.modules["millrace_datasets.flights"].dataset is present
    finally:
        (datasets / "flights.py").write_text(FLIGHTS)


def test_it_loads_in_another_process_elsewhere_without_the_datasets_folder(kept: Path, tmp_path: Path) -> None:
    script = (
        "import mlflow.pyfunc, pandas, sys\n"
        f"model = mlflow.pyfunc.load_model({str(kept)!r})\n"
        "frame = pandas.DataFrame({'event_time': ['2013-01-01T12:00:00Z'], 'distance': [7]})\n"
        "print(model.predict(frame)['proba_True'].item())"
    )
    here = {
        "PYTHONPATH": str(Path(flavor.__file__).parents[1]),
        "PATH": "/usr/bin:/bin",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MILLRACE_TRUST": hashlib.sha256(FLIGHTS.encode()).hexdigest(),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=tmp_path,
        env=here,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == loaded(kept).predict(events(distance=[7.0]))["proba_True"].item()
