"""Modules that are imported at their first use: what one route needs, the cold start of no other
function pays for."""

import importlib
from typing import Any


class LazyModule:
    """Stands for a module. Getting an attribute imports it (the import system's own lock makes
    that safe in threads) and passes the attribute on."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
