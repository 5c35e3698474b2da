"""`pms-edge doctor`: looks at a device, a bus or a gateway file and says what it sees."""
