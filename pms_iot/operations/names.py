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
    "reports_of_unknown_gateways": "Reports of gateways that are not in the register.",
    "store_retries": "Tries that failed because a store was away.",
    "store_samples_written": "Samples written to the sample store, scores and repeats included.",
    "store_files_set_aside": "Damaged store files that were replaced.",
    "ticks_store_away": "Ticks of the clock that failed because a store was away.",
    "ticks_failed": "Ticks of the clock that broke the code.",
    "ticks_skipped": "Ticks of the clock left out because the one before was still at work.",
}
REFUSED = "refused_"  # and the reason
REASONS = ("too_old", "in_future", "text", "not_a_number")
REFUSED_HELP = "Samples of understood messages that were not used as good ones, by reason."
OTHER_HELP = "A counter of the engine; see its sources."
_NOT_A_NAME = re.compile(r"[^a-zA-Z0-9_]")


def metric_of(counter: str) -> str:
    """`pms_…` without `_total`, for any counter."""
    return f"pms_{_NOT_A_NAME.sub('_', counter)}"
