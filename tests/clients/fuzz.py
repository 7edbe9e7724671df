"""Sends a running server what no client sends: start-up packets, messages, frames and requests, mutated and cut anywhere.

    python3 tests/clients/fuzz.py --postgres HOST:PORT --flight HOST:PORT --http HOST:PORT --user NAME --seconds 600

The secret of the user is in ALLUVIAL_TEST_SECRET. Every so often somebody logs in properly, asks, and must be answered; at the
end nothing may be running and nothing of a catalogue's outside may have been answered. Standard library only.
"""

import argparse
import base64
import hashlib
import hmac
import os
import random
import socket
import struct
import sys
import time


def address(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


def message(kind, body=b""):
    return kind + struct.pack("!I", len(body) + 4) + body


def startup(user, more=b""):
    body = struct.pack("!I", 196608) + b"user\0" + user.encode() + b"\0database\0alluvial\0" + more + b"\0"
    return struct.pack("!I", len(body) + 4) + body


class Client:
    """The least that is a client of Postgres: logs in by SCRAM and asks by the simple protocol."""

    def __init__(self, where, user, secret):
        self.socket = socket.create_connection(where, timeout=60)
        self.socket.sendall(startup(user))
        self.rest = b""
        nonce = base64.b64encode(os.urandom(18)).decode()
        bare = f"n=,r={nonce}"
        kind, body = self.receive()
        assert kind == b"R" and body[:4] == b"\0\0\0\x0a", (kind, body)
        first = ("n,," + bare).encode()
        self.socket.sendall(message(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(first)) + first))
        kind, body = self.receive()
        assert kind == b"R" and body[:4] == b"\0\0\0\x0b", (kind, body)
        told = body[4:].decode()
        parts = dict(part.split("=", 1) for part in told.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", secret.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
        key = hmac.digest(salted, b"Client Key", "sha256")
        without = f"c=biws,r={parts['r']}"
        signed = hmac.digest(hashlib.sha256(key).digest(), f"{bare},{told},{without}".encode(), "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signed))).decode()
        self.socket.sendall(message(b"p", f"{without},p={proof}".encode()))
        self.until_ready()

    def receive(self):
        while len(self.rest) < 5 or len(self.rest) < 1 + struct.unpack("!I", self.rest[1:5])[0]:
            more = self.socket.recv(65536)
            if not more:
                raise ConnectionError("the server closed")
            self.rest += more
        length = 1 + struct.unpack("!I", self.rest[1:5])[0]
        kind, body, self.rest = self.rest[:1], self.rest[5:length], self.rest[length:]
        return kind, body

    def until_ready(self):
        seen = []
        while True:
            kind, body = self.receive()
            seen.append((kind, body))
            if kind == b"E":
                raise AssertionError(body)
            if kind == b"Z":
                return seen

    def ask(self, sql):
        self.socket.sendall(message(b"Q", sql.encode() + b"\0"))
        return [body for kind, body in self.until_ready() if kind == b"D"]

    def close(self):
        self.socket.close()


def seeds_before(user):
    sasl = b"n,,n=,r=abcdefghijkl"
    return [
        startup(user),
        startup(user, b"options\0-c statement_timeout=1s\0application_name\0fuzz\0"),
        startup(user) + message(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(sasl)) + sasl),
        startup(user) + message(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(sasl)) + sasl) + message(b"p", b"c=biws,r=abc,p=AAAA"),
        startup(user) + message(b"Q", b"SELECT 1\0"),
        struct.pack("!II", 8, 80877103) + startup(user),
        struct.pack("!II", 8, 80877104) + startup(user),
        struct.pack("!IIII", 16, 80877102, 1, 42),
    ]


def seeds_after():
    parse = message(b"P", b"s\0SELECT segment, members FROM segment_sizes WHERE segment = $1\0" + struct.pack("!HI", 1, 25))
    bind = message(b"B", b"p\0s\0" + struct.pack("!HHHI", 1, 0, 1, 6) + b"buyers" + struct.pack("!HH", 1, 1))
    execute = message(b"E", b"p\0" + struct.pack("!I", 2))
    sync = message(b"S")
    return [
        message(b"Q", b"SELECT count(*) FROM customer_profile\0"),
        message(b"Q", b"BEGIN; DECLARE c CURSOR FOR SELECT 1; FETCH ALL FROM c; COMMIT\0"),
        message(b"Q", b"COPY (SELECT 1) TO STDOUT (FORMAT binary)\0"),
        message(b"Q", b"PREPARE a (text) AS SELECT $1; EXECUTE a('x'); DEALLOCATE a\0"),
        message(b"Q", b"SET statement_timeout = '1s'; SHOW ALL; RESET ALL\0"),
        parse + message(b"D", b"Ss\0") + bind + message(b"D", b"Pp\0") + execute + execute + message(b"C", b"Pp\0") + sync,
        parse + bind + execute + message(b"H") + message(b"C", b"Ss\0") + sync,
        message(b"d", b"bytes") + message(b"c") + message(b"f", b"why\0") + sync,
        message(b"F", struct.pack("!IHHI", 1, 0, 1, 4) + b"abcd" + struct.pack("!H", 0)),
        sync + sync + message(b"X"),
    ]


def seeds_of_flight():
    settings = b"\0\0\0\4\0\0\0\0\0"
    headers = b"\x82\x86\x44\x8c" + b"/handshake-x"
    frame = struct.pack("!I", len(headers))[1:] + b"\1\4\0\0\0\1" + headers
    data = b"\0\0\x05\0\1\0\0\0\1" + b"\0\0\0\0\0"
    return [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + frame + data, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings * 20]


def seeds_of_http():
    return [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/segments/buyers/audience?format=email&as_of=2026-03-01 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alv_0\r\n\r\n",
        b"POST /l/00000000000000000000000000000000 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
    ]


def mutated(chance, seeds):
    packet = bytearray(chance.choice(seeds))
    for _ in range(chance.randrange(0, 6)):
        at = chance.randrange(0, len(packet) + 1)
        what = chance.randrange(7)
        if what == 0 and at < len(packet):
            packet[at] ^= 1 << chance.randrange(8)
        elif what == 1:
            packet[at:at] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 20)))
        elif what == 2:
            del packet[at:at + chance.randrange(1, 20)]
        elif what == 3:
            packet[at:at + 4] = struct.pack("!I", chance.choice([0, 1, 3, 4, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 20]))
        elif what == 4:
            packet += chance.choice(seeds)
        elif what == 5:
            packet[at:at] = packet[: chance.randrange(0, len(packet) + 1)]
        else:
            packet[at:at] = chance.choice([b"\0" * 64, b"\xff" * 64, b"'" * 9, "\u202e\U0001f4a9".encode(), b"\r\n\r\n"])
        if not packet:
            packet = bytearray(b"\0")
    cut = chance.randrange(4) == 0
    return bytes(packet[: chance.randrange(0, len(packet) + 1)] if cut else packet)


def send(chance, connection, packet):
    """Sends it in one piece or several, reads a little or nothing, and leaves in one way or the other."""
    connection.settimeout(0.05)
    try:
        if chance.randrange(3) == 0:
            at = chance.randrange(0, len(packet) + 1)
            connection.sendall(packet[:at])
            connection.sendall(packet[at:])
        else:
            connection.sendall(packet)
        if chance.randrange(2):
            connection.recv(4096)
        if chance.randrange(4) == 0:
            connection.shutdown(socket.SHUT_WR)
        if chance.randrange(4) == 0:
            # No farewell: a reset.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    connection.close()


def page(where, path):
    with socket.create_connection(where, timeout=60) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while more := connection.recv(65536):
            answer += more
    return answer.decode()


def main():
    parser = argparse.ArgumentParser()
    for door in ("postgres", "flight", "http"):
        parser.add_argument(f"--{door}", type=address, required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    secret = os.environ["ALLUVIAL_TEST_SECRET"]
    chance = random.Random(given.seed)
    print(f"seed {given.seed}", flush=True)
    until, looked, sent = time.monotonic() + given.seconds, 0.0, {}

    def proper():
        client = Client(given.postgres, given.user, secret)
        rows = client.ask("SELECT 1 + 1")
        assert rows == [b"\0\1\0\0\0\1" + b"2"], rows
        client.close()
        assert "200 OK" in page(given.http, "/healthz").split("\r\n")[0]

    while time.monotonic() < until:
        door = chance.choice(["before", "after", "after", "flight", "http"])
        sent[door] = sent.get(door, 0) + 1
        if door == "before":
            send(chance, socket.create_connection(given.postgres, timeout=60), mutated(chance, seeds_before(given.user)))
        elif door == "after":
            client = Client(given.postgres, given.user, secret)
            for _ in range(chance.randrange(1, 4)):
                try:
                    client.socket.sendall(mutated(chance, seeds_after()))
                except OSError:
                    break
            send(chance, client.socket, mutated(chance, seeds_after()))
        elif door == "flight":
            send(chance, socket.create_connection(given.flight, timeout=60), mutated(chance, seeds_of_flight()))
        else:
            send(chance, socket.create_connection(given.http, timeout=60), mutated(chance, seeds_of_http()))
        if time.monotonic() - looked > 2:
            proper()
            looked = time.monotonic()
    proper()
    # Whatever ran ends with whoever asked.
    patience = time.monotonic() + 90
    while any(
        line.startswith("alluvial_queries_running") and not line.endswith(" 0")
        for line in page(given.http, "/metrics").splitlines()
    ):
        if time.monotonic() > patience:
            sys.exit("something still runs for nobody")
        time.sleep(0.2)
    print("survived", ", ".join(f"{count} {door}" for door, count in sorted(sent.items())))


main()
