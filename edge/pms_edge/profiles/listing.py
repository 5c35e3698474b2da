"""`pms-edge profiles`: what register maps there are, and how sure the source of each is."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pms_edge.config.located import Document
from pms_edge.gb26875.profile import load_any_profile
from pms_edge.profiles.profile import Profile, profile_files, shipped_profiles

UNSURE = {"from_memory", "inferred"}


def list_profiles(folders: Sequence[Path]) -> int:
    """Prints the shipped profiles and those below `folders`; 1 when one of them is not correct."""
    broken = False
    for file in profile_files([shipped_profiles(), *folders]):
        document = Document(file)
        if "profile" not in document.content:
            continue
        profile = load_any_profile(document)
        broken |= profile is None
        for mistake in document.mistakes:
            print(mistake)
        if profile:
            print(_line(profile))
    return 1 if broken else 0


def _line(profile: Profile) -> str:
    sure = profile.confidence or "-"
    unsure = Counter(p.confidence or profile.confidence for p in profile.points)
    few = ", ".join(f"{n} of {len(profile.points)} {c}" for c, n in unsure.items() if c in UNSURE)
    remark = f" ({few})" if few and sure not in UNSURE else ""
    return f"{profile.id:<24} {profile.kind:<14} {sure}{remark}: {profile.source or '-'}"
