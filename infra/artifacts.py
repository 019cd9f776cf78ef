"""What a deployment needs on storage and shares with others: the engine's environment and the model's files."""

from hosts.resources.environment import CondaEnv
from hosts.resources.weights import Weights
from infra import paths
from infra.deployment import Deployment


def environment(d: Deployment) -> CondaEnv:
    """The engine's environment."""
    prefix = paths.environment(d)
    return CondaEnv(
        prefix=prefix,
        digest=d.software.digest,
        packages=d.software.packages,
        inputs=f"{prefix}.inputs",
        tools=f"{d.fleet.storage.path}/envs/.tools/py-rattler-{d.software.tools_digest}",
        find_links=d.fleet.wheels,
    )


def weights(d: Deployment) -> Weights:
    """The model's files."""
    return Weights(
        path=paths.model(d), manifest=d.model.files, source=d.model.source, records=paths.weights_records(d.fleet)
    )


def draft(d: Deployment) -> Weights:
    """The draft model's files; of a deployment that has one."""
    assert d.draft is not None
    return Weights(
        path=paths.draft(d), manifest=d.draft.files, source=d.draft.source, records=paths.weights_records(d.fleet)
    )


def manifest(d: Deployment) -> str:
    """The text of the file that processes hold the weights to when they start."""
    return "".join(f"{line}\n" for line in d.model.files)
