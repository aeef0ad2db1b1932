"""JupyterLab with a login and an XSRF cookie of its own: a cell is run over a WebSocket, and the notebook is saved."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.sync_api import BrowserContext, Error, Page, expect

from tests.apps.app_process import jupyterlab
from tests.conftest import StartGateway
from tests.support.browser import PATIENCE_MS, sign_in
from tests.support.gateway import gateway_config, route
from tests.support.users import ALICE
from tests.support.waiting import wait_for

TRIES = 5
TOKEN = "the token of this test"
NOTEBOOK = {
    "cells": [{"cell_type": "code", "id": "one", "metadata": {}, "execution_count": None, "outputs": [],
               "source": "print('the answer is', 6 * 7)"}],
    "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
    "nbformat": 4, "nbformat_minor": 5,
}  # fmt: skip


def run_the_cell(page: Page) -> None:
    """Run it until its output is there: what is run before the kernel is connected, JupyterLab drops without a word."""
    output = page.locator(".jp-OutputArea-output", has_text="the answer is 42").first
    for _ in range(TRIES):
        page.locator(".jp-Notebook .jp-Cell .cm-content").first.click()
        page.keyboard.press("Shift+Enter")
        try:
            output.wait_for(timeout=PATIENCE_MS / TRIES)
        except Error:
            continue
        break
    expect(output).to_be_visible()


def test_a_cell_is_run_and_saved(
    start_gateway: StartGateway, context: BrowserContext, page: Page, tmp_path: Path
) -> None:
    file = tmp_path / "work.ipynb"
    file.write_text(json.dumps(NOTEBOOK), encoding="utf-8")
    with jupyterlab(tmp_path, TOKEN) as app:
        gateway = start_gateway(gateway_config(route("lab", "/", app.url)))
        sockets: list[str] = []
        page.on("websocket", lambda socket: sockets.append(socket.url))
        page.goto(f"http://localhost:{gateway.port}/lab/tree/work.ipynb")
        sign_in(page, ALICE.user, ALICE.password)
        page.get_by_label("Password or token").fill(TOKEN)
        page.get_by_role("button", name="Log in", exact=True).click()
        expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")).to_be_visible()
        run_the_cell(page)
        assert any("/channels" in address for address in sockets), sockets
        page.keyboard.press("Control+s")
        wait_for(lambda: "the answer is 42" in file.read_text(encoding="utf-8"), what="the saved notebook")
        names = {cookie["name"] for cookie in context.cookies()}
        assert {"_xsrf", "gateway_session", f"username-localhost-{gateway.port}"} <= names
        log = gateway.wait_for_log(lambda found: found["method"] == "PUT" and found["path"].endswith("work.ipynb"))
        assert (log["status"], log["user"]) == (200, "alice")
