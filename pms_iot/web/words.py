"""Names of states, with the English word as key of the catalogue."""

from pms_iot.web.i18n import N_

SEVERITY = {
    "P1": N_("Critical"),
    "P2": N_("Major"),
    "P3": N_("Minor"),
    "P4": N_("Advisory"),
}
ASSET_STATE = {
    **SEVERITY,
    "stale": N_("Stale"),
    "normal": N_("Normal"),
    "unknown": N_("Unknown"),
    "unmonitored": N_("Not monitored"),
    "off": N_("Out of service"),
}
ORDER_STATUS = {
    "new": N_("New"),
    "assigned": N_("Assigned"),
    "in_progress": N_("In progress"),
    "waiting_parts": N_("Waiting for parts"),
    "waiting_access": N_("Waiting for access"),
    "done": N_("Done, being verified"),
    "closed": N_("Closed"),
    "cancelled": N_("Cancelled"),
}
ORDER_KIND = {"corrective": N_("Repair"), "preventive": N_("Maintenance")}
OUTCOME = {
    "true_fault": N_("Fault found and repaired"),
    "false_alarm": N_("False alarm"),
    "no_fault_found": N_("No fault found"),
    "sensor_fault": N_("Sensor fault"),
    "done": N_("Work done"),
}
ITEM_RESULT = {
    "open": N_("Undecided"),
    "pass": N_("Pass"),
    "fail": N_("Fail"),
    "not_applicable": N_("n/a"),
}
OCCURRENCE_STATE = {
    "forecast": N_("Planned"),
    "predicted": N_("Predicted"),
    "open": N_("Due"),
    "done": N_("Done"),
    "skipped": N_("Skipped"),
    "missed": N_("Missed"),
}
GATEWAY_STATE = {
    "unknown": N_("Unknown"),
    "online": N_("Online"),
    "offline": N_("Offline"),
}
DISK_STATE = {
    "low": N_("Nearly full"),
    "full": N_("Reserve reached: samples are not taken, gateways keep them"),
}
GAP_CAUSE = {
    "evicted": N_("Spool over its cap"),
    "disk_full": N_("Gateway's disk full"),
    "corrupt": N_("Spool file unreadable"),
}
MISSING_CAUSE = {
    **GAP_CAUSE,
    "clock": N_("Gateway's clock"),
    "device": N_("Device did not answer"),
    "gateway": N_("Gateway down or out of reach"),
    "engine": N_("Engine not listening"),
    "unknown": N_("Unknown"),
}
AWAY = {
    "offline": N_("offline, says the broker"),
    "silent": N_("silent"),
    "restarted": N_("restarted"),
    "stopped": N_("stopped"),
    "broker": N_("broker away"),
    "store": N_("store away"),
}
HOUR_LEVEL = {
    "whole": N_("complete"),
    "short": N_("incomplete"),
    "poor": N_("less than half"),
    "none": N_("nothing came"),
    "idle": N_("nothing expected"),
}
ROLE = {
    "manager": N_("Manager"),
    "technician": N_("Technician"),
    "viewer": N_("Viewer"),
}
DOCUMENT = {
    "manual": N_("Manual"),
    "certificate": N_("Certificate"),
    "inspection_report": N_("Inspection report"),
    "warranty": N_("Warranty"),
    "drawing": N_("Drawing"),
}
ALERT_EVENT = {
    "fired": N_("Fired"),
    "resolved": N_("Cleared"),
    "acknowledged": N_("Acknowledged"),
    "shelved": N_("Shelved"),
    "unshelved": N_("Taken off the shelf"),
    "suppressed": N_("Held by the budget"),
    "released": N_("Released"),
    "accepted": N_("Taken for normal"),
    "work_order": N_("Joined to"),
}
ORDER_EVENT = {
    "open": N_("Opened"),
    "assign": N_("Assigned"),
    "take": N_("Taken"),
    "start": N_("Started"),
    "wait_parts": N_("Waiting for parts"),
    "wait_access": N_("Waiting for access"),
    "resume": N_("Resumed"),
    "finish": N_("Finished"),
    "close": N_("Closed"),
    "reopen": N_("Reopened"),
    "corrected": N_("Outcome corrected"),
    "cancel": N_("Cancelled"),
    "alert": N_("Alarm joined"),
    "recovered": N_("Telemetry recovered"),
    "escalated": N_("Priority raised"),
    "note": N_("Note"),
    "photo": N_("Photo"),
    "check": N_("Checklist"),
    "carried": N_("Also due"),
}
SKILL = {
    "lift_mechanic": N_("Lift mechanic"),
    "mechanic": N_("Mechanic"),
    "electrician": N_("Electrician"),
    "fire_operator": N_("Fire control operator"),
    "tank_cleaner": N_("Tank cleaner"),
    "water_lab": N_("Water laboratory"),
}
SPAN = {"1h": N_("1 h"), "6h": N_("6 h"), "24h": N_("24 h"), "7d": N_("7 d"), "30d": N_("30 d")}
QUALITY = {192: N_("Good"), 64: N_("Uncertain"), 0: N_("Bad")}
TRIGGER = {"calendar": N_("by calendar"), "meter": N_("by meter")}
COLUMN = {
    "new": N_("New"),
    "assigned": N_("Assigned"),
    "in_progress": N_("In progress"),
    "waiting": N_("Waiting"),
    "done": N_("Done, being verified"),
    "ended": N_("Ended, last 7 days"),
}
