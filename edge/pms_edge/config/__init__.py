"""The gateway file: what it may say, checked with the line of every mistake."""
