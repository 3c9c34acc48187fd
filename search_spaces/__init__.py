"""Search spaces; importing this package registers those that the project brings."""

from search_spaces import (  # noqa: F401  (imported to register)
    domain_alignment,
    floor,
    protoot,
    prototype_baselines,
    ucdir,
    ucdir_ot,
    uem,
)
from search_spaces.contract import SearchSpace, Space, register_space, search_space

__all__ = ["SearchSpace", "Space", "register_space", "search_space"]
