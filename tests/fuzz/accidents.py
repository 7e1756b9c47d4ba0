"Odd inputs by accident: what disks, downloads and editors do to the bytes of a good one"
import re

NUMBERS = [b'1e400', b'1' + b'0'*400, b'-1', b'NaN', b'Infinity', b'1e308', b'9'*5000, b'null', b'true', b'0', b'-0.0',
           b'1e-320',
           b'"x"', b'[]', b'{}', b'18446744073709551616', b'2147483648', b'1e15', b'1_0', b'\xef\xbb\xbf',
           b'\xe2\x80\xa8']

def flip(rng, data):
    for _ in range(rng.choice([1, 1, 2, 8, 64])): data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)

def overwrite(rng, data):
    for _ in range(rng.choice([1, 4, 32])): data[rng.randrange(len(data))] = rng.choice([0, 255, 127, 128, 10, 32,
        rng.randrange(256)])

def cut_off(rng, data): del data[rng.randrange(len(data)):]

def repeat(rng, data):
    i = rng.randrange(len(data))
    data[i:i] = data[i:i + rng.choice([1, 10, 100, 1000])]*rng.choice([1, 2, 5])

def drop(rng, data):
    i = rng.randrange(len(data))
    del data[i:i + rng.choice([1, 10, 100, 1000])]

def another_number(rng, data):
    found = [*re.finditer(rb'-?\d+(\.\d+)?', bytes(data))]
    start, end = rng.choice(found).span() if found else (0, 0)
    data[start:end] = rng.choice(NUMBERS)

def noise(rng, data):
    i = rng.randrange(len(data))
    data[i:i] = rng.randbytes(rng.choice([1, 8, 100]))

def blank(rng, data):
    i = rng.randrange(len(data))
    n = len(data[i:i + rng.choice([4, 8, 32, 512])])
    data[i:i + n] = rng.choice([b'\0', b'\xff'])*n

ACCIDENTS = [flip, overwrite, cut_off, repeat, drop, another_number, noise, blank]

def mutated(
    rng, # random.Random
    data:bytes, # of a good file
)->bytes:
    "The bytes after an accident or two"
    data = bytearray(data)
    for _ in range(1 + (rng.random() < .2)):
        if data: rng.choice(ACCIDENTS)(rng, data)
    return bytes(data)
