"""Every batch on disk until the engine has acknowledged it."""
