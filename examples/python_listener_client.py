"""The Python side of python_listener_client.rs: stock code."""
import array
import sys
from multiprocessing.connection import Client, Listener

KEY = b'secret password'

if sys.argv[1] == 'connect':
    with Client(('127.0.0.1', int(sys.argv[2])), authkey=KEY) as connection:
        connection.send((2.25, None, 'junk', 1.5))
        connection.send_bytes(array.array('i', [42, 1729]))
else:
    with Listener(('127.0.0.1', 0), authkey=KEY) as listener:
        print(listener.address[1], flush=True)
        with listener.accept() as connection:
            words = connection.recv()
            connection.send({'words': len(words), 'longest': max(words, key=len)})
