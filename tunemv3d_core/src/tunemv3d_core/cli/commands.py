"""Descriptors of the commands that core itself brings."""

from tunemv3d_core.plugins.descriptor import CommandPlugin

PLUGINS = CommandPlugin(
    "plugins", "tunemv3d_core.cli.plugins:app", "List, describe, check, write and release components."
)
SPEC = CommandPlugin("spec", "tunemv3d_core.cli.spec:app", "Show, validate and compare specs; print their JSON Schema.")
ENV = CommandPlugin(
    "env", "tunemv3d_core.cli.environment:env", "Versions, devices and plugins, to paste into a report."
)
CHECKPOINT = CommandPlugin(
    "checkpoint",
    "tunemv3d_core.cli.checkpoint:app",
    "Look whether checkpoints are whole; put damaged ones out of the way.",
)
SBOM = CommandPlugin(
    "sbom", "tunemv3d_core.cli.sbom:sbom", "List what is installed, and models, as a software bill of materials."
)
SIGN = CommandPlugin("sign", "tunemv3d_core.cli.signature:sign", "Sign a folder with a key of your own, offline.")
VERIFY = CommandPlugin(
    "verify", "tunemv3d_core.cli.signature:verify", "Look whether a folder is as its signer left it."
)
