"""What every part stands on: clock, errors, database, logging, people who log in."""
