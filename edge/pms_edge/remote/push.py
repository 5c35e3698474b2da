"""Configuration pushed from the engine: verified, checked, tried, and taken back if it cuts us off."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from pms_edge.config.check import check_goldens
from pms_edge.config.load import Config, load_config
from pms_edge.config.located import ConfigError, Mistake
from pms_edge.counters import Counters
from pms_edge.logs import kv
from pms_edge.remote.generations import Generations
from pms_edge.remote.signed import Nanoseconds, RefusedMessageError, Signed, read_signed

log = logging.getLogger(__name__)

MAX_FILES = 64
MAX_MISTAKES = 50
FUTURE_NS = 300 * 1_000_000_000  # a message from later than this would shut out all that follow
LOOK_S = 0.2

# No folder but `profiles`, no letters that a file system may fold.
FileName = Annotated[
    str, Field(pattern=r"^(gateway|profiles/[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*)\.yaml$")
]


class Desired(Signed):
    """Payload of `cfg/desired`: the gateway file and the profiles that it adds, as text."""

    issued_ns: Nanoseconds
    files: dict[FileName, str] = Field(min_length=1, max_length=MAX_FILES)


class ConfigPush:
    """Follows `cfg/desired`; answers on `cfg/reported`.

    The newest message waits, an older one that nobody has looked at yet is dropped.
    """

    def __init__(
        self,
        generations: Generations,
        config: Config,
        *,
        now_ns: Callable[[], int],
        clock_uncertain: Callable[[], bool],
        confirmed: Callable[[], bool],
        report: Callable[[Mapping[str, Any]], None],
        counters: Counters,
    ) -> None:
        self._generations, self._config = generations, config
        self._now_ns, self._clock_uncertain = now_ns, clock_uncertain
        self._confirmed, self._report, self._counters = confirmed, report, counters
        self._offered: deque[bytes] = deque(maxlen=1)
        self._waiting: bytes | None = None  # for the clock
        self._topic = f"pms/v1/{config.site}/{config.gateway}/cfg/desired"

    def offer(self, body: bytes) -> None:
        """A message of `cfg/desired`, from any thread."""
        self._offered.append(body)

    async def run(self) -> None:
        """Returns when the process has to start again, with other files. Raises OSError."""
        if self._generations.state.reported:
            self._say(self._generations.state.reported)
        if self._generations.on_trial and not await self._trial():
            return
        while True:
            await asyncio.sleep(LOOK_S)
            body = self._next()
            if body is None:
                continue
            # Checking reads every profile; it must not hold up the polls.
            if await asyncio.to_thread(self._take, body):
                return

    def _next(self) -> bytes | None:
        if self._offered:
            self._waiting = None
            return self._offered.popleft()
        if self._waiting is None or self._clock_uncertain():
            return None
        body, self._waiting = self._waiting, None
        return body

    async def _trial(self) -> bool:
        """Whether the broker granted our subscriptions in time."""
        trial_s = self._config.push.trial if self._config.push else 0
        try:
            async with asyncio.timeout(trial_s):
                while not self._confirmed():
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            self._generations.roll_back(f"the uplink was not up within {trial_s:g} s")
            return False
        report = {"id": self._generations.state.id, "status": "applied"}
        self._generations.confirm(report)
        log.info("configuration applied", extra=kv(id=report["id"], hash=self._config.hash))
        self._say(report)
        return True

    def _take(self, body: bytes) -> bool:
        """Deals with one message; whether a new configuration is ready for its trial."""
        try:
            desired = self._verified(body)
        except RefusedMessageError as refusal:
            self._refuse(refusal)
            return False
        if desired is None:
            return False
        try:
            place = self._checked(desired)
        except RefusedMessageError as refusal:
            report = self._refuse(refusal)
            self._generations.dealt_with(desired.id, desired.issued_ns, report)
            return False
        self._generations.try_next(place, desired.id, desired.issued_ns)
        log.info("trying a new configuration", extra=kv(id=desired.id))
        return True

    def _verified(self, body: bytes) -> Desired | None:
        """None: dealt with before (the broker keeps the message and sends it on each connection)."""
        key = self._config.push.key if self._config.push else None
        desired = read_signed(Desired, body, topic=self._topic, key=key)
        done, now_ns = self._generations.state, self._now_ns()
        if (desired.id, desired.issued_ns) == (done.id, done.issued_ns):
            return None
        if desired.issued_ns <= done.issued_ns:
            raise RefusedMessageError("replayed", f"not newer than {done.id}", id=desired.id)
        if self._clock_uncertain():
            self._waiting = body
            raise RefusedMessageError("clock_uncertain", "cannot tell its age yet", id=desired.id)
        if desired.expires_ns <= now_ns:
            raise RefusedMessageError(
                "expired", f"by this gateway's clock, {now_ns}", id=desired.id
            )
        if desired.issued_ns > now_ns + FUTURE_NS:
            raise RefusedMessageError("from_the_future", f"it is {now_ns} here", id=desired.id)
        return desired

    def _checked(self, desired: Desired) -> Path:
        """The staged configuration, without a mistake."""
        if "gateway.yaml" not in desired.files:
            raise RefusedMessageError("mistakes", "files: has no gateway.yaml", id=desired.id)
        name = f"{desired.issued_ns}-{desired.id}"
        try:
            place = self._generations.stage(name, desired.files)
        except OSError as error:
            raise RefusedMessageError("not_stored", str(error.strerror), id=desired.id) from error
        mistakes = mistakes_of(self._generations.gateway_file, place)
        if mistakes:
            self._generations.discard(place)
            raise RefusedMessageError("mistakes", "\n".join(mistakes), id=desired.id)
        return place

    def _refuse(self, refusal: RefusedMessageError) -> dict[str, Any]:
        self._counters.complain(log, "config_refused", place=refusal.reason, id=refusal.id)
        report: dict[str, Any] = {"id": refusal.id, "status": "refused", "reason": refusal.reason}
        lines = refusal.detail.splitlines()
        if refusal.reason == "mistakes":
            report |= {"mistakes": lines[:MAX_MISTAKES], "count": len(lines)}
        else:
            report |= {"detail": refusal.detail}
        self._say(report)
        return report

    def _say(self, report: Mapping[str, Any]) -> None:
        self._report({**report, "config_hash": self._config.hash, "at_ns": self._now_ns()})


def mistakes_of(gateway_file: Path, place: Path) -> list[str]:
    """What `pms-edge check` finds, with the files named as the engine named them."""
    try:
        config = load_config(gateway_file, pushed=place)
        profiles = {device.profile.id: device.profile for device in config.devices}
        found = [mistake for profile in profiles.values() for mistake in check_goldens(profile)]
    except ConfigError as error:
        found = error.mistakes
    return [_as_pushed(mistake, place) for mistake in dict.fromkeys(found)]


def _as_pushed(mistake: Mistake, place: Path) -> str:
    return str(mistake).replace(f"{place}/", "")
