"""pms_iot: keeps the machines of buildings alive."""
