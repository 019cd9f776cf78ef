"""Which and why: a stack file becomes a deployment, a placement and stages; all pure but the front ends."""
