"""An officer's line to a vault whose workers end: what only reads is asked again, what does something is not."""

import socket
import threading
from collections.abc import Iterator

import pytest

from keys.cli.line import Line
from keys.errors import MessageError, UnavailableError

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Ending:
    """Takes connections one after the other, and hangs up on the first ones."""

    def __init__(self, hung_up: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.hung_up, self.asked = hung_up, list[str]()
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def line(self) -> Line:
        return Line(f"http://127.0.0.1:{self.listener.getsockname()[1]}")

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                self.asked.append(connection.recv(65_536).split(b" ")[0].decode())
                if len(self.asked) > self.hung_up:
                    connection.sendall(ANSWER)


@pytest.fixture(params=[0, 1, 3, 4])
def ending(request: pytest.FixtureRequest) -> Iterator[Ending]:
    made = Ending(request.param)
    yield made
    made.listener.close()


def test_a_statement_is_asked_for_again_three_times_where_nobody_answers(ending: Ending) -> None:
    with pytest.raises(MessageError if ending.hung_up < 4 else UnavailableError):  # what it answers is no statement
        ending.line.statement()
    assert ending.asked == ["GET"] * min(ending.hung_up + 1, 4)


def test_a_message_is_sent_once_since_it_may_have_been_heard(ending: Ending) -> None:
    if ending.hung_up:
        with pytest.raises(UnavailableError, match="may have been done"):
            ending.line._ask("POST", "/v1/keys/messages", b"said")
    else:
        assert ending.line._ask("POST", "/v1/keys/messages", b"said") == b"{}"
    assert ending.asked == ["POST"]
