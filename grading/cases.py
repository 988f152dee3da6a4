"""Finds the tests: pairs `name.input` and `name.output` under a folder, with their points and visibility."""

from __future__ import annotations

import fnmatch
import json
import math
import os
from dataclasses import dataclass

VISIBILITIES = ("visible", "hidden", "after_due_date", "after_published")


class UsageError(Exception):
    """Something that the caller has to put right before anything can run; exit status 2."""


@dataclass
class Case:
    """One test."""

    name: str
    path: str  # of the input, without its ending
    script: str
    expected: str
    points: float = 1.0
    visibility: str = "visible"


def find_cases(folder: str) -> list[Case]:
    """All tests under `folder`, in the order of their names, with the points file beside them applied."""
    if not os.path.isdir(folder):
        raise UsageError(f"{folder}: no such folder of tests (give one with --tests)")
    endings: dict[str, set[str]] = {}
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in files:
            stem, ending = os.path.splitext(os.path.join(parent, file))
            if ending in (".input", ".output"):
                endings.setdefault(stem, set()).add(ending)
    halves = []
    for stem, found in sorted(endings.items()):
        for ending in (".input", ".output"):
            if ending not in found:
                other = stem + (".output" if ending == ".input" else ".input")
                halves.append(f"{other} has no {os.path.basename(stem)}{ending} beside it")
    if halves:
        raise UsageError("; ".join(halves) + " (a test is a pair; add the missing half or remove the other)")
    cases = [_read(stem, os.path.relpath(stem, folder)) for stem in endings]
    cases.sort(key=lambda case: case.name)
    _apply_points(cases, folder)
    return cases


def _read(stem: str, name: str) -> Case:
    texts = []
    for ending in (".input", ".output"):
        try:
            # Line ends stay as they are: a difference in them is a difference.
            with open(stem + ending, encoding="utf-8", errors="surrogateescape", newline="") as file:
                texts.append(file.read())
        except OSError as error:
            raise UsageError(f"{stem}{ending}: {error.strerror}") from error
    return Case(name.replace(os.sep, "/"), stem, *texts)


def select(cases: list[Case], patterns: list[str]) -> list[Case]:
    """Those that one of the patterns names: a whole name selects just this test, else a glob or a part of names."""
    if not patterns:
        return cases
    chosen: set[str] = set()
    for pattern in patterns:
        names = [case.name for case in cases if _matches(case.name, pattern)]
        if pattern in names:
            names = [pattern]
        if not names:
            raise UsageError(f"-k {pattern}: no test of that name (--list shows all)")
        chosen.update(names)
    return [case for case in cases if case.name in chosen]


def _matches(name: str, pattern: str) -> bool:
    if any(character in pattern for character in "*?["):
        return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(os.path.basename(name), pattern)
    return pattern in name


def _apply_points(cases: list[Case], folder: str) -> None:
    paths = [
        path for name in ("points.toml", "points.json") if os.path.exists(path := os.path.join(folder, name))
    ]
    if len(paths) > 1:
        raise UsageError(f"{paths[0]} and {paths[1]}: keep one of them")
    if not paths:
        return
    tables = _load(paths[0])
    unknown = set(tables) - {"points", "visibility"}
    if unknown:
        raise UsageError(f"{paths[0]}: unknown table {min(unknown)!r} (there are points and visibility)")
    for name, value in _table(tables, "points", paths[0]).items():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or value < 0:
            raise UsageError(f"{paths[0]}: points of {name!r} must be a number, zero or more")
        for case in _named(cases, name, paths[0], "points", tables):
            case.points = float(value)
    for name, value in _table(tables, "visibility", paths[0]).items():
        if value not in VISIBILITIES:
            raise UsageError(f"{paths[0]}: visibility of {name!r} must be one of {', '.join(VISIBILITIES)}")
        for case in _named(cases, name, paths[0], "visibility", tables):
            case.visibility = value


def _load(path: str) -> dict:
    try:
        if path.endswith(".toml"):
            try:
                import tomllib
            except ImportError:
                raise UsageError(
                    f"{path}: reading TOML needs Python 3.11; write it as points.json instead"
                ) from None
            with open(path, "rb") as file:
                loaded = tomllib.load(file)
        else:
            with open(path, encoding="utf-8") as file:
                loaded = json.load(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error
    if not isinstance(loaded, dict):
        raise UsageError(f'{path}: expected {{"points": {{"name": number}}}}')
    return loaded


def _table(tables: dict, name: str, path: str) -> dict:
    table = tables.get(name, {})
    if not isinstance(table, dict):
        raise UsageError(f"{path}: {name} must be a table from names to values")
    return table


def _named(cases: list[Case], name: str, path: str, table: str, tables: dict) -> list[Case]:
    """The tests that an entry means. A whole name has the last word over globs, a later glob over an earlier one."""
    whole = [case for case in cases if case.name == name]
    found = whole or [case for case in cases if fnmatch.fnmatchcase(case.name, name)]
    if not found:
        raise UsageError(f"{path}: {table} of {name!r}: no test has that name")
    return whole or [case for case in found if case.name not in tables[table]]
