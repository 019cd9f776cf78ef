"""The static reading of a release's own package to its flag table: sources are parsed and followed, never imported."""
