"""To the engine and back over MQTT."""
