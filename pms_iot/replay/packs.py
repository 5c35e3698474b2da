"""The rules of a back-test: a folder of packs, one kind's folder, or one file in place of the present one."""

from collections.abc import Mapping
from pathlib import Path

from pms_iot.kernel.errors import ConfigError
from pms_iot.rulepacks import RulePack, load_pack, load_packs

FILES = ("alerts.yaml", "detectors.yaml", "points.yaml", "states.yaml", "derived.yaml")


def choose_packs(rules: Path | None, kind: str | None, present: Path) -> Mapping[str, RulePack]:
    """Kind -> pack. present: the folder of the packs in use, which `rules` None means and which a single
    file completes. kind: only this one, or the one that a single file is of.

    Raises ConfigError for a path that is none of these, PackError for mistakes in the packs.
    """
    if rules is None or (rules.is_dir() and not (rules / "points.yaml").is_file()):
        packs = load_packs(rules or present)
    elif rules.is_dir():
        packs = {rules.resolve().name: load_pack(rules.resolve())}
    else:
        packs = _replaced(rules, kind, present)
    if kind is None:
        return packs
    if kind not in packs:
        raise ConfigError("--kind", f"no rule pack {kind!r}; there are {', '.join(packs)}")
    return {kind: packs[kind]}


def _replaced(file: Path, kind: str | None, present: Path) -> Mapping[str, RulePack]:
    if not file.is_file():
        raise ConfigError("--rules", f"no file or folder {file}")
    name = next((known for known in FILES if file.name.endswith(known)), None)
    if name is None:
        raise ConfigError("--rules", f"{file.name} must end in one of {', '.join(FILES)}")
    kind = kind or file.resolve().parent.name
    if not (present / kind).is_dir():
        raise ConfigError("--rules", f"{file}: not in the folder of a kind; say which with --kind")
    return {kind: load_pack(present / kind, {name: file})}
