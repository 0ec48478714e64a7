"""The ticket search: rounds, masks, rewinding, and the tickets that it leaves."""
