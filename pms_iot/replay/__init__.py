"""Back-test: what rule packs would have said of stored history, beside what was said and what came of it."""
