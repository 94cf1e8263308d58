#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A client of the broker (brokers/PROTOCOL.md), with nothing but Python's own library.

    broker_client.py FD connect tcp:192.0.2.1:4444
    broker_client.py FD open /images/disk.qcow2 [rw|ro|wo]
    broker_client.py PATH status

FD is an inherited SEQPACKET socket: the launcher's end of a broker's channel. PATH is that of `ratchet run --agents PATH`.
"""
import array
import json
import os
import socket
import struct
import sys

MAX_REPLY = 32768


def pack(value):
    """The part of msgpack that requests need."""
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return b"\xcf" + struct.pack(">Q", value)
    if isinstance(value, str):
        text = value.encode()
        return b"\xda" + struct.pack(">H", len(text)) + text
    if isinstance(value, dict):
        return bytes([0x80 | len(value)]) + b"".join(pack(key) + pack(item) for key, item in value.items())
    raise TypeError(f"no msgpack for {type(value)}")


# Type byte -> struct of what follows it.
NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
           0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
LENGTHS = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I"}


def unpack(data):
    value, end = unpack_at(data, 0)
    if end != len(data):
        raise ValueError("bytes after the message")
    return value


def unpack_at(data, at):
    kind = data[at]
    at += 1
    if kind < 0x80:
        return kind, at
    if kind >= 0xE0:
        return kind - 256, at
    if kind in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[kind], at
    if kind in NUMBERS:
        (value,) = struct.unpack_from(NUMBERS[kind], data, at)
        return value, at + struct.calcsize(NUMBERS[kind])
    if kind in LENGTHS:
        (length,) = struct.unpack_from(LENGTHS[kind], data, at)
        at += struct.calcsize(LENGTHS[kind])
        shape = "text" if kind <= 0xDB else "list" if kind <= 0xDD else "map"
    else:
        length = kind & (0x1F if 0xA0 <= kind <= 0xBF else 0x0F)
        shape = "text" if 0xA0 <= kind <= 0xBF else "list" if 0x90 <= kind < 0xA0 else "map" if kind < 0x90 else None
    if shape == "text":
        return data[at:at + length].decode(), at + length
    if shape == "list":
        items = []
        for _ in range(length):
            item, at = unpack_at(data, at)
            items.append(item)
        return items, at
    if shape == "map":
        entries = {}
        for _ in range(length):
            key, at = unpack_at(data, at)
            entries[key], at = unpack_at(data, at)
        return entries, at
    raise ValueError(f"no message has the type byte {kind:#x}")


class Broker:
    def __init__(self, fd):
        self.channel = socket.socket(fileno=fd)
        self.next_id = 1
        hello, _ = self.receive()
        if hello.get("magic") != "ratchet-broker" or hello.get("version") != 1:
            raise ConnectionError("not a broker of version 1")
        self.hello = hello

    def receive(self):
        """One packet: its message, and its fds, close-on-exec (Python does that). Truncation is fatal."""
        data, control, flags, _ = self.channel.recvmsg(MAX_REPLY, socket.CMSG_SPACE(4))
        fds = array.array("i")
        for level, kind, payload in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[:len(payload) - len(payload) % fds.itemsize])
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or not data:
            for fd in fds:
                os.close(fd)
            raise ConnectionError("the channel has ended" if not data else "a packet was cut")
        return unpack(data), list(fds)

    def request(self, kind, **arguments):
        """Gives the result and its fd, if it has one. Events in between are not looked at."""
        self.channel.send(pack({"type": kind, "id": self.next_id, **arguments}))
        self.next_id += 1
        while True:
            message, fds = self.receive()
            if message["type"] == "result" and message["id"] == self.next_id - 1:
                return message, fds[0] if fds else None
            for fd in fds:
                os.close(fd)


def channel(where):
    if where.isdigit():
        return int(where)
    agent = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    agent.connect(where)
    return agent.detach()


def main(where, kind, *words):
    broker = Broker(channel(where))
    if kind == "connect":
        result, got = broker.request("connect", address=words[0], timeoutMs=10000)
    elif kind == "open":
        result, got = broker.request("open", path=words[0], access=words[1] if len(words) > 1 else "ro")
    else:
        result, got = broker.request(kind)
    print(json.dumps({"stage": broker.hello["stage"], **result, "fd": None if got is None else os.readlink(f"/proc/self/fd/{got}")}))
    return 0 if result["class"] == "ok" else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
