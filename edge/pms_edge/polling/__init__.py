"""When what is read from whom, and what happens when it does not answer."""
