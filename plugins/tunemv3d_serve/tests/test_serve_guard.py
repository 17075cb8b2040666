"""Who may ask: hosts, tokens, other sites' pages, lengths; and the command's rules for them."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from child_processes import running
from serve_toys import Work, client_of, wait_for

from tunemv3d_core.errors import EXIT_INTERRUPTED, TuneMV3DError
from tunemv3d_core.io.access import is_loopback
from tunemv3d_serve.jobs import JobQueue
from tunemv3d_serve.serve import serve

TOKEN = "abcdefgh12345678"


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    queue = JobQueue(Work(), tmp_path)
    yield queue
    queue.close()


def test_loopback_is_what_only_this_machine_reaches() -> None:
    local = ("127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST")
    reached = ("0.0.0.0", "::", "192.168.1.2", "10.0.0.1", "example.org", "", "localhost.example.org")
    assert [host for host in (*local, *reached) if is_loopback(host)] == list(local)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "box.example"])
def test_another_host_needs_a_token(queue: JobQueue, host: str) -> None:
    with pytest.raises(TuneMV3DError, match="needs a --token"):
        client_of(queue, host=host)
    assert client_of(queue, host=host, token=TOKEN).get("/about").status_code != 200


@pytest.mark.parametrize("token", ["short", "x" * 15, "letters and spaces here", "ä" * 20])
def test_tokens_that_can_be_guessed_or_do_not_fit_a_header_are_refused(token: str) -> None:
    with pytest.raises(TuneMV3DError, match="--token: at least 16"):
        serve("nowhere", host="0.0.0.0", token=token)


def test_an_empty_token_is_none() -> None:
    with pytest.raises(TuneMV3DError, match="needs a --token"):
        serve("nowhere", host="0.0.0.0", token="")


def test_a_taken_port_is_refused_before_anything_is_loaded() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(TuneMV3DError, match="cannot listen there"):
            serve("nowhere", port=taken.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "LOCALHOST:1", "[::1]:7860"])
def test_this_machines_names_are_answered(queue: JobQueue, host: str) -> None:
    assert client_of(queue).get("/about", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:7860", "localhost.evil.example", "", "[::1", "8.8.8.8"]
)
def test_another_servers_name_is_refused(queue: JobQueue, host: str) -> None:
    answer = client_of(queue).get("/about", headers={"Host": host})
    assert answer.status_code == 400 and "Host header" in answer.json()["error"]


def test_reached_from_elsewhere_it_answers_to_addresses_and_its_own_name(queue: JobQueue) -> None:
    client = client_of(queue, host="box.example", token=TOKEN)
    told = {
        host: client.get("/about", headers={"Host": host, "Authorization": f"Bearer {TOKEN}"}).status_code
        for host in ("192.168.1.2:7860", "box.example", "evil.example")
    }
    assert told == {"192.168.1.2:7860": 200, "box.example": 200, "evil.example": 400}


def test_every_address_needs_the_token(queue: JobQueue) -> None:
    client = client_of(queue, token=TOKEN)
    for path in ("/about", "/jobs", "/jobs/x", "/openapi.json", "/", f"/about?token={TOKEN}"):
        answer = client.get(path)
        assert answer.status_code == 401 and "token" in answer.json()["error"]
    for given in (TOKEN[:-1], TOKEN.upper(), ""):
        assert client.get("/about", headers={"Authorization": f"Bearer {given}"}).status_code == 401
        assert client.get(f"/?token={given}", follow_redirects=False).status_code == 401
    assert client.get("/about", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_browser_keeps_the_token_as_a_cookie_and_out_of_the_address(queue: JobQueue) -> None:
    client = client_of(queue, token=TOKEN)
    answer = client.get(f"/?token={TOKEN}", follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert client.get("/about").status_code == 200


def test_other_sites_pages_cannot_order(queue: JobQueue) -> None:
    client = client_of(queue)
    assert client.post("/jobs", json={"prompt": "a"}, headers={"Origin": "http://["}).status_code == 403
    answer = client.post("/jobs", json={"prompt": "a"}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403 and queue.all() == []
    # A form's or a script's request that browsers send without asking.
    plain = client.post("/jobs", content='{"prompt": "a"}', headers={"Content-Type": "text/plain"})
    assert plain.status_code == 422 and queue.all() == []
    assert client.post("/jobs", json={"prompt": "a"}, headers={"Origin": "http://127.0.0.1:7860"}).status_code == 201


def test_long_requests_are_refused_whether_they_say_their_length_or_not(queue: JobQueue) -> None:
    client, body = client_of(queue), b" " * 70_000
    for content in (body, iter([body[:40_000], body[40_000:]])):
        answer = client.post("/jobs", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413 and "65536 bytes" in answer.json()["error"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_server_as_it_does_other_commands(number: signal.Signals) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from fastapi import FastAPI; from tunemv3d_core.console import run; from tunemv3d_serve.serve import listen\n"
        "import typer; app = typer.Typer(); app.callback(invoke_without_command=True)(\n"
        f"    lambda: listen(FastAPI(), '127.0.0.1', {port}, ''))\n"
        "run(app, [])"
    )
    with running([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdout is not None and server.stdout.readline().startswith(b"http://127.0.0.1")
        wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        server.send_signal(number)
        _, told = server.communicate(timeout=20)
    assert (server.returncode, told.strip()) == (EXIT_INTERRUPTED, b"interrupted")
