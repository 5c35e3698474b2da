"""From decoded values of one device to lines in the two lanes."""

from collections.abc import Sequence

from pms_edge.batch import Batcher
from pms_edge.config import Device
from pms_edge.decode import BAD, GOOD, Decoded, Raw
from pms_edge.health import DeviceHealth
from pms_edge.line import LineTemplate, bad_line, render_mixed, series_head
from pms_edge.profiles import Point


class DeviceFeed:
    """Everything that one device sends on; used from one thread."""

    def __init__(self, device: Device, batcher: Batcher) -> None:
        self.device = device
        self.health = DeviceHealth()
        self.head = series_head(device.profile.kind, site=device.site, asset=device.id)
        self._batcher = batcher
        self._seen: dict[str, Raw] = {}

    def template(self, points: Sequence[Point]) -> LineTemplate:
        return LineTemplate(self.head, [point.name for point in points])

    def send(
        self, points: Sequence[Point], template: LineTemplate, decoded: Decoded, at_ns: int
    ) -> None:
        """Values read at `at_ns`; those of event points that changed also go out at once."""
        self._batcher.add(template.render(decoded, at_ns))
        changed = [i for i, p in enumerate(points) if p.event and self._changed(p, i, decoded)]
        if changed:
            names = [points[i].name for i in changed]
            qualities = decoded.qualities and [decoded.qualities[i] for i in changed]
            values = Decoded([decoded.values[i] for i in changed], qualities)
            self._batcher.add_event(render_mixed(self.head, names, values, at_ns))

    def send_bad(self, names: Sequence[str], at_ns: int) -> None:
        self._batcher.add(bad_line(self.head, names, at_ns))

    def _changed(self, point: Point, index: int, decoded: Decoded) -> bool:
        """Against the last readable value; the first one after start is not a change."""
        quality = decoded.qualities[index] if decoded.qualities else GOOD
        if quality == BAD:
            return False
        value = decoded.values[index]
        before = self._seen.get(point.name, value)
        self._seen[point.name] = value
        return before != value
