"""One side of a connection: listens or connects, asks or echoes. Lines on standard output tell the test what happens."""
import array
import collections
import datetime
import decimal
import enum
import fractions
import pickle
import queue
import sys
import uuid
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener


def say(*words):
    print(*words, flush=True)


class Point:
    def __init__(self, x, y):
        self.x = x
        self.y = y

    def __eq__(self, other):
        return type(other) is Point and vars(self) == vars(other)


class Slotted:
    __slots__ = ('a', 'b')

    def __init__(self):
        self.a = [1]
        self.b = 'b'

    def __eq__(self, other):
        return type(other) is Slotted and (self.a, self.b) == (other.a, other.b)


class MyDict(dict):
    pass


class MyList(list):
    pass


class MyError(Exception):
    pass


class Color(enum.Enum):
    RED = 1


Pair = collections.namedtuple('Pair', 'one two')


class WithKeywords:
    def __new__(cls, *, key):
        made = object.__new__(cls)
        made.key = key
        return made

    def __getnewargs_ex__(self):
        return (), {'key': self.key}

    def __eq__(self, other):
        return type(other) is WithKeywords and self.key == other.key


def values():
    shared = ['shared']
    subclass = MyDict(a=1)
    subclass.attribute = [2]
    counted = MyList([1, 2, 3])
    noted = KeyError('key')
    noted.detail = 'more'
    integers = [0, 1, -1, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -2**31, -2**31 - 1]
    integers += [2**63 - 1, 2**63, -2**63, -2**63 - 1, 2**64, 2**100, -2**100, 2**2040, -2**2040, 2**5000]
    return [
        None, True, False, 0.0, -0.0, 1.5, -1e300, float('inf'), 1j, complex(-1.5, 2.5),
        *integers,
        '', 'a', 'é', '€' * 100, 'x' * 255, 'x' * 256, 'x' * 70000, '\0', '\ud800', 'a\udcffb', '\U0001f600',
        b'', b'a', bytes(range(256)), b'x' * 70000, bytearray(), bytearray(b'abc'), bytearray(70000),
        [], [1], [1, 2], list(range(2500)), (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [[[[]]]],
        {}, {'a': 1}, {1: 'one', (2, 3): None, 'z': {}}, {n: n * n for n in range(2500)},
        set(), {1}, {1, 'a', None}, set(range(2500)), frozenset(), frozenset({1, (2, 3)}),
        slice(1, 2), slice(None, None, -1), range(5), range(10, 0, -3), range(2**70), range(0),
        array.array('i', [1, -2, 3]), array.array('d', [0.5, -1e9]), array.array('b'), array.array('Q', [2**63]),
        array.array('H', [65535]), array.array('f', [0.25]),
        [shared, shared, {'again': shared}], (shared, (shared,)),
        Point(1, [2]), Slotted(), subclass, counted, Color.RED, Pair(1, 'two'), WithKeywords(key='k'),
        decimal.Decimal('1.5'), fractions.Fraction(1, 3), datetime.datetime(2020, 1, 2, 3, 4, 5),
        datetime.timedelta(days=1), uuid.UUID(int=7), collections.OrderedDict([('b', 1), ('a', 2)]),
        collections.deque([1, 2], 5), collections.Counter('aab'), collections.defaultdict(list, {'a': [1]}),
        int, len, Point, collections.OrderedDict, Point.__init__,
        [Point(1, 2)] * 3, {'nested': [Point(Point(1, 2), (3,))]},
    ], [
        ValueError('bad'), noted, KeyError(), OSError(2, 'nope', 'file'), StopIteration(), MyError(1, 'x'),
        UnicodeDecodeError('utf-8', b'x', 0, 1, 'why'), queue.Empty(), queue.Full(), ZeroDivisionError('division by zero'),
    ]


def same_exception(one, other):
    return type(one) is type(other) and one.args == other.args and vars(one) == vars(other) and str(one) == str(other)


def check(connection, what, got, value, same):
    if not same:
        raise SystemExit('%s: %r came back as %r' % (what, value, got))


def same(one, other):
    return type(one) is type(other) and one == other and repr(one)[:200].split(' at 0x')[0] == repr(other)[:200].split(' at 0x')[0]


def ask(connection):
    """Sends everything there is, and wants it back as it was."""
    plain, exceptions = values()
    count = 0
    for value in plain:
        connection.send(value)
        got = connection.recv()
        is_set = isinstance(value, (set, frozenset))
        check(connection, 'send', got, value, (type(got) is type(value) and got == value) if is_set else same(got, value))
        count += 1
    for value in exceptions:
        connection.send(value)
        got = connection.recv()
        check(connection, 'send', got, value, same_exception(got, value))
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        for value in plain:
            connection.send_bytes(pickle.dumps(value, protocol))
            got = connection.recv()
            check(connection, 'protocol %d' % protocol, got, value, type(got) is type(value) and got == value)
            count += 1
        for value in exceptions:
            connection.send_bytes(pickle.dumps(value, protocol))
            check(connection, 'protocol %d' % protocol, None, value, same_exception(connection.recv(), value))
    everything = [plain, {'plain': tuple(plain)}]
    connection.send(everything)
    got = connection.recv()
    check(connection, 'everything', got, everything, got == everything)
    # What cannot be a tree is told of, and the connection goes on.
    recursive = []
    recursive.append(recursive)
    connection.send(recursive)
    check(connection, 'recursive', None, None, connection.recv() == ('error', 'Unsupported'))
    connection.send_bytes(b'nonsense')
    check(connection, 'nonsense', None, None, connection.recv() == ('error', 'Decode'))
    # Sizes around those at which frames are written in other ways.
    for size in (16384 - 20, 16384, 16385, 1 << 20):
        connection.send(bytes(size))
        check(connection, 'size', None, size, connection.recv() == bytes(size))
    say('equal', count)
    connection.send('stop')


def echo(connection):
    """Sends back what comes, until the end."""
    while True:
        try:
            connection.send(connection.recv())
        except EOFError:
            say('end')
            return


def main():
    role, what, address, key = sys.argv[1:]
    key = bytes.fromhex(key)
    key = key or None
    try:
        if role == 'listen':
            with Listener(eval(address), authkey=key) as listener:
                where = listener.address
                say(where if isinstance(where, str) else '@' + where[1:].decode() if isinstance(where, bytes) else '%s:%d' % where)
                connection = listener.accept()
        else:
            connection = Client(eval(address), authkey=key)
    except AuthenticationError as error:
        say('refused', error)
        return
    except (EOFError, ConnectionError, AssertionError) as error:
        say('gone', type(error).__name__)
        return
    with connection:
        {'ask': ask, 'echo': echo}[what](connection)


if __name__ == '__main__':
    main()
