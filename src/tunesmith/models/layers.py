"""Which layers of a transformers model are attention, MLP, head and embedding, and the order of its blocks.

Known families are tables of module names (``families``). An unknown family is analysed from its structure and shown in
a ``UserError``; nothing is guessed silently.

Words: a *block* is one transformer layer (a member of the model's ``ModuleList``); the *head* is all that comes after
the blocks (final norm, pooler, output projection); *embeddings* are all that comes before them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from torch import nn

from tunesmith.errors import UserError, did_you_mean
from tunesmith.models.families import FAMILIES
from tunesmith.models.linears import is_linear, view

GROUPS = ("all-linear", "attention", "mlp")


@dataclass(frozen=True)
class Anatomy:
    """Module paths of a model: its blocks from the bottom to the top, its linears by kind, its embeddings."""

    blocks: tuple[str, ...]
    attention: tuple[str, ...]
    mlp: tuple[str, ...]
    embeddings: tuple[str, ...]
    attention_out: tuple[str, ...]
    """linears that write what attention found back to the residual stream"""
    mlp_in: tuple[str, ...]
    """the first linear of each MLP, in the order of ``mlp_out``"""
    mlp_out: tuple[str, ...]
    """the last linear of each MLP"""
    experts: tuple[str, ...]
    """parameters that hold the weights of many experts in one tensor, which is no linear layer"""

    def part_of(self, name: str) -> int | Literal["embedding", "head"]:
        """Where the parameter or module ``name`` lies: the index of its block, below the blocks, or above them."""
        for index, block in enumerate(self.blocks):
            if _inside(name, block):
                return index
        return "embedding" if any(_inside(name, path) for path in self.embeddings) else "head"


@dataclass(frozen=True)
class BlockList:
    """``blocks`` from the bottom to the top, which ``parent`` has under ``name``."""

    parent: nn.Module
    name: str
    blocks: nn.ModuleList


def block_lists(model: Any) -> list[BlockList]:
    """The lists of as many modules as the config of ``model`` has layers: one in a model of one stack, known or not."""
    count = int(model.config.get_text_config().num_hidden_layers)
    return [
        BlockList(parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == count
    ]


def anatomy(model: nn.Module) -> Anatomy:
    """The anatomy of a model of a known family; a ``UserError`` with an analysis of its structure for any other."""
    family = FAMILIES.get(_family_name(model))
    if family is None:
        raise _unknown_family(model)
    modules = dict(model.named_modules())
    prefix = _base_prefix(model)
    blocks = tuple(
        f"{prefix}{path}.{index}" for path in family.blocks for index in range(len(_children(modules, prefix + path)))
    )
    if not blocks:
        raise _unknown_family(model)
    kinds = ("attention", "mlp", "attention_out", "mlp_in", "mlp_out")
    found: dict[str, list[str]] = {kind: [] for kind in kinds}
    for name in (name for name, module in modules.items() if is_linear(module)):
        inner = _inner(name, blocks)
        if inner is None or _any_fits(inner, family.routing):
            continue
        for kind in kinds:
            if _any_fits(inner, getattr(family, kind)):
                found[kind].append(name)
        if not _any_fits(inner, (*family.attention, *family.mlp)):
            raise _unknown_family(model)
    return Anatomy(
        blocks,
        embeddings=tuple(prefix + path for path in family.embeddings),
        experts=tuple(name for name, value in model.named_parameters() if value.ndim == 3 and _inner(name, blocks)),
        **{kind: tuple(names) for kind, names in found.items()},
    )


def resolve_targets(model: nn.Module, targets: str | Sequence[str]) -> list[str]:
    """Module paths of the linears that ``targets`` names, in the model's order.

    ``all-linear`` (every linear of every block; never the head), ``attention``, ``mlp``, or a list in which each entry
    is one of these, a module path, the end of one (``q_proj``), or a pattern (``model.layers.[01].*``). Raises
    ``UserError``: ``unknown-target``, ``unknown-family``, ``fused-experts``.
    """
    linears = [name for name, module in model.named_modules() if is_linear(module)]
    chosen: set[str] = set()
    for target in [targets] if isinstance(targets, str) else targets:
        found = _group(model, target) if target in GROUPS else [name for name in linears if _matches(name, target)]
        if not found:
            raise _unknown_target(model, target, linears)
        chosen.update(found)
    if not chosen:
        raise UserError(
            "targets is empty, so nothing would be trained",
            allowed=[*GROUPS, *_endings(linears)],
            code="unknown-target",
        )
    return [name for name in linears if name in chosen]


def refuse_experts(found: Anatomy, *, hint: str) -> None:
    """A ``UserError`` (``fused-experts``) that names the expert weights a method would silently leave out."""
    if not found.experts:
        return
    raise UserError(
        "the experts of this model are held in one tensor for all of them, not in linear layers",
        got=f"{', '.join(found.experts[:2])} and others ({len(found.experts)} tensors)",
        allowed="linear layers",
        hint=hint,
        code="fused-experts",
    )


def shortest_endings(model: nn.Module, paths: Sequence[str]) -> list[str]:
    """The shortest module names that select exactly ``paths``: ``[q_proj, v_proj]`` rather than every path.

    An ending selects every module whose path is it or ends with ``.`` and it (PEFT's rule).
    """
    chosen, modules = set(paths), [name for name, _ in model.named_modules()]
    found: set[str] = set()
    for path in paths:
        words = path.split(".")
        endings = [".".join(words[start:]) for start in range(len(words) - 1, 0, -1)]
        fits = (
            ending
            for ending in endings
            if all(name in chosen for name in modules if name == ending or name.endswith(f".{ending}"))
        )
        found.add(next(fits, path))
    return sorted(found)


def _group(model: nn.Module, target: str) -> tuple[str, ...]:
    found = anatomy(model)
    if target != "attention":
        shared = any(".shared_expert." in path for path in found.mlp)
        known = "attention, mlp.shared_expert.*_proj" if shared else "attention"
        refuse_experts(found, hint=f"Name what is to be adapted: targets: [{known}].")
    groups = {"all-linear": found.attention + found.mlp, "attention": found.attention, "mlp": found.mlp}
    return groups[target]


def _matches(name: str, target: str) -> bool:
    if any(sign in target for sign in "*?["):
        return fnmatchcase(name, target) or fnmatchcase(name, f"*.{target}")
    return name == target or name.endswith(f".{target}")


def _any_fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _inner(name: str, blocks: Sequence[str]) -> str | None:
    """The path of ``name`` from the block it is in."""
    return next((name.removeprefix(f"{block}.") for block in blocks if _inside(name, block)), None)


def _inside(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}.")


def _children(modules: Mapping[str, nn.Module], path: str) -> Sequence[Any]:
    found = modules.get(path)
    return list(found) if isinstance(found, nn.ModuleList) else []


def _family_name(model: nn.Module) -> str:
    return str(getattr(getattr(model, "config", None), "model_type", ""))


def _base_prefix(model: nn.Module) -> str:
    """Path of the model without its head, with a final dot; empty where the model has no head."""
    base = getattr(model, "base_model", model)
    name = next((name for name, module in model.named_modules() if module is base), "")
    return f"{name}." if name else ""


def _endings(names: Iterable[str]) -> list[str]:
    return sorted({name.rpartition(".")[2] for name in names if not name.rpartition(".")[2].isdigit()})


def _unknown_target(model: nn.Module, target: str, linears: list[str]) -> UserError:
    endings = _endings(linears)
    other = next((type(module).__name__ for name, module in model.named_modules() if _matches(name, target)), None)
    hint = f"'{target}' is a {other}, not a linear layer." if other else did_you_mean(target, [*GROUPS, *endings])
    return UserError(
        "no linear layer matches a target",
        got=f"'{target}'",
        allowed=[*GROUPS, *endings],
        hint=hint,
        code="unknown-target",
    )


def _unknown_family(model: nn.Module) -> UserError:
    """What the structure shows: the lists of blocks, and the linears in and outside them with their shapes."""
    lists = {
        name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module)
    }
    inside: dict[str, str] = {}
    outside: list[str] = []
    for name, module in model.named_modules():
        if not is_linear(module):
            continue
        home = next((path for path in lists if _inside(name, path)), None)
        if home is None:
            outside.append(name)
        else:
            seen = view(module)
            shape = f"{seen.out_features}x{seen.in_features}"
            inside.setdefault(name.removeprefix(f"{home}.").partition(".")[2], shape)
    blocks = ", ".join(f"{name} ({len(module)})" for name, module in lists.items()) or "none found"
    shown = ", ".join(f"{name} [{shape}]" for name, shape in inside.items()) or "none found"
    names = ", ".join(_endings(inside))
    return UserError(
        f"the model family '{_family_name(model) or type(model).__name__}' is not known by name. Its structure: "
        f"lists of blocks: {blocks}; linear layers in them: {shown}; outside them: {', '.join(outside) or 'none'}",
        allowed=sorted(FAMILIES),
        hint=f"Name the layers yourself, for example targets: [{names}].",
        code="unknown-family",
    )
