"""From decoded values of one device to lines in the two lanes."""

from collections.abc import Callable, Sequence

from pms_edge.batch import Batcher
from pms_edge.config.load import Device
from pms_edge.counters import Counters
from pms_edge.deadband import Deadband, Sent
from pms_edge.decode.decoder import BAD, GOOD, Decoded, Part, Raw, conversion, is_sample
from pms_edge.health import DeviceHealth
from pms_edge.line import Line, LineTemplate, bad_line, render_mixed, series_head
from pms_edge.profiles.points import Point


class BlockTemplate(LineTemplate):
    """How the values of one block become lines: its sampled points, events and deadbands."""

    def __init__(self, head: str, points: Sequence[Point], sent: dict[str, Sent]) -> None:
        self.samples = tuple(p for p in points if is_sample(p))
        super().__init__(head, [p.name for p in self.samples])
        self.events = tuple(i for i, p in enumerate(self.samples) if p.event)
        filtered = any(p.deadband is not None for p in self.samples)
        self.deadband = Deadband(self.samples, sent) if filtered else None


class DeviceFeed:
    """Everything that one device sends on; used from one thread.

    `nameplate` holds the texts that the device gave; `renamed` is called when one has changed.
    """

    def __init__(self, device: Device, batcher: Batcher, counters: Counters | None = None) -> None:
        self.device = device
        self.health = DeviceHealth()
        self.head = series_head(device.profile.kind, site=device.site, asset=device.id)
        self.nameplate: dict[str, str] = {}
        self.renamed: Callable[[], None] = _nobody
        self._batcher = batcher
        self._counters = counters or Counters()
        self._seen: dict[str, Raw] = {}
        self._sent: dict[str, Sent] = {}
        self._totals: dict[str, Total] = {}

    def template(self, points: Sequence[Point]) -> BlockTemplate:
        return BlockTemplate(self.head, points, self._sent)

    def send(
        self, points: Sequence[Point], template: BlockTemplate, decoded: Decoded, at_ns: int
    ) -> None:
        """Values read at `at_ns`; those of event points that changed also go out at once."""
        if template.deadband:
            self._send_moved(template, template.deadband, decoded, at_ns)
        elif template.names:
            self._batcher.add(template.render(decoded, at_ns))
        changed = [i for i in template.events if self._changed(template.names[i], i, decoded)]
        if changed:
            self._batcher.add_event(self._some(template, decoded, changed, at_ns))
        if decoded.extra:
            self._identify(decoded.extra.texts)
            for part in decoded.extra.parts:
                self._count(part, at_ns)

    def send_bad(self, names: Sequence[str], at_ns: int) -> None:
        """The points that could not be read, strings aside: they are no samples."""
        for name in names:
            self._sent.pop(name, None)
        texts = {p.name for p in self.device.profile.points if p.type == "string"}
        sampled = [name for name in dict.fromkeys(names) if name not in texts]
        if sampled:
            self._batcher.add(bad_line(self.head, sampled, at_ns))

    def _send_moved(
        self, template: BlockTemplate, deadband: Deadband, decoded: Decoded, at_ns: int
    ) -> None:
        passing = deadband.passing(decoded.values, decoded.qualities, at_ns)
        held = len(template.names) - len(passing)
        if held:
            self._counters.add("suppressed_by_deadband", held)
        if passing:
            whole = template.render(decoded, at_ns) if not held else None
            self._batcher.add(whole or self._some(template, decoded, passing, at_ns))

    def _some(
        self, template: BlockTemplate, decoded: Decoded, picked: Sequence[int], at_ns: int
    ) -> Line:
        names = [template.names[i] for i in picked]
        qualities = decoded.qualities and [decoded.qualities[i] for i in picked]
        values = Decoded([decoded.values[i] for i in picked], qualities)
        return render_mixed(self.head, names, values, at_ns)

    def _changed(self, name: str, index: int, decoded: Decoded) -> bool:
        """Against the last readable value; the first one after start is not a change."""
        quality = decoded.qualities[index] if decoded.qualities else GOOD
        if quality == BAD:
            return False
        value = decoded.values[index]
        before = self._seen.get(name, value)
        self._seen[name] = value
        return before != value

    def _identify(self, texts: dict[str, str | None]) -> None:
        """A text that cannot be decoded leaves what was known of it as it was."""
        new = {n: t for n, t in texts.items() if t is not None and self.nameplate.get(n) != t}
        undecodable = sum(text is None for text in texts.values())
        if undecodable:
            self._counters.add("undecodable_texts", undecodable)
        if new:
            self.nameplate = {**self.nameplate, **new}
            self.renamed()

    def _count(self, part: Part, at_ns: int) -> None:
        """Sends a split count once each of its parts has been read anew."""
        name = part.point.name
        total = self._totals.get(name)
        if total is None:
            total = self._totals[name] = Total(part.point, self.template([whole(part.point)]))
        matched = total.add(part)
        if matched is not None:
            value, quality = total.convert(matched)
            decoded = Decoded([value], None if quality == GOOD else [quality])
            self.send(total.template.samples, total.template, decoded, at_ns)


class Total:
    """A count that is read in parts."""

    def __init__(self, point: Point, template: BlockTemplate) -> None:
        self.template = template
        self.convert = conversion(point)
        self._read: dict[int, int] = {}

    def add(self, part: Part) -> int | None:
        """The sum, when this was the last part of a round."""
        self._read[part.point.parts[0]] = part.matched
        if len(self._read) < part.point.parts[1]:
            return None
        matched = sum(self._read.values())
        self._read.clear()
        return matched


def whole(part: Point) -> Point:
    """A part as the point of which it is one."""
    return part._replace(parts=(0, 1))


def _nobody() -> None:
    return None
