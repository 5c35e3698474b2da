"""Centrifugal pumps: head, power and current from flow and relative speed n (1 = 50 Hz)."""

from __future__ import annotations

import math
from dataclasses import dataclass

RHO_G = 9810.0  # N/m3, water
MPA_PER_M = RHO_G / 1e6


@dataclass(frozen=True)
class PumpCurve:
    """H = H0 n^2 - a Q^2, hence Q ~ n, H ~ n^2, P ~ n^3 along a system curve H = k Q^2.

    shutoff_m: head at Q = 0 and n = 1, m. drop: a, m per (m3/h)^2.
    best_m3h: flow of best efficiency at n = 1. efficiency: its value, 0..1.
    """

    shutoff_m: float
    drop: float
    best_m3h: float
    efficiency: float

    def head(self, flow_m3h: float, n: float) -> float:
        return self.shutoff_m * n * n - self.drop * flow_m3h * flow_m3h

    def flow(self, head_m: float, n: float) -> float:
        """m3/h against a head; 0 when the pump cannot reach it."""
        return math.sqrt(max(0.0, self.shutoff_m * n * n - head_m) / self.drop)

    def efficiency_at(self, flow_m3h: float, n: float) -> float:
        """A parabola in Q/n through the best point, never below a quarter of the best."""
        off = (flow_m3h / n - self.best_m3h) / self.best_m3h
        return self.efficiency * max(0.25, 1 - 0.9 * off * off)

    def power_kw(self, flow_m3h: float, n: float) -> float:
        """Shaft power P = rho g Q H / eta, plus disc friction that grows with n^3."""
        if n <= 0:
            return 0.0
        hydraulic = RHO_G * flow_m3h / 3600 * max(0.0, self.head(flow_m3h, n)) / 1000
        return hydraulic / self.efficiency_at(flow_m3h, n) + 0.25 * n**3


def motor_current(power_kw: float, magnetising_a: float, volts: float = 380.0) -> float:
    """Line current of an induction motor: active part by P, reactive part constant, A."""
    active = power_kw * 1000 / (math.sqrt(3) * volts * 0.9)
    return math.hypot(active, magnetising_a)
