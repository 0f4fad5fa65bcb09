"""The settings of the stage, as an admin sees them."""

from chalicelib.core.config import TABLE
from tests.support.app_on_moto import Platform


def test_settings_are_shown_as_they_are_set(platform: Platform) -> None:
    shown = platform.sender("admin").get("/settings").json_body

    found = {one["name"]: one for one in shown["items"]}
    assert list(found) == [setting.name for setting in TABLE]
    assert shown["cursor"] is None
    assert found["STAGE"]["value"] == "local"
    assert found["STAGE"]["default"] is None
    assert found["LEDGER_SHARDS"]["value"] == found["LEDGER_SHARDS"]["default"] == "8"
    assert all(one["help"] for one in found.values())


def test_settings_are_for_admins(platform: Platform) -> None:
    assert platform.sender("events:admin").get("/settings").status_code == 403
