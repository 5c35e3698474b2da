"""Models of assets are fitted from stored history, in the background, without stopping the stream.

A thread of its own and of low priority reads the sample store slice by slice, lets a model of the same
spec learn from it, and gives what it learned to the running detector with the sample time from which
it holds. It is kept in the core store before that, so that a restart continues with the same one.
"""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from pms_iot.detection.asset_model import AssetModel
from pms_iot.detection.detectors import Detectors
from pms_iot.detection.model import Key
from pms_iot.detection.model_file import Learned
from pms_iot.kernel.clock import Clock
from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import StoreUnavailableError
from pms_iot.kernel.snapshots import State, load_snapshot, save_snapshots
from pms_iot.telemetry.counters import Counters
from pms_iot.telemetry.store import SampleStore

log = structlog.get_logger()

S = 1_000_000_000
SLICE_NS = 3600 * S
AT_ONCE = 32  # assets that are fitted together: one slice of them fits into memory
LEAD_NS = 60 * S  # a model holds from so far ahead that it is kept by then
LOOK_S = 600.0  # between two looks at what has no model
_NICE = 10
AWAY = (StoreUnavailableError, OperationalError)


@dataclass
class ModelFitting:
    """Fits what has no model yet. days: how much history it reads."""

    detectors: Detectors
    store: SampleStore
    engine: Engine
    clock: Clock
    counters: Counters
    lock: threading.Lock  # held while the detectors change
    days: float
    _stopping: threading.Event = field(default_factory=threading.Event)
    _tried: set[tuple[Key, str]] = field(default_factory=set[tuple[Key, str]])
    _thread: threading.Thread | None = None

    # -- from other threads ------------------------------------------------------------------

    def resume(self) -> None:
        """Gives the kept models to the detectors; called before the stream is replayed."""
        with transaction(self.engine) as session:
            for key, model in self.detectors.models.of().items():
                for asset in model.watched:
                    name = _name(key, asset.asset)
                    content = load_snapshot(session, name, self.detectors.config_hash)
                    if content is not None:
                        self._offer(key, asset.asset, content)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="model-fitting", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends within a slice."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    # -- in its own thread ---------------------------------------------------------------------

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while not self._stopping.is_set():
            try:
                self.fit_due()
            except AWAY as problem:
                log.warning("models wait for a store", problem=str(problem))
            except Exception:  # supervisor: detection goes on with the models that it has
                log.exception("fitting of models failed")
                self.counters.add("models_failed")
            self._stopping.wait(LOOK_S)

    def fit_due(self) -> int:
        """Fits all that is due now; returns how many assets got a model. Raises one of AWAY."""
        fitted = 0
        for key, model in self.detectors.models.of().items():
            with self.lock:
                due = [a for a in model.unfitted() if (key, a) not in self._tried]
            for start in range(0, len(due), AT_ONCE):
                fitted += self._fit(key, model, due[start : start + AT_ONCE])
        return fitted

    def _fit(self, key: Key, model: AssetModel, assets: Sequence[str]) -> int:
        watched = [asset for asset in model.watched if asset.asset in assets]
        learner = AssetModel(model.spec, watched)
        series = sorted({number for asset in watched for number in asset.inputs if number >= 0})
        end_ns = self.clock.now_ns()
        for start_ns in range(end_ns - int(self.days * 86_400 * S), end_ns, SLICE_NS):
            if self._stopping.is_set():
                return 0
            stop_ns = min(start_ns + SLICE_NS, end_ns)
            batch = self.store.read_many(series, start_ns, stop_ns)
            usable = batch.take(batch.quality > 0)
            learner.update(usable.take(np.isfinite(usable.value)))
        holds_from_ns = self.clock.now_ns() + LEAD_NS
        learner.fit_now()
        found = [learned for a in assets if (learned := learner.learned(a, holds_from_ns))]
        self._tried |= {(key, asset) for asset in assets}
        self._keep(key, found)
        self.counters.add("models_fitted", len(found))
        log.info("models fitted", model="/".join(key), assets=len(assets), fitted=len(found))
        return len(found)

    def _keep(self, key: Key, found: Sequence[Learned]) -> None:
        """First into the core store, then to the detectors, between two batches."""
        config_hash = self.detectors.config_hash
        states = {_name(key, one.asset): State(config_hash, one.pack()) for one in found}
        save_snapshots(self.engine, self.clock.now(), states)
        with self.lock:
            for one in found:
                self.detectors.models.offer(key, one)

    def _offer(self, key: Key, asset: str, content: bytes) -> None:
        """A damaged one is counted and left out: the asset is fitted again."""
        try:
            self.detectors.models.offer(key, Learned.unpack(content))
        except ValueError:
            self.counters.add("models_damaged")
            log.warning("model is damaged", model="/".join(key), asset=asset)


def _name(key: Key, asset: str) -> str:
    return f"model.{key[0]}.{key[1]}.{asset}"
