"""The counters of the engine under the names that the outside knows: these never change their meaning."""

import re

COUNTERS = {
    "mqtt_messages": "Messages received from the broker.",
    "mqtt_connects": "Connections made to the broker.",
    "mqtt_disconnects": "Connections to the broker that ended.",
    "mqtt_refused": "Connections or subscriptions that the broker refused.",
    "mqtt_bad_topics": "Messages dropped because their topic is not UTF-8.",
    "samples": "Samples committed.",
    "messages_quarantined": "Messages set aside because they could not be understood.",
    "messages_failed": "Messages set aside because they broke the code.",
    "batches_ahead": "Batches ignored because one before them is missing; the gateway sends again.",
    "batches_duplicate": "Batches that had come before, acknowledged again.",
    "batches_evicted_by_gateways": "Batches that gateways had to give up before they were sent.",
    "gaps_told": "Gap records received: losses that gateways told of.",
    "gaps_malformed": "Gap records that could not be understood.",
    "alerts_failed": "Steps of alerts that broke the code.",
    "alerts_held_by_budget": "Alerts recorded and held because a budget of false alarms is used up.",
    "reports_of_unknown_gateways": "Reports of gateways that are not in the register.",
    "store_retries": "Tries that failed because a store was away.",
    "store_samples_written": "Samples written to the sample store, scores and repeats included.",
    "store_files_set_aside": "Damaged store files that were replaced.",
    "store_samples_packed": "Samples moved from the embedded store's log into blocks.",
    "store_windows_finished": "Closed windows of the embedded store that were packed and rolled up.",
    "store_blocks_damaged": "Damaged blocks of the embedded store, kept and left out.",
    "store_housekeeping_failed": "Times that the embedded store could not be kept in order.",
    "samples_late": "Samples that came more than a minute and a period after they were read.",
    "samples_parked_evicted": "Parked samples of unknown fields given up for newer ones.",
    "samples_released": "Parked samples stored after their field was adopted.",
    "foreign_messages": "Messages of third parties.",
    "foreign_unmapped": "Messages on topics that no source of the ingest file has.",
    "influx_samples_written": "Samples that InfluxDB took.",
    "influx_samples_rejected": "Samples that InfluxDB refuses for good; kept in outgoing.db.",
    "influx_retries": "Tries that found InfluxDB away.",
    "influx_forwarder_failed": "Times that forwarding to InfluxDB broke the code.",
    "influx_rollups_written": "Windows whose roll-ups InfluxDB took.",
    "influx_rollups_refused": "Windows whose roll-ups InfluxDB refused.",
    "models_fitted": "Assets whose model was fitted from stored history.",
    "models_damaged": "Kept models of assets that were damaged; they learn again.",
    "models_failed": "Times that fitting models broke the code.",
    "ticks_store_away": "Ticks of the clock that failed because a store was away.",
    "ticks_failed": "Ticks of the clock that broke the code.",
    "ticks_skipped": "Ticks of the clock left out because the one before was still at work.",
}
REFUSED = "refused_"  # and the reason
REASONS = ("too_old", "in_future", "text", "not_a_number")
REFUSED_HELP = "Samples of understood messages that were not used as good ones, by reason."
VERDICTS = "verdicts_"  # and the outcome
OUTCOMES = ("true_fault", "sensor_fault", "false_alarm", "no_fault_found", "withdrawn", "accepted")
VERDICTS_HELP = "What people said of detectors' alarms, heard by the detectors, by outcome."
OTHER_HELP = "A counter of the engine; see its sources."
_NOT_A_NAME = re.compile(r"[^a-zA-Z0-9_]")


def metric_of(counter: str) -> str:
    """`pms_…` without `_total`, for any counter."""
    return f"pms_{_NOT_A_NAME.sub('_', counter)}"
