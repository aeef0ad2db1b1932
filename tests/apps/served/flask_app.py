"""A Flask app as its tutorials write one: a login and a counter in its session, and a form with Flask-WTF's token.

Its cookie has Flask's default name, `session`. Run as `python flask_app.py FD` on a listening socket.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, redirect, render_template_string, request, session, url_for
from flask_wtf import CSRFProtect
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.serving import make_server

PIECE = 64 * 1024
TOKEN = '<input type="hidden" name="csrf_token" value="{{ csrf_token() }}">'
LOGIN = f"""<!doctype html><title>Notes</title><h1>Log in to the notes</h1>
<form method="post">{TOKEN}<label>Nickname <input name="nickname"></label><button>Log in</button></form>"""
NOTES = f"""<!doctype html><title>Notes</title><h1>Notes of {{{{ session["user"] }}}}</h1>
<p id="visits">Visit {{{{ session["n"] }}}}</p>
<ul>{{% for note in session["notes"] %}}<li>{{{{ note }}}}</li>{{% endfor %}}</ul>
<form method="post">{TOKEN}<label>Note <input name="note"></label><button>Add</button></form>
<form method="post" action="logout">{TOKEN}<button>Log out of the notes</button></form>"""


def login() -> Any:
    if request.method == "GET":
        return render_template_string(LOGIN)
    session.update(user=request.form["nickname"], n=0, notes=[])
    return redirect(url_for("notes"))


def notes() -> Any:
    if "user" not in session:
        return redirect(url_for("login"))
    if request.method == "POST":
        session["notes"] = [*session["notes"], request.form["note"]]
        return redirect(url_for("notes"))
    session["n"] += 1
    return render_template_string(NOTES)


def logout() -> Any:
    session.clear()
    return redirect(url_for("login"))


def file(pieces: int) -> Any:
    """Send a file slowly: `pieces` of 64 KiB, evenly over so many `seconds`."""
    pause = float(request.args["seconds"]) / pieces

    def content() -> Iterator[bytes]:
        for number in range(pieces):
            time.sleep(pause)
            yield bytes((number % 251,)) * PIECE

    headers = {"Content-Length": str(pieces * PIECE), "Content-Disposition": "attachment; filename=slow.bin"}
    return Response(content(), headers=headers, mimetype="application/octet-stream")


def make_app() -> Any:
    app = Flask(__name__)
    app.secret_key = secrets.token_bytes(32)
    CSRFProtect(app)
    app.add_url_rule("/", view_func=notes, methods=["GET", "POST"])
    app.add_url_rule("/login", view_func=login, methods=["GET", "POST"])
    app.add_url_rule("/logout", view_func=logout, methods=["POST"])
    app.add_url_rule("/file/<int:pieces>", view_func=file)
    # One proxy stands before it: https there is https to Flask-WTF, which then wants the Referer of its own page.
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)
    return app


if __name__ == "__main__":
    make_server("127.0.0.1", 0, make_app(), threaded=True, fd=int(sys.argv[1])).serve_forever()
