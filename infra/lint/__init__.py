"""Launch lines as people have them: read out of their documents, held against the engine's release, and corrected."""
