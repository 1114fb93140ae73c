"""What napari is told about the plugin, and what that costs."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from npe2 import PluginManifest

from sam_napari._settings import PLACES, Settings, on_change, read_settings

MANIFEST = Path(__file__).parents[2] / "plugins" / "sam_napari" / "napari.yaml"


@pytest.fixture
def manifest() -> PluginManifest:
    return PluginManifest.from_file(MANIFEST)


@pytest.fixture
def installed(npe2pm: Any, plugin_settings: None) -> Iterator[Any]:
    """Napari, as if the plugin was installed."""
    with npe2pm.tmp_plugin(manifest=str(MANIFEST)):
        yield npe2pm


def test_everything_that_is_named_is_there(manifest: PluginManifest) -> None:
    manifest.validate_imports()


def test_no_command_is_in_vain(manifest: PluginManifest) -> None:
    about = manifest.contributions
    menus = {item.command for items in (about.menus or {}).values() for item in items}
    used = {each.command for each in (*about.widgets, *about.sample_data, *about.writers)} | menus
    palette = {"sam-core.export"}
    assert {command.id for command in about.commands} == used | palette


def test_stands_in_the_menus_where_people_look(manifest: PluginManifest) -> None:
    menus = manifest.contributions.menus
    for name in ("napari/layers/segment", "napari/layers/annotate"):
        assert "sam-core.open" in [item.command for item in menus[name]]


def test_menus_and_command_line_import_no_torch() -> None:
    code = (
        "import sys, sam_napari.command; from npe2 import PluginManifest;"
        f"PluginManifest.from_file({str(MANIFEST)!r}); import sam_napari._widget, sam_napari._writers, "
        "sam_napari._samples, sam_napari._actions; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=MANIFEST.parents[2]).returncode == 0


def test_defaults_are_the_same_with_and_without_the_preferences_page(installed: Any) -> None:
    assert read_settings() == Settings()
    assert set(PLACES) == {field.name for field in dataclasses.fields(Settings)}


def test_preferences_are_read_and_followed(installed: Any) -> None:
    settings = pytest.importorskip("napari.settings")
    if not hasattr(settings, "get_plugin_settings"):
        pytest.skip("this napari has no preferences of plugins")
    seen: list[Settings] = []
    end = on_change(seen.append)
    stored = settings.get_plugin_settings("sam-core")
    stored.pointing.hover = False
    assert [each.hover for each in seen] == [False]
    assert read_settings() == Settings(hover=False)
    with pytest.raises(ValueError, match="enum"):
        stored.model.device = "abacus"
    end()
    stored.pointing.hover = True
    assert len(seen) == 1


def test_napari_without_the_plugin_s_preferences(npe2pm: Any, plugin_settings: None) -> None:
    assert read_settings() == Settings()
    on_change(print)()


def test_where_things_are_kept(cache: Path) -> None:
    assert Settings().cache_folder == cache
    assert Settings().journal_folder == cache.with_name("cache-journals")
    assert Settings(folder="/data/x").journal_folder == Path("/data/x-journals")
