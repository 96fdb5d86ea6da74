"""Holds every frame that a test's socket is sent, and every event that is stored, against the product's types: whole, nothing beside."""

import json
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from agents.steps import StepData
from chat.protocol.frames import StoredFrame, UnstoredFrame, type_of

#: What did not have its type in the test that runs: `tests/conftest.py` fails it then.
FAULTS: list[str] = []


def _strict(kind: type) -> type[BaseModel]:
    model: type[BaseModel] = create_model(
        f"Strict{kind.__name__}", __config__=ConfigDict(extra="forbid", strict=True), it=(kind, ...)
    )
    return model


_UNSTORED = {type_of(kind): _strict(kind) for kind in get_args(UnstoredFrame)}
_STORED = {type_of(kind): _strict(kind) for kind in get_args(StoredFrame)}
#: Of a stored step, what its kind holds says more than what no kind does.
_STEPS = {type_of(kind): _strict(kind) for kind in get_args(StepData)}


def checked(frame: dict[str, Any]) -> dict[str, Any]:
    """The frame, which is looked at."""
    fault = fault_of(frame)
    if fault:
        FAULTS.append(f"{fault}\n{json.dumps(frame)[:1_000]}")
    return frame


def fault_of(frame: Mapping[str, Any]) -> str:
    """What is wrong with a frame; empty where nothing is."""
    kinds = _STORED if "seq" in frame else _UNSTORED
    model = kinds.get(frame.get("type", ""))
    if model is None:
        return f"there is no frame {frame.get('type')!r}"
    step = _STEPS.get(frame["data"].get("type", "")) if frame["type"] in ("reasoning_step", "child_step") else None
    try:
        if step is not None:
            step.model_validate({"it": frame["data"]})
        model.model_validate({"it": frame})
    except ValidationError as failure:
        return str(failure)
    return ""


def keys_of(kind: type) -> tuple[set[str], set[str]]:
    """The fields that a type always has, and those that it may have."""
    return set(kind.__required_keys__), set(kind.__optional_keys__)  # type: ignore[attr-defined] # of a TypedDict
