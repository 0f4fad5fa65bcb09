"""Which keys a bucket has, from lists of its folders: a call for a thousand, not one for each."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

ROOM = 400_000
"""Keys that are remembered, at some 120 bytes each; beyond that each is asked for by itself."""


class StoredKeys:
    """Answers whether a bucket has a key. `list_keys(folder, after)` lists a folder, `has` asks for
    one key. Only folders whose name ends with one of `days` are listed: of others few are asked."""

    def __init__(
        self,
        list_keys: Callable[[str, str], Iterator[list[tuple[str, Any]]]],
        has: Callable[[str], bool],
        days: Sequence[str],
        room: int = ROOM,
    ) -> None:
        self._list_keys = list_keys
        self._has = has
        self._days = tuple(days)
        self._folders: dict[str, set[str] | None] = {}
        self._room = room

    def has(self, key: str) -> bool:
        """Whether the key is there. A key that its list lacks is asked for, since it may be younger
        than the list: so a no is never a guess."""
        folder, _, name = key.rpartition("/")
        names = self._names(f"{folder}/")
        return (names is not None and name in names) or (bool(key) and self._has(key))

    def _names(self, folder: str) -> set[str] | None:
        """The names in a folder; None for one that is not listed."""
        if not folder.endswith(self._days):
            return None
        if folder not in self._folders:
            self._folders[folder] = self._list(folder)
        return self._folders[folder]

    def _list(self, folder: str) -> set[str] | None:
        names: set[str] = set()
        for page in self._list_keys(folder, ""):
            names.update(key.removeprefix(folder) for key, _ in page)
            if len(names) > self._room:
                return None
        self._room -= len(names)
        return names
