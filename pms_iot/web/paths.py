"""Where a form may lead back to."""


def local_path(target: str) -> str:
    """The target if it is a path of this site, else the start page: no form leads to a foreign site."""
    is_local = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if is_local and target.isprintable() else "/"
