"""Obtains what Slipway needs on the machine it is run from: the virtual environment, the Pulumi CLI, the stacks."""
