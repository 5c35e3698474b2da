"""`pms-edge import-points`: a profile out of a vendor's point table."""

import argparse
import re
import sys
from pathlib import Path
from typing import get_args

from pms_edge.config.located import Mistake
from pms_edge.import_points.profile import Identity, check_points, profile_text
from pms_edge.import_points.rows import Import, Imported, Options, read_rows
from pms_edge.import_points.table import UnreadableError, read_table
from pms_edge.profiles.points import Confidence, Kind, Order, PointType


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", type=Path, metavar="TABLE.csv|xlsx")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PROFILE.yaml")
    parser.add_argument("--measurement", required=True, help="kind of equipment 设备类别")
    parser.add_argument("--profile", help="its id; else of the table's file name 点表标识")
    parser.add_argument("--kind", choices=get_args(Kind), default="holding")
    parser.add_argument("--base", type=int, choices=(0, 1), default=0, help="first plain address")
    parser.add_argument("--addresses", choices=("auto", "modicon", "plain"), default="auto")
    parser.add_argument("--type", choices=get_args(PointType), help="of rows without one")
    parser.add_argument("--order", choices=get_args(Order), help="of rows without one")
    parser.add_argument("--confidence", choices=get_args(Confidence), default="transcribed")
    parser.add_argument("--sheet", help="of an .xlsx file 工作表")
    parser.add_argument("--keep-going", action="store_true", help="leave bad rows out 跳过错行")
    parser.add_argument("--force", action="store_true", help="overwrite 覆盖")


def run(options: argparse.Namespace) -> int:
    """0 written, 1 with bad rows (written without them when asked to keep going) or not at all."""
    if options.output.exists() and not options.force:
        return _refuse(f"{options.output}: exists (--force overwrites it)")
    try:
        table = read_table(options.table, options.sheet)
    except UnreadableError as error:
        return _refuse(f"{options.table}: {error}")
    given = Options(options.kind, options.base, options.type, options.order, options.addresses)
    found = read_rows(str(options.table), table, given)
    points, others = settle(str(options.table), found, identity := _identity(options))
    for line in [*found.left_out, *_sorted(found.mistakes), *others]:
        print(line)
    written = bool(points) and not others and (options.keep_going or not found.mistakes)
    if written:
        options.output.write_text(profile_text(points, identity), "utf-8")
    _summary(found, points, options.output if written else None)
    return 0 if written and not found.mistakes else 1


def settle(file: str, found: Import, identity: Identity) -> tuple[list[Imported], list[Mistake]]:
    """The points that make a correct profile; mistakes of the others are added to `found`."""
    points = found.points
    while True:
        rows, others = check_points(file, points, identity)
        if not rows:
            return points, others
        found.mistakes += rows
        bad = {mistake.line for mistake in rows}
        points = [point for point in points if point.row not in bad]


def _identity(options: argparse.Namespace) -> Identity:
    stem = re.sub(r"[^a-z0-9]+", "_", options.table.stem.lower()).strip("_")
    profile = options.profile or f"{stem}.v1"
    return Identity(
        profile, options.measurement, f"imported from {options.table.name}", options.confidence
    )


def _summary(found: Import, points: list[Imported], output: Path | None) -> None:
    if found.modicon:
        print("addresses taken as 40001-style references 地址按 40001 方式理解")
    count = f"{len(points)} point(s) 个测点, {len(set(found.mistakes))} mistake(s) 处错误"
    print(f"{output}: {count}" if output else f"nothing written 未写入: {count}")


def _sorted(mistakes: list[Mistake]) -> list[Mistake]:
    return sorted(set(mistakes), key=lambda m: (m.line, m.path))


def _refuse(text: str) -> int:
    print(text, file=sys.stderr)
    return 1
