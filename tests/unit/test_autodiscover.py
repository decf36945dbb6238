"""Modules with declarations are found by a glob, and imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from runnel import App
from runnel.errors import ConfigError


def test_modules_are_discovered_by_a_glob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "found_shop" / "processors"
    folder.mkdir(parents=True)
    (tmp_path / "found_shop" / "app.py").write_text(
        "from runnel import App, Record\n"
        "app = App('found')\n"
        "class Order(Record):\n    number: int\n"
        "orders = app.stream('orders', record=Order, partition_by='number')\n"
    )
    for name in ("billing", "search"):
        (folder / f"{name}.py").write_text(
            "from found_shop.app import app, orders\n"
            f"@app.on(orders, name={name!r})\ndef handle(order): ...\n"
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    app = __import__("found_shop.app", fromlist=["app"]).app
    try:
        names = app.autodiscover("found_shop/processors/*.py")
        assert names == ["found_shop.processors.billing", "found_shop.processors.search"]
        assert list(app.processors) == ["billing", "search"]
        with pytest.raises(ConfigError, match="no Python file matches 'nowhere/"):
            app.autodiscover("nowhere/*.py")
        for wrong in ("", "/srv/*.py", None, 5):
            with pytest.raises(ConfigError, match="takes a glob below the current directory"):
                app.autodiscover(wrong)
    finally:
        for name in [name for name in sys.modules if name.startswith("found_shop")]:
            del sys.modules[name]


def test_a_package_is_discovered_by_its_name_and_other_files_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "found_package"
    folder.mkdir()
    for name in ("__init__.py", "orders.py"):
        (folder / name).write_text("")
    (folder / "orders.txt").write_text("no code")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        found = App("shop").autodiscover("found_package/*")
        assert found == ["found_package", "found_package.orders"]
        assert set(found) <= set(sys.modules)
    finally:
        for name in ("found_package", "found_package.orders"):
            sys.modules.pop(name, None)
