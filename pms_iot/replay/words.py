"""The report of a back-test: for people in their language, as JSON, as CSV."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from pms_iot.feedback.service import TRUE
from pms_iot.kernel.clock import from_ns
from pms_iot.kernel.text import Text
from pms_iot.replay.compare import Comparison, OrderLine
from pms_iot.replay.run import Replayed, Window

_HEAD = (
    Text("规则", "rule"),
    Text("级别", "severity"),
    Text("次数", "count"),
    Text("每台每月", "per asset-month"),
    Text("首次", "first"),
    Text("末次", "last"),
    Text("持续中位数", "median duration"),
    Text("真故障", "true"),
    Text("误报", "false"),
    Text("无结论", "no verdict"),
    Text("新增", "new"),
    Text("相同", "same"),
    Text("消失", "gone"),
    Text("名称", "name"),
)
_OUTCOME = {
    "true_fault": Text("真故障", "true fault"),
    "sensor_fault": Text("传感器故障", "sensor fault"),
    "false_alarm": Text("误报", "false alarm"),
    "no_fault_found": Text("未发现故障", "no fault found"),
}
_UNITS = ((86_400.0, Text("天", "d")), (3600.0, Text("小时", "h")), (60.0, Text("分", "min")))


@dataclass(frozen=True, slots=True)
class Report:
    """labels: rule id -> its name."""

    window: Window
    replayed: Replayed
    found: Comparison
    labels: Mapping[str, Text]


def as_text(report: Report, language: str) -> str:
    """A table of rules, then what is known of orders, then where samples are missing."""

    def say(zh: str, en: str) -> str:
        return Text(zh, en).to(language)

    done, found, window = report.replayed, report.found, report.window
    new = sum(line.new for line in found.rules)
    same = sum(line.same for line in found.rules)
    gone = sum(line.gone for line in found.rules)
    lines = [
        say(
            f"{_time(window.start_ns)} 至 {_time(window.end_ns)}（UTC），自 {_time(window.learn_ns)} 起学习；"
            f"{len(done.assets)} 台设备，{done.samples:,} 个样本",
            f"{_time(window.start_ns)} to {_time(window.end_ns)} (UTC), learned from {_time(window.learn_ns)} on; "
            f"{len(done.assets)} assets, {done.samples:,} samples",
        ),
        say(
            f"会触发 {len(done.fired)} 次告警：与实际相同 {same}，新增 {new}；实际有而回放没有 {gone}",
            f"{len(done.fired)} alerts would have fired: {same} as in reality, {new} new; {gone} of reality are gone",
        ),
        "",
        *_table([_head(language), *_rule_rows(report, language)]),
    ]
    if found.orders:
        lead = "–" if found.median_lead_s is None else _span(found.median_lead_s, language)
        lines += [
            "",
            say(
                f"确认的故障：命中 {found.hit}，漏掉 {found.missed}，提前量中位数 {lead}；"
                f"误报工单：重复 {found.repeated}，避免 {found.avoided}",
                f"confirmed faults: {found.hit} hit, {found.missed} missed, median lead {lead}; "
                f"orders for nothing: {found.repeated} repeated, {found.avoided} avoided",
            ),
            *(_order(order, language) for order in found.orders),
        ]
    return "\n".join([*lines, *_missing(report, language)])


def _head(language: str) -> list[str]:
    return [word.to(language) for word in _HEAD]


def _rule_rows(report: Report, language: str) -> Iterable[list[str]]:
    for line in report.found.rules:
        label = report.labels.get(line.rule)
        yield [
            line.rule,
            line.severity or "–",
            str(line.count),
            f"{line.per_asset_month:.2f}",
            _time(line.first_ns),
            _time(line.last_ns),
            _span(line.median_s, language),
            *map(str, (line.true, line.false, line.unjudged, line.new, line.same, line.gone)),
            label.to(language) if label else "",
        ]


def _order(order: OrderLine, language: str) -> str:
    outcome = _OUTCOME[order.outcome].to(language) if order.outcome in _OUTCOME else order.outcome
    head = f"  #{order.order} {order.asset} {_time(order.opened_ns)} {outcome}" + Text(
        "：", ": "
    ).to(language)
    if order.rule is not None and order.lead_s is not None:
        ahead = order.lead_s >= 0
        span = _span(abs(order.lead_s), language)
        zh = f"{order.rule}，比工单{'早' if ahead else '晚'} {span}"
        return head + Text(zh, f"{order.rule}, {span} {'before' if ahead else 'after'} it").to(
            language
        )
    if order.outcome not in TRUE:
        return head + Text("不再触发", "does not fire any more").to(language)
    if order.other:
        other = Text("漏掉（该设备有其他告警）", "missed (something else fired on the asset)")
        return head + other.to(language)
    return head + Text("漏掉", "missed").to(language)


def _missing(report: Report, language: str) -> list[str]:
    """Where samples begin after the time from which they are wanted, or are not there at all."""
    done, window = report.replayed, report.window
    late = {a: at for a, at in done.samples_from.items() if at > window.start_ns + 3600 * 10**9}
    unlearnt = [a for a, at in done.samples_from.items() if at > window.learn_ns + 3600 * 10**9]
    none = [asset for asset in done.assets if asset not in done.samples_from]
    lines: list[str] = []
    if unlearnt:
        oldest = min(done.samples_from[a] for a in unlearnt)
        zh = f"{len(unlearnt)} 台设备的样本晚于学习起点（最早 {_time(oldest)}），检测器学到的更少"
        en = f"{len(unlearnt)} assets have no samples from the beginning (the earliest from {_time(oldest)} on); detectors learned less"
        lines.append(Text(zh, en).to(language))
    for asset, at in sorted(late.items()):
        zh, en = f"  {asset}: 样本自 {_time(at)} 起", f"  {asset}: samples from {_time(at)} on"
        lines.append(Text(zh, en).to(language))
    for asset in none:
        lines.append(Text(f"  {asset}: 没有样本", f"  {asset}: no samples").to(language))
    return ["", *lines] if lines else []


def as_json(report: Report) -> str:
    """Everything, with times as ISO 8601."""
    found, window = report.found, report.window
    content = {
        "from": _iso(window.start_ns),
        "to": _iso(window.end_ns),
        "learned_from": _iso(window.learn_ns),
        "assets": list(report.replayed.assets),
        "samples": report.replayed.samples,
        "samples_from": {a: _iso(at) for a, at in report.replayed.samples_from.items()},
        **{key: _plain(value) for key, value in asdict(found).items()},
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2).decode()


def _plain(value: Any) -> Any:
    """Nanoseconds `x_ns` become ISO instants `x`."""
    if isinstance(value, dict):
        return {
            key.removesuffix("_ns"): _iso(item) if key.endswith("_ns") else _plain(item)
            for key, item in value.items()
        }
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def as_csv(report: Report) -> str:
    """A row for each alert, of the replay or of reality only."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["status", "rule", "asset", "point", "fired", "ended", "value", "verdict", "work_order"])  # fmt: skip
    for a in report.found.alerts:
        row = [a.status, a.rule, a.asset, a.point, _iso(a.at_ns), _iso(a.ended_ns) or ""]
        writer.writerow([*row, "" if a.value is None else a.value, a.verdict, a.order or ""])
    return out.getvalue()


def _iso(at_ns: int | None) -> str | None:
    return None if at_ns is None else from_ns(at_ns).isoformat()


def _time(at_ns: int | None) -> str:
    return "–" if at_ns is None else from_ns(at_ns).strftime("%Y-%m-%d %H:%M")


def _span(span_s: float | None, language: str) -> str:
    if span_s is None:
        return "–"
    for size, word in _UNITS:
        if span_s >= 2 * size:
            return f"{span_s / size:.1f} {word.to(language)}"
    return f"{span_s:.0f} {Text('秒', 's').to(language)}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns that adjoin; numbers to the right. Chinese takes two places."""
    widths = [max(_width(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(_padded(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _padded(cell: str, width: int) -> str:
    space = " " * (width - _width(cell))
    return space + cell if cell[:1].isdigit() and "-" not in cell else cell + space


def _width(cell: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in cell)
