"""Checks every frame that a test's socket is sent, and every stored event, against the product's types: no field missing, none unknown."""

import json
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from agents.steps import StepData
from chat.protocol.frames import StoredFrame, UnstoredFrame, type_of

#: What did not match its type in the current test, which `tests/conftest.py` then fails.
FAULTS: list[str] = []


def _strict(kind: type) -> type[BaseModel]:
    model: type[BaseModel] = create_model(
        f"Strict{kind.__name__}", __config__=ConfigDict(extra="forbid", strict=True), it=(kind, ...)
    )
    return model


_UNSTORED = {type_of(kind): _strict(kind) for kind in get_args(UnstoredFrame)}
_STORED = {type_of(kind): _strict(kind) for kind in get_args(StoredFrame)}
#: For a stored step, errors about its own kind say more than those about the common fields.
_STEPS = {type_of(kind): _strict(kind) for kind in get_args(StepData)}


def checked(frame: dict[str, Any]) -> dict[str, Any]:
    """The frame, after the check."""
    fault = fault_of(frame)
    if fault:
        FAULTS.append(f"{fault}\n{json.dumps(frame)[:1_000]}")
    return frame


def fault_of(frame: Mapping[str, Any]) -> str:
    """What is wrong with a frame; empty if nothing is."""
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
