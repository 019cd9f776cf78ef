"""The ledger: what a model needs of each GPU and host under an engine's own way of dividing memory (DESIGN.md 6)."""
