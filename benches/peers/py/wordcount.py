"""Counts the words of files with multiprocessing.Pool: the peer of examples/wordcount.

Same rules, same ranges, same JSON. Only the standard library, and nothing slower than it must be: one
bytes.translate per block, one split, one Counter.update.
"""

import argparse
import collections
import heapq
import json
import multiprocessing
import os
import stat
import sys
import time

WORD_BYTES = 1024
SNIFF_BYTES = 8 << 10
READ_BYTES = 1 << 18  # measured: 64 KiB and 256 KiB alike, 1 MiB and more slower
SMALL_FILE_BYTES = 8 << 20
RANGE_BYTES = 32 << 20
TASK_FILES = 256
MAX_COMPLAINTS = 20
CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
WHOLE, FIRST, LATER = range(3)
UNREADABLE, VANISHED = range(2)


def fold_table():
    """Letters to lower case, everything that is not part of a word to a space."""
    table = bytearray(b" " * 256)
    for byte in range(256):
        if chr(byte).isalnum() and byte < 0x80 or byte >= 0x80:
            table[byte] = byte
    for byte in b"ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        table[byte] = byte + 32
    return bytes(table)


FOLD = fold_table()


# The walk: paths to tasks. A task is (pieces, troubles), a piece (path, start, end, share), a trouble
# (path, share, kind, reason).


def trouble_on_seen(path, share, error):
    kind = VANISHED if isinstance(error, FileNotFoundError) else UNREADABLE
    return path, share, kind, error.strerror or str(error)


def is_cache(folder):
    tag = os.path.join(folder, b"CACHEDIR.TAG")
    try:
        if not stat.S_ISREG(os.lstat(tag).st_mode):
            return False
        with open(tag, "rb", buffering=0) as file:
            return file.read(len(CACHE_SIGNATURE)) == CACHE_SIGNATURE
    except OSError:
        return False


def walk_folder(path, is_root):
    """Yields (path, length) or a trouble."""
    if not is_root and is_cache(path):
        return
    try:
        with os.scandir(path) as entries:
            entries = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if is_root:
            yield path, WHOLE, UNREADABLE, error.strerror
        else:
            yield trouble_on_seen(path, WHOLE, error)
        return
    for entry in entries:
        if entry.name.startswith(b"."):
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from walk_folder(entry.path, False)
            elif entry.is_file(follow_symlinks=False):
                yield entry.path, entry.stat(follow_symlinks=False).st_size
        except OSError as error:
            yield trouble_on_seen(entry.path, WHOLE, error)


def walk(roots):
    for root in roots:
        try:
            data = os.stat(root)
        except OSError as error:
            yield root, WHOLE, UNREADABLE, error.strerror
            continue
        if stat.S_ISREG(data.st_mode):
            yield root, data.st_size
        elif stat.S_ISDIR(data.st_mode):
            yield from walk_folder(root, True)
        else:
            yield root, WHOLE, UNREADABLE, "neither a file nor a folder"


def ranges(path, length):
    start = 0
    while start < length:
        left = length - start
        size = min(max(left // 4, SMALL_FILE_BYTES), RANGE_BYTES)
        if left < size + SMALL_FILE_BYTES // 2:
            size = left
        share = LATER if start else FIRST if size < length else WHOLE
        yield path, start, start + size, share
        start += size


def tasks(roots):
    pieces, troubles, size = [], [], 0
    for found in walk(roots):
        if len(found) == 4:
            troubles.append(found)
        else:
            path, length = found
            if pieces and size + length > SMALL_FILE_BYTES:
                yield pieces, troubles
                pieces, troubles, size = [], [], 0
            if length > SMALL_FILE_BYTES:
                for piece in ranges(path, length):
                    yield [piece], []
                continue
            pieces.append((path, 0, length, WHOLE))
            size += length
        if len(pieces) + len(troubles) >= TASK_FILES:
            yield pieces, troubles
            pieces, troubles, size = [], [], 0
    if pieces or troubles:
        yield pieces, troubles


# The count: tasks to partial results.


def read_full(file, size):
    parts = []
    while size:
        part = file.read(size)
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def count_range(file, start, end, counts, sizes):
    """Counts the words that start in start..end; true if the file is binary."""
    text = read_full(file, min(end, SNIFF_BYTES))
    if b"\0" in text:
        return True
    at = len(text)
    is_inside = start > 0
    if is_inside:
        # The byte before the range tells whether the range starts inside of a word.
        at = file.seek(start - 1)
        text = b""
        sizes.append(-1)
    sizes.append(len(text))
    text = text.translate(FOLD)
    while True:
        if is_inside:
            gap = text.find(b" ")
            if gap >= 0:
                text = text[gap:]
                is_inside = False
        if is_inside:
            held = b""
        else:
            cut = text.rfind(b" ") + 1
            held = text[cut:]
            counts.update(text[:cut].split())
            if len(held) >= WORD_BYTES:
                counts[held[:WORD_BYTES]] += 1
                held = b""
                is_inside = True
        want = min(end - at, READ_BYTES)
        fresh = file.read(want) if want else b""
        if not fresh:
            break
        at += len(fresh)
        sizes.append(len(fresh))
        text = held + fresh.translate(FOLD)
    if held:
        held += read_full(file, WORD_BYTES - len(held)).translate(FOLD)
        counts[held.partition(b" ")[0]] += 1
    return False


def count_task(task):
    pieces, troubles = task
    counts, sizes = collections.Counter(), []
    files = empty = binary = 0
    for path, start, end, share in pieces:
        try:
            file = open(path, "rb", buffering=0)
        except OSError as error:
            troubles.append(trouble_on_seen(path, share, error))
            continue
        try:
            with file:
                is_binary = count_range(file, start, end, counts, sizes)
        except OSError as error:
            troubles.append((path, share, UNREADABLE, error.strerror))
            continue
        if share != LATER:
            files += 1
            empty += end == 0
            binary += is_binary
    for word in [word for word in counts if len(word) > WORD_BYTES]:
        counts[word[:WORD_BYTES]] += counts.pop(word)
    return files, empty, binary, sum(sizes), troubles, dict(counts)


# The report.


class Summary:
    def __init__(self, roots):
        self.files = self.empty = self.binary = self.vanished = self.bytes = 0
        self.complaints = []
        self.table = collections.Counter()
        self.good_roots = set(roots)
        self.failed_files = set()
        self.failed_ranges = {}

    def add(self, partial):
        files, empty, binary, size, troubles, counts = partial
        self.files += files
        self.empty += empty
        self.binary += binary
        self.bytes += size
        table = self.table
        for word, count in counts.items():
            table[word] += count
        for path, share, kind, reason in troubles:
            if share == LATER:
                self.failed_ranges.setdefault(path, reason)
                continue
            self.good_roots.discard(path)
            if share == FIRST:
                self.failed_files.add(path)
            if kind == VANISHED:
                self.vanished += 1
            else:
                self.complaints.append((path, reason))

    def finish(self):
        for path, reason in sorted(self.failed_ranges.items()):
            if path not in self.failed_files:
                self.complaints.append((path, reason))

    def top(self, limit):
        return heapq.nsmallest(limit, self.table.items(), key=lambda item: (-item[1], item[0]))


def parse_args():
    parser = argparse.ArgumentParser(description="Counts the words of files with worker processes.")
    parser.add_argument("paths", nargs="*", default=["."])
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main():
    args = parse_args()
    started = time.perf_counter()
    roots = [os.fsencode(path) for path in args.paths]
    summary = Summary(roots)
    with multiprocessing.Pool(args.workers) as pool:
        for partial in pool.imap_unordered(count_task, tasks(roots)):
            summary.add(partial)
    summary.finish()
    seconds = time.perf_counter() - started
    for path, reason in summary.complaints[:MAX_COMPLAINTS]:
        print(f"wordcount: {os.fsdecode(path)!r}: {reason}", file=sys.stderr)
    if len(summary.complaints) > MAX_COMPLAINTS:
        print(f"wordcount: and {len(summary.complaints) - MAX_COMPLAINTS} more", file=sys.stderr)
    report = {
        "files": summary.files,
        "empty": summary.empty,
        "binary": summary.binary,
        "unreadable": len(summary.complaints),
        "vanished": summary.vanished,
        "bytes": summary.bytes,
        "words": summary.table.total(),
        "distinct": len(summary.table),
        "mode": "python",
        "workers": args.workers,
        "seconds": seconds,
        "mb_per_s": summary.bytes / 1e6 / seconds,
        "top": [(word.decode(errors="replace"), count) for word, count in summary.top(args.top)],
    }
    if args.json:
        print(json.dumps(report))
    else:
        for name, value in report.items():
            if name != "top":
                print(f"{name:<15}{value:>15}")
        print()
        for word, count in report["top"]:
            print(f"{count:>15}  {word}")
    return 1 if not summary.files and not summary.good_roots else 0


if __name__ == "__main__":
    sys.exit(main())
