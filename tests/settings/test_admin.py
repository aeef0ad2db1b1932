"""What commands read of the configuration to ask a running gateway: two keys, judged as in the whole file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway.settings
from gateway.errors import ConfigError
from gateway.settings import AdminAccess, ListenAddress, load_admin_access
from gateway.settings.misfit import Misfit
from gateway.settings.secrets import admin_token
from tests.settings.support import KEY, problems_of, settings_of

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "x0Rk2-nB7qLw.4vT_9aZ"


def access_of(folder: Path, text: str, environ: dict[str, str] | None = None) -> AdminAccess:
    (folder / "gateway.yaml").write_text(text)
    return load_admin_access(folder / "gateway.yaml", environ or {})


@pytest.mark.parametrize("text", [TOKEN, KEY, "0123456789abcdef", "a.b~c+d/e_f-g1234==", "Ab1" * 169 + "cdefg"])
def test_a_token_is_taken_as_it_is(text: str) -> None:
    assert admin_token(text) == text


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("0123456789abcde", "16 to 512 characters"),
        ("Ab1cdefgh" * 60, "16 to 512 characters"),
        ("", "16 to 512 characters"),
        (None, "16 to 512 characters"),
        (1234567890123456, "16 to 512 characters"),
        ("0123456789 abcdef", "letters, digits"),
        ("0123456789=abcdef", "letters, digits"),
        ("0123456789abcdéf", "letters, digits"),
        ("0123456789abcdef\n", "letters, digits"),
        ("aaaaaaaaaaaaaaaaaaaaaa", "drawn at random"),
        ("abababababababababab", "drawn at random"),
        ("change-me-0123456789", "drawn at random"),
        ("my-Secret-0123456789", "drawn at random"),
    ],
)
def test_what_could_be_guessed_or_not_be_sent_is_no_token_and_not_repeated(value: object, reason: str) -> None:
    with pytest.raises(Misfit) as caught:
        admin_token(value)
    assert reason in caught.value.text
    assert not caught.value.quotes
    assert not isinstance(value, str) or not value or value not in str(caught.value)


@given(st.binary(min_size=16, max_size=32))
def test_a_token_has_no_character_that_a_header_cannot_hold(raw: bytes) -> None:
    try:
        token = admin_token(raw.decode("latin-1"))
    except Misfit:
        return
    assert token.isascii()
    assert token.isprintable()
    assert " " not in token


def test_the_settings_hold_the_token_and_do_not_show_it() -> None:
    settings = settings_of(f"admin_token: {TOKEN}")
    assert settings.admin_token == TOKEN
    assert TOKEN not in repr(settings)
    assert settings_of("admin_listen: 127.0.0.1:81").admin_token is None


def test_a_token_that_is_wrong_is_not_repeated_in_a_message() -> None:
    for text in ("hunter2", "hunter2 hunter2 hunter2", "[hunter2]", "{hunter2: 1}"):
        (problem,) = problems_of(f"admin_token: {text}")
        assert problem.key == "admin_token"
        assert "hunter2" not in problem.text


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("session: {}", ListenAddress("127.0.0.1", 9090)),
        ("admin_listen: 0.0.0.0:81", ListenAddress("0.0.0.0", 81)),
        ("admin_listen: '[::1]:${PORT}'", ListenAddress("::1", 82)),
        ("admin_listen: null", None),
        ("admin_listen: ${NOTHING:-}", None),
    ],
)
def test_the_address_is_what_the_whole_file_says(tmp_path: Path, text: str, address: ListenAddress | None) -> None:
    environ = {"PORT": "82"}
    assert access_of(tmp_path, text, environ) == AdminAccess(address, None)
    if "session" not in text:
        assert settings_of(text, environ).admin_listen == address


def test_a_socket_lies_where_the_whole_file_says(tmp_path: Path) -> None:
    access = access_of(tmp_path, "admin_listen: unix:run/admin.sock")
    settings = settings_of("admin_listen: unix:run/admin.sock", path=tmp_path / "gateway.yaml")
    assert access.address == settings.admin_listen == ListenAddress(path=str(tmp_path / "run/admin.sock"))


def test_the_token_comes_from_a_file_and_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    access = access_of(tmp_path, "admin_token: ${file:token}")
    assert access.token == TOKEN
    assert TOKEN not in repr(access)


def test_nothing_else_of_the_file_is_judged(tmp_path: Path) -> None:
    text = "nonsense: 1\nroutes: 7\nsession: {keys: ['${NONE}']}\nadmin_listen: 127.0.0.1:81\n"
    assert access_of(tmp_path, text).address == ListenAddress("127.0.0.1", 81)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("admin_listen: here", 'gateway.yaml:1:15: admin_listen: "here" is not an address to listen on'),
        ("admin_listen: ${HERE}", "gateway.yaml:1:15: admin_listen: the value is not an address to listen on"),
        ("admin_listen: ${NONE}", "gateway.yaml:1:15: admin_listen: the environment variable NONE is not set"),
        ("admin_token: hunter2", "gateway.yaml:1:14: admin_token: not a token"),
        ("admin_token: ${file:none}", "gateway.yaml:1:14: admin_token: the file none cannot be read"),
        ("- a", "gateway.yaml:1:1: the file should hold keys"),
        ("a: [", "gateway.yaml:2:1: not valid YAML"),
    ],
)
def test_what_is_wrong_with_them_is_told_at_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    (tmp_path / "gateway.yaml").write_text(text + "\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_admin_access(Path("gateway.yaml"), {"HERE": "hunter2"})
    assert str(caught.value).startswith(said)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_admin_access(tmp_path / "none.yaml", {})


def test_every_public_name_of_the_package_can_be_had_and_no_other() -> None:
    for name in gateway.settings.__all__:
        assert getattr(gateway.settings, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = gateway.settings.nothing


def test_reading_them_does_not_import_pydantic() -> None:
    code = "import sys; from gateway.settings import load_admin_access; print('pydantic' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
