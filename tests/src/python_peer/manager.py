"""A manager with the types of `SyncManager` and some of its own; serves until it is told to end."""
import operator
import sys
from multiprocessing.managers import BaseProxy, SyncManager


class Maths:
    def __init__(self, base=0, scale=1):
        self.base = base
        self.scale = scale

    def add(self, x, y):
        return self.base + self.scale * (x + y)

    def boom(self):
        raise KeyError('nope')

    def custom(self):
        raise MyError('custom', 7)

    def unserializable(self):
        return lambda: 0

    def count(self, most):
        return iter(range(most))

    def same(self, thing):
        return thing

    def length(self, thing):
        return len(thing)

    def _private(self):
        return 'private'


class MyError(Exception):
    pass


class MyManager(SyncManager):
    pass


def main():
    address, key = sys.argv[1:]
    MyManager.register('Maths', Maths)
    MyManager.register('Counter', Maths, exposed=('count', 'add'), method_to_typeid={'count': 'Iterator'})
    MyManager.register('operator', callable=lambda: operator, exposed=('pow', 'add'))
    manager = MyManager(address=eval(address), authkey=bytes.fromhex(key))
    server = manager.get_server()
    where = server.address
    print(where if isinstance(where, str) else '@' + where[1:].decode() if isinstance(where, bytes) else '%s:%d' % where, flush=True)
    server.serve_forever()


if __name__ == '__main__':
    main()
