"""Every sample accounted for: what came, what came late or twice, what is missing and why (docs/ledger.md)."""
