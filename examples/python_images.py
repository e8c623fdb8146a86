"""The Python side of python_images.rs: a program that has pictures, and wants thumbnails."""
import queue
import sys
import threading
from multiprocessing.managers import BaseManager

PICTURES, WIDTH, HEIGHT, SMALLER = 24, 320, 240, 5


class PictureManager(BaseManager):
    pass


pictures, thumbnails = queue.Queue(maxsize=4), queue.Queue()
PictureManager.register('pictures', callable=lambda: pictures)
PictureManager.register('thumbnails', callable=lambda: thumbnails)
server = PictureManager(address=('127.0.0.1', 0), authkey=b'pictures').get_server()
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.address[1], flush=True)

for number in range(PICTURES):
    pictures.put((number, WIDTH, bytes([number * 10]) * (WIDTH * HEIGHT)))
pictures.put(None)

seen = set()
for _ in range(PICTURES):
    number, width, pixels = thumbnails.get()
    assert set(pixels) == {number * 10} and (width, len(pixels) // width) == (WIDTH // SMALLER, HEIGHT // SMALLER)
    seen.add(number)
sys.exit(0 if seen == set(range(PICTURES)) else 1)
