"""A stand-in for ComfyUI that runs workflows as its documentation of custom nodes has it, and checks what nodes give.

A workflow is ComfyUI's API format: nodes by id, each with its class and its inputs; a list of two is a link.
"""

import inspect
from typing import Any

import torch

WIDGETS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


class Refused(Exception):
    """A workflow that ComfyUI would not begin."""


class Executor:
    """Runs workflows; what has not changed since the last run is not run again.

    Args:
        nodes: the pack's ``NODE_CLASS_MAPPINGS``.
    """

    def __init__(self, nodes: dict[str, type]) -> None:
        self.nodes = nodes
        self.ran: list[str] = []
        self._kept: dict[Any, tuple[Any, ...]] = {}
        self._objects: dict[str, Any] = {}

    def run(self, workflow: dict[str, Any]) -> tuple[dict[str, tuple[Any, ...]], dict[str, dict[str, list[Any]]]]:
        """Return the outputs and what the page shows, each by node."""
        for key in workflow:
            self._validate(workflow, key)
        if not any(getattr(self._class(workflow, key), "OUTPUT_NODE", False) for key in workflow):
            raise Refused("prompt_no_outputs")
        self.ran, outputs, shown = [], {}, {}
        with torch.inference_mode():
            for key in workflow:
                self._execute(workflow, key, outputs, shown)
        return outputs, shown

    def _class(self, workflow: dict[str, Any], key: str) -> Any:
        return self.nodes[workflow[key]["class_type"]]

    def _validate(self, workflow: dict[str, Any], key: str) -> None:
        node, given = self._class(workflow, key), workflow[key]["inputs"]
        kinds = node.INPUT_TYPES()
        assert set(kinds) <= {"required", "optional", "hidden"}
        if missing := set(kinds["required"]) - set(given):
            raise Refused(f"required_input_missing: {missing}")
        check = getattr(node, "VALIDATE_INPUTS", None)
        own = set(inspect.signature(check).parameters) if check else set()
        for name, (kind, options) in {**kinds["required"], **kinds.get("optional", {})}.items():
            value = given.get(name)
            if isinstance(value, list):
                sent = self._class(workflow, value[0]).RETURN_TYPES[value[1]]
                if sent != kind:
                    raise Refused(f"return_type_mismatch: {name}, {sent} != {kind}")
            elif name in given and name not in own:
                given[name] = self._widget(name, kind, options, value)
        if check:
            told = check(
                **{name: value for name, value in given.items() if name in own and not isinstance(value, list)}
            )
            if told is not True:
                raise Refused(f"custom_validation_failed: {told}")

    @staticmethod
    def _widget(name: str, kind: Any, options: dict[str, Any], value: Any) -> Any:
        if isinstance(kind, list):
            if value not in kind:
                raise Refused(f"value_not_in_list: {name}: {value!r}")
            return value
        value = WIDGETS[kind](value)
        if "min" in options and value < options["min"]:
            raise Refused(f"value_smaller_than_min: {name}")
        if "max" in options and value > options["max"]:
            raise Refused(f"value_bigger_than_max: {name}")
        return value

    def _signature(self, workflow: dict[str, Any], key: str) -> Any:
        node, given = self._class(workflow, key), workflow[key]["inputs"]
        constants = {name: None if isinstance(value, list) else value for name, value in given.items()}
        changed = node.IS_CHANGED(**constants) if hasattr(node, "IS_CHANGED") else None
        links = tuple(
            (n, v[1], self._signature(workflow, v[0])) for n, v in sorted(given.items()) if isinstance(v, list)
        )
        return workflow[key]["class_type"], tuple(sorted(constants.items(), key=lambda pair: pair[0])), changed, links

    def _execute(self, workflow: dict[str, Any], key: str, outputs: dict[str, Any], shown: dict[str, Any]) -> None:
        if key in outputs:
            return
        node, given = self._class(workflow, key), {}
        for name, value in workflow[key]["inputs"].items():
            if isinstance(value, list):
                self._execute(workflow, value[0], outputs, shown)
            given[name] = outputs[value[0]][value[1]] if isinstance(value, list) else value
        signature = self._signature(workflow, key)
        if signature not in self._kept:
            self.ran.append(key)
            held = self._objects.setdefault(key, node())
            result = getattr(held, node.FUNCTION)(**given)
            whole = result if isinstance(result, dict) else {"result": result}
            assert set(whole) <= {"ui", "result"}
            assert all(isinstance(items, list) for items in whole.get("ui", {}).values())
            check_outputs(node, whole["result"])
            self._kept[signature] = whole["result"], whole.get("ui", {})
        outputs[key], ui = self._kept[signature]
        if ui:
            shown[key] = ui


def check_outputs(node: Any, result: tuple[Any, ...]) -> None:
    """Fail where outputs are not what their types promise."""
    assert isinstance(result, tuple) and len(result) == len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
    for kind, value in zip(node.RETURN_TYPES, result, strict=True):
        if kind in ("IMAGE", "MASK"):
            assert value.dtype == torch.float32 and value.device.type == "cpu"
            assert value.ndim == (4 if kind == "IMAGE" else 3) and (kind == "MASK" or value.shape[-1] == 3)
            assert 0 <= float(value.min()) <= float(value.max()) <= 1
        elif kind in WIDGETS:
            assert isinstance(value, WIDGETS[kind])
