"""Who and how: the fleet as declared, resources as values, and the only code that talks to machines."""
