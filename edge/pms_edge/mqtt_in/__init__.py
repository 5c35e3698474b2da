"""Devices that publish to a local MQTT broker.

`broker` receives, `envelope` and `device` turn the messages of one device into its points,
`discovery` adopts entities that announce themselves for Home Assistant.
"""
