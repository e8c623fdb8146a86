"""What goes over a connection between two processes, and how it is timed: that of benches/src/line.rs.

Both processes go through the same steps. Each message bears its number at both ends; the last one of a phase is marked.
"""
import json
import mmap
import os
import struct
import time

DIVISOR = max(1, int(os.environ.get("PEERS_DIV", "1")))
LAST = 1 << 63
MIX = 0x5A5A_5A5A_5A5A_5A5A
MOST_TRIPS = 20_000
LEAST = 3
KIB, MIB = 1 << 10, 1 << 20
WORD = struct.Struct("=Q")
PATTERN = bytes(range(251))

now = time.perf_counter_ns


def figure(metric, value, unit):
    print(json.dumps({"m": metric, "v": value, "u": unit}), flush=True)


def quantile(samples, percent):
    samples = sorted(samples)
    return samples[((len(samples) - 1) * percent + 50) // 100]


def size_name(size):
    return f"{size // MIB}MiB" if size >= MIB else f"{size // KIB}KiB" if size >= KIB else f"{size}B"


def pattern(size):
    return (PATTERN * (size // len(PATTERN) + 1))[:size]


class Words:
    """Numbers as values."""

    size = 8

    def __init__(self, connection):
        self.give, self.take = connection.send, connection.recv

    def send(self, word):
        self.give(word)

    def recv(self, thorough):
        return self.take()


class WordBytes(Words):
    """Numbers as eight bytes."""

    def __init__(self, connection):
        self.give, self.take = connection.send_bytes, connection.recv_bytes

    def send(self, word):
        self.give(WORD.pack(word))

    def recv(self, thorough):
        return WORD.unpack(self.take())[0]


class Bytes:
    """Bytes that the sender keeps; the receiver gets an object of its own."""

    def __init__(self, connection, size):
        self.connection, self.size = connection, size
        self.out = memoryview(mmap.mmap(-1, size))
        self.out[:] = pattern(size)

    def stamped(self, word):
        WORD.pack_into(self.out, 0, word)
        WORD.pack_into(self.out, self.size - 8, word)
        return self.out

    def look(self, message, thorough):
        first, last = WORD.unpack_from(message, 0)[0], WORD.unpack_from(message, len(message) - 8)[0]
        assert first == last and len(message) == self.size, "a message came damaged"
        if thorough:
            assert message[8:-8] == self.out[8:-8], "a message came damaged"
        return first

    def send(self, word):
        self.connection.send_bytes(self.stamped(word))

    def recv(self, thorough):
        return self.look(self.connection.recv_bytes(), thorough)


class Kept(Bytes):
    """Bytes from a buffer that is kept into a buffer that is kept."""

    def __init__(self, connection, size):
        super().__init__(connection, size)
        self.buffer = memoryview(mmap.mmap(-1, size))

    def recv(self, thorough):
        return self.look(self.buffer[: self.connection.recv_bytes_into(self.buffer)], thorough)


class OwnedBytes(Bytes):
    """Bytes that are made for each message."""

    def send(self, word):
        self.connection.send_bytes(bytes(self.stamped(word)))


class Owned(Bytes):
    """The same as a value."""

    def send(self, word):
        self.connection.send(bytes(self.stamped(word)))

    def recv(self, thorough):
        return self.look(self.connection.recv(), thorough)


def expect(word, right):
    assert word == right, f"a message is number {word ^ MIX:#x} instead of {right ^ MIX:#x}"


def phases(length_s):
    return (True, length_s / 10), (False, length_s)


def lead_trips(name, freight, length_s=0.15):
    for thorough, length_s in phases(length_s / DIVISOR):
        trips, number = [], 0
        begin = before = now()
        end = begin + length_s * 1e9
        last = 0
        while not last:
            last = LAST * (number + 1 == MOST_TRIPS or (number + 1 >= LEAST and before >= end))
            freight.send((number | last) ^ MIX)
            expect(freight.recv(thorough), number ^ MIX)
            after = now()
            trips.append(after - before)
            before = after
            number += 1
    figure(f"rtt_p50[{name}]", quantile(trips, 50) / 1e3, "us")
    if freight.size == 8:
        figure(f"rtt_p99[{name}]", quantile(trips, 99) / 1e3, "us")


def follow_trips(freight):
    for thorough, _ in phases(0):
        number, last = 0, 0
        while not last:
            word = freight.recv(thorough) ^ MIX
            last = word & LAST
            expect(word, number | last)
            freight.send(number ^ MIX)
            number += 1


def lead_stream(metric, freight, words, length_s=0.15):
    glance = min(max(64 * KIB // freight.size, 1), 256)
    for _, length_s in phases(length_s / DIVISOR):
        number = 0
        begin = now()
        end = begin + length_s * 1e9
        while number + 1 < LEAST or now() < end:
            for _ in range(glance):
                freight.send(number ^ MIX)
                number += 1
        freight.send((number | LAST) ^ MIX)
        expect(words.recv(False), (number * (number + 1) // 2) ^ MIX)
        took_ns = now() - begin
    rate = (number + 1) / (took_ns / 1e9)
    if metric.startswith("msgs"):
        figure(metric, rate, "msg/s")
    else:
        figure(metric, rate * freight.size / 1e9, "GB/s")


def follow_stream(freight, words):
    for thorough, _ in phases(0):
        number, last, total = 0, 0, 0
        while not last:
            word = freight.recv(thorough) ^ MIX
            last = word & LAST
            expect(word, number | last)
            total += number
            number += 1
        words.send(total ^ MIX)


def lead_idle(words):
    words.recv(False)
    begin = now()
    time.sleep(1 / DIVISOR)
    length_ns = now() - begin
    words.send(MIX)
    figure("cpu_idle", (words.recv(False) ^ MIX) * 1e6 / length_ns, "us/s")


def follow_idle(words):
    words.send(MIX)
    before = time.process_time_ns()
    words.recv(False)
    words.send((time.process_time_ns() - before) ^ MIX)
