"""Rules become alerts: one live alert for each rule, asset and point."""
