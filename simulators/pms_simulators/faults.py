"""Parametric faults: when, how strong, how they grow; and the catalogue of names per kind."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from pms_simulators.signals import generator

BURST_BUCKET_S = 3600.0
BURST_EPISODE_S = 120.0
EXP_START = 0.02


class Law(Protocol):
    """How a fault grows. `fraction` of the full severity, 0..1, `age_s` seconds after its onset."""

    def fraction(self, age_s: float) -> float: ...


@dataclass(frozen=True)
class Step:
    def fraction(self, age_s: float) -> float:
        return 1.0


@dataclass(frozen=True)
class Ramp:
    """Linear from 0 to full severity over `rise_s`."""

    rise_s: float

    def fraction(self, age_s: float) -> float:
        return min(1.0, age_s / self.rise_s)


@dataclass(frozen=True)
class Exponential:
    """0.02 * e^(age/tau), limited to 1."""

    tau_s: float

    def fraction(self, age_s: float) -> float:
        return min(1.0, EXP_START * math.exp(min(age_s / self.tau_s, 50.0)))


@dataclass(frozen=True)
class Burst:
    """Poisson episodes of 2 minutes at `per_day`; between them the fault is absent."""

    per_day: float
    key: int = 0
    _cache: dict[int, tuple[float, ...]] = field(
        default_factory=dict[int, tuple[float, ...]], compare=False, repr=False
    )

    def fraction(self, age_s: float) -> float:
        bucket = int(age_s // BURST_BUCKET_S)
        starts = self._cache.get(bucket)
        if starts is None:
            self._cache.clear()
            starts = self._cache[bucket] = self._episodes(bucket)
        return 1.0 if any(s <= age_s < s + BURST_EPISODE_S for s in starts) else 0.0

    def _episodes(self, bucket: int) -> tuple[float, ...]:
        rng = generator(self.key, bucket)
        gap_s = 86400.0 / self.per_day
        starts: list[float] = []
        at = rng.expovariate(1 / gap_s)
        while at < BURST_BUCKET_S - BURST_EPISODE_S:
            starts.append(bucket * BURST_BUCKET_S + at)
            at += BURST_EPISODE_S + rng.expovariate(1 / gap_s)
        return tuple(starts)


@dataclass(frozen=True)
class Fault:
    """One injected fault. Times are simulated seconds from the scenario's start."""

    name: str
    onset_s: float
    end_s: float
    severity: float
    law: Law
    pump: int = 1

    def level(self, t_s: float) -> float:
        """Severity at `t_s`, 0..1; 0 outside [onset, end)."""
        if not self.onset_s <= t_s < self.end_s:
            return 0.0
        return self.severity * self.law.fraction(t_s - self.onset_s)


class Active(NamedTuple):
    level: float
    onset_s: float
    pump: int


class Levels(dict[str, Active]):
    """The faults that act at one instant."""

    def of(self, name: str, pump: int = 0) -> float:
        """Level of a fault, 0 when absent; with `pump`, only of a fault of that pump."""
        active = self.get(name)
        if active is None or (pump and active.pump != pump):
            return 0.0
        return active.level


class _NoFault(Levels):
    def of(self, name: str, pump: int = 0) -> float:
        return 0.0


NO_FAULT: Levels = _NoFault()


class FaultPlan:
    """All faults of one asset."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.faults = tuple(faults)

    def levels(self, t_s: float) -> Levels:
        found: Levels | None = None
        for fault in self.faults:
            level = fault.level(t_s)
            if level > 0.0:
                found = Levels() if found is None else found
                if level > found.of(fault.name):
                    found[fault.name] = Active(level, fault.onset_s, fault.pump)
        return NO_FAULT if found is None else found


class Words(NamedTuple):
    zh: str
    en: str


_COMMS = Words("通信中断，设备不再应答", "Device stops answering")

CATALOGUE: dict[str, dict[str, Words]] = {
    "elevator": {
        "door_wear": Words(
            "门机磨损，开关门变慢、重开增多", "Door operator wear: slower, re-opens"
        ),
        "door_obstruction": Words("门区受阻，门关不上", "Door obstructed, held open over 120 s"),
        "level_drift": Words("平层误差逐渐增大", "Levelling error grows to 35 mm"),
        "brake_wear": Words("制动器磨损，动作变慢、制停滑移", "Brake wear: slow to act, slips"),
        "motor_overheat": Words("曳引电机过热", "Motor overheats (tau 35 min)"),
        "rope_slip": Words("曳引绳滑移", "Rope slips on the sheave"),
        "guide_wear": Words("导靴磨损，轿厢振动", "Guide shoe wear: car vibration"),
        "lock_intermittent": Words("门锁回路偶发断开", "Door lock circuit opens while running"),
        "entrapment": Words("困人：停在层间且轿内有人", "Entrapment between floors"),
        "power_loss": Words("市电中断，应急平层", "Mains lost, rescue drive to a floor"),
        "uncontrolled_move": Words("开门走梯（轿厢意外移动）", "Car moves with open doors"),
        "comms_loss": _COMMS,
    },
    "booster_set": {
        "cavitation": Words("气蚀：进水压力低、高频振动", "Cavitation: low inlet, HF vibration"),
        "bearing": Words("轴承劣化：先高频、后振动与温升", "Bearing decay: HF g, then mm/s, heat"),
        "clogging": Words("叶轮/管路堵塞，频率升高", "Clogging: frequency rises at same flow"),
        "dry_run": Words("缺水干转", "Dry running"),
        "short_cycling": Words("气压罐失气，频繁启停", "Vessel lost its air: short cycling"),
        "phase_unbalance": Words("三相不平衡", "Phase unbalance"),
        "sensor_stuck": Words("出口压力传感器卡死", "Outlet pressure sensor stuck"),
        "pipe_burst": Words("管道爆裂", "Pipe burst"),
        "impeller_wear": Words(
            "叶轮磨损，扬程下降、电耗升高", "Impeller wear: less head, more energy"
        ),
        "check_valve": Words(
            "止回阀不严，备用泵倒流", "Check valve leaks back through a standing pump"
        ),
        "seal_leak": Words("机械密封漏水", "Mechanical seal leaks onto the floor"),
        "sensor_open": Words("出口压力信号断线", "Outlet pressure signal lost"),
        "pressure_drift": Words("压力传感器漂移", "Outlet pressure sensor drifts"),
        "comms_loss": _COMMS,
    },
    "fire_pump": {
        "fail_to_start": Words("消防主泵拒启动", "Main fire pump does not start"),
        "left_in_manual": Words("控制柜停在手动位", "Controller left in manual"),
        "weak_battery": Words("柴油机电瓶亏电", "Weak diesel starting battery"),
        "suction_valve_closed": Words("吸水阀关闭", "Suction valve closed"),
        "jockey_short_cycling": Words("稳压泵频繁启动", "Jockey pump short cycling"),
        "tank_low": Words("消防水池水位下降", "Fire pool level falls"),
        "phase_loss": Words("主电缺相", "Mains phase lost"),
        "churn_loss": Words("主泵磨损，零流量压力下降", "Main pump worn: churn pressure falls"),
        "bearing": Words("主泵轴承劣化", "Main pump bearing decays"),
        "comms_loss": _COMMS,
    },
    "drainage_pump": {
        "ragging": Words("叶轮缠绕，电流升高、排水变慢", "Ragging: current up, slow to empty"),
        "seal_leak": Words("机械密封渗水", "Mechanical seal leaks"),
        "check_valve": Words("止回阀失效，停泵倒转", "Check valve fails: backspin on stop"),
        "high_inflow": Words("来水过大，排水跟不上", "Inflow above pumping capacity"),
        "sensor_stuck": Words("液位传感器卡死", "Level sensor stuck"),
        "dry_run": Words("水泵气缚，抽不出水", "Air-bound pump moves no water"),
        "winding_overheat": Words("绕组过热", "Winding overheats"),
        "comms_loss": _COMMS,
    },
    "fire_panel": {
        "fire_alarm": Words("火警，第二只探测器确认", "Fire alarm, confirmed by a second device"),
        "false_alarm": Words("单只探测器误报", "False alarm of one detector"),
        "device_fault": Words("部件故障", "Device fault"),
        "ground_fault": Words("接地绝缘下降", "Ground fault: insulation falls"),
        "loop_open": Words("回路开路", "Loop open circuit"),
        "loop_short": Words("回路短路，隔离器动作", "Loop short circuit, isolators drop"),
        "battery_low": Words("备电老化、电压低", "Battery aged, voltage low"),
        "mains_fail": Words("主电故障", "Mains failure"),
        "valve_closed": Words("信号阀关闭", "Monitored valve closed"),
        "manual_mode": Words("联动停在手动", "Linkage left in manual"),
        "points_disabled": Words("点位被屏蔽", "Points disabled"),
        "network_loss": Words("传输装置离线，心跳超时", "Transmitter offline, heartbeat ages"),
        "detector_dirty": Words("探测器污染", "Detectors dirty"),
        "comms_loss": _COMMS,
    },
    "replay": {"comms_loss": _COMMS},
}
PUMPS = {"booster_set": 3, "drainage_pump": 2}
