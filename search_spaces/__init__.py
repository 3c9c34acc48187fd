"""Search spaces; importing this package registers those that the project brings."""

from search_spaces import ucdir as ucdir
from search_spaces.contract import SearchSpace, Space, register_space, search_space

__all__ = ["SearchSpace", "Space", "register_space", "search_space"]
