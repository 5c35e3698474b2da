"""What people say of the detectors' alarms, on its way to the detectors; and how many alarms they may raise.

Work orders and alerts write it, in their own transactions and in whatever process; the main path
takes it (docs/detection/rate-control.md).
"""
