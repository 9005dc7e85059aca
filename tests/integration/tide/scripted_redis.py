"""A Redis that answers what a test says: late, partly, wrongly, or not at all. Knows enough to be connected to."""
import socket
import threading

OK = b"+OK\r\n"


def bulk(text: str) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(text), text.encode())


class ScriptedRedis:
    """`answers` maps a command's name to bytes or to a function of its words; None: no answer at all."""

    def __init__(self, **answers):
        self.answers = {"PING": b"+PONG\r\n", "SELECT": OK, "SCRIPT": bulk("0" * 40), "EVAL": b":1\r\n",
                        "ROLE": b"*1\r\n$6\r\nmaster\r\n", **answers}
        self.asked: list[list[str]] = []
        self.connections = 0
        self.open: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def count(self, name: str) -> int:
        return sum(words[0] == name for words in list(self.asked))

    def hang_up(self) -> None:
        """Ends the connections of today; new ones are taken."""
        for sock in list(self.open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended

    def stop(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in self.open:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.open.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        file = sock.makefile("rb")
        try:
            while line := file.readline():
                words = []
                for _ in range(int(line[1:])):
                    n = int(file.readline()[1:])
                    words.append(file.read(n + 2)[:n].decode())
                if words[0] == "EVALSHA" and words[3] == "rl:gateways":
                    words[0] = "EVAL"  # a gateway's heartbeat, which no test here asks about
                self.asked.append(words)
                answer = self.answers.get(words[0], b"-ERR unknown command\r\n")
                if callable(answer):
                    answer = answer(words)
                if answer:
                    sock.sendall(answer)
        except (OSError, ValueError):
            pass
        finally:
            sock.close()


def allowed(words: list[str]) -> bytes:
    """What the limiter's script answers when all keys pass: one key, an empty bucket."""
    return b"*2\r\n:1\r\n:1\r\n" if words[2] == "1" else b"*%d\r\n%s" % (int(words[2]) + 1, b":1\r\n" * (int(words[2]) + 1))
