"Inputs that someone made on purpose: each has one right outcome"
import gzip, json, os, pickle, struct, zipfile
from dataclasses import dataclass
import h5py, numpy as np
from .objects import as_bytes, npy, npz

ROWS = np.random.default_rng(0).standard_normal((20, 16)).astype(np.float16)

@dataclass
class Case:
    "One input"
    reader: str
    want: str # 'refused', 'right', or 'either'
    make: object # writes it into a folder

CASES = {}

def add(reader, want, name, make): CASES[f"{reader.split(',')[0]}: {name}"] = Case(reader, want, make)

def files(**named): # name -> bytes, text or what json can say; '__' is a dot
    "Writes them"
    def make(folder):
        for name,data in named.items():
            text = data if isinstance(data, bytes) else data.encode() if isinstance(data, str) else as_bytes(data)
            (folder/name.replace('__', '.')).write_bytes(text)
    return make

# ActivityNet's layout
TEST = {'t': dict(duration=20., timestamps=[[1, 5]], sentences=['a dog jumps'])}
def one(**other): return {'v1': dict(dict(duration=20., timestamps=[[1, 5], [2, 9]],
                                          sentences=['a dog jumps', 'a cat runs'])) | other}
def captions(want, name, train, reader='activitynet_captions'): add(reader, want, name,
    files(train__json=train, test__json=TEST))

captions('right', 'as it should be', one())
captions('right', 'times as text', one(timestamps=[['1', '5'], [2, 9]]))
captions('right', 'a sentence of 500 words', one(sentences=[' '.join(['dog']*500), 'x']))
for name,value in {'null': None, 'a number': 3, 'one string': 'ab', 'null in it': [None, 'x'],
                   'a number in it': [5, 'x'], 'an object in it': [{}, 'x'],
                   'half of a surrogate pair': ['a \ud800 dog', 'x']}.items():
    captions('refused', f'sentences: {name}', one(sentences=value))
for name,value in {'null': None, 'a number': 3, 'true': [[True, 5], [2, 9]], '1_0': [['1_0', '15'], [2, 9]],
                   'inf': [[1, float('inf')], [2, 9]],
                   'half NaN': [[float('nan'), 5], [2, 9]], 'null in both': [[None, None], [2, 9]]}.items():
    captions('refused', f'timestamps: {name}', one(timestamps=value))
for name,value in {'true': True, 'negative': -3, 'NaN': float('nan'), '10**400': 10**400, 'null': None}.items():
    captions('refused', f'duration: {name}', one(duration=value))
captions('refused', 'half of a surrogate pair in a name', {'\ud800': one()['v1']})
captions('refused', 'a video twice', '{"v": %s, "v": %s}' % (json.dumps(one()['v1']),
    json.dumps(one(duration=9)['v1'])))
captions('refused', 'nested 3,000 deep', '['*3000 + ']'*3000)
captions('refused', 'nested 200,000 deep', '['*200_000)
captions('refused', 'a number of 5,000 digits',
         '{"v": {"duration": ' + '9'*5000 + ', "timestamps": [], "sentences": []}}')
captions('refused', 'a list', [])
captions('refused', 'UTF-16', json.dumps(one()).encode('utf-16'))
captions('right', 'a byte-order mark', b'\xef\xbb\xbf' + as_bytes(one()))
for name,fps in {'0': 0, '1e-320': 1e-320, 'null': None}.items():
    captions('refused', f'fps {name}', {'v': dict(num_frames=100, fps=fps, timestamps=[[1, 5]], sentences=['a dog'])},
             'tacos')
def linked(to):
    def make(folder):
        files(test__json=TEST)(folder)
        (folder/'train.json').symlink_to(to)
    return make
add('activitynet_captions', 'refused', 'a dangling link', linked('nowhere'))
add('activitynet_captions', 'refused', 'a link to itself', linked('train.json'))
add('activitynet_captions', 'refused', 'a folder where a file is',
    lambda d: (files(test__json=TEST)(d), (d/'train.json').mkdir()))
add('activitynet_captions', 'refused', 'a pipe', lambda d: (files(test__json=TEST)(d), os.mkfifo(d/'train.json')))

# a query a line
def line(**other): return dict(vid='v1', query='a dog jumps', duration=20.) | other
def lines(want, name, *rows): add('jsonl', want, name,
                                  files(train__jsonl='\n'.join(r if isinstance(r, str) else json.dumps(r)
                                      for r in rows)))
for name,other in {'query null': dict(query=None), 'query a number': dict(query=7), 'vid null': dict(vid=None),
                   'vid a list': dict(vid=['a']),
                   'relevant_windows a number': dict(relevant_windows=5),
                   'relevant_windows text': dict(relevant_windows='ab'),
                   'relevant_windows an object': dict(relevant_windows={'ab': 1}),
                   'half a window': dict(relevant_windows=[[None, 3]]), 'a start alone': dict(start=3),
                   'times in lists': dict(start=[1], end=[2]),
                   'true and false as times': dict(start=False, end=True),
                   'an end of 10**400': dict(start=1, end=10**400), 'a negative start': dict(start=-5, end=3)}.items():
    lines('refused', name, line(**other))
for name,c in {'U+2028': '\u2028', 'U+2029': '\u2029', 'U+0085': '\x85'}.items():
    lines('right', f'{name} in a sentence', json.dumps(line(query=f'a{c}b'), ensure_ascii=False),
          json.dumps(line(query='a cat')))
lines('right', 'lines end in CR LF', json.dumps(line()) + '\r', json.dumps(line(query='a cat')) + '\r')
lines('refused', 'brackets without end', '['*100_000)

# Charades-STA
def charades(want, name, text='A 1 5##a dog\n', table='id,length\nA,20\n'):
    good = dict(charades_sta_test__txt='A 1 5##a dog\n', Charades_v1_test__csv='id,length\nA,20\n')
    add('charades_sta', want, name, files(charades_sta_train__txt=text, Charades_v1_train__csv=table, **good))
charades('right', 'a form feed in a sentence', 'A 1 5##a dog\x0cjumps\n')
charades('right', 'U+0085 in a sentence', 'A 1 5##a dog\x85jumps\nA 2 6##a cat\n')
charades('right', 'two marks in a line', 'A 1 5##a dog##jumps\n')
for name,text in {'NaN': 'A nan nan##a dog\n', 'half NaN': 'A nan 5##a dog\n', '1_0': 'A 1_0 1_5##a dog\n',
                  'no mark': 'A 1 5 a dog\n', 'another video': 'B 1 5##a dog\n'}.items():
    charades('refused', name, text)
for name,table in {'a field of 200,000 letters': 'id,length\n"' + 'x'*200_000 + '",20\n',
                   'a video with two lengths': 'id,length\nA,20\nA,40\n', 'a short row': 'id,length\nA\n',
                   'a quote without end': 'id,length\n"A,20\n', 'an empty table': ''}.items():
    charades('refused', name, table=table)

# HDF5
def h5(want, name, fill, good=True, readers=('features',)):
    def make(folder):
        with h5py.File(folder/'f.hdf5', 'w') as f:
            if good: f['v0'] = ROWS
            fill(f, folder)
    for reader in readers: add(reader, want, name, make)
def other(folder, name='secret.hdf5'):
    with h5py.File(folder.parent/name, 'w') as f: f['s'] = ROWS
    return str(folder.parent/name)
def pipe(folder):
    os.mkfifo(folder.parent/'pipe')
    return str(folder.parent/'pipe')
def virtual(f, source):
    layout = h5py.VirtualLayout(ROWS.shape, ROWS.dtype)
    layout[:] = h5py.VirtualSource(source, 's', ROWS.shape)
    f.create_virtual_dataset('v1', layout)
def raw(f, source): f.create_dataset('v1', (40, 16), dtype='u1', external=[(source, 0, 640)])
def put(f, name, x): f[name] = x
h5('right', 'as it should be', lambda f, d: None)
h5('right', 'big-endian rows', lambda f, d: put(f, 'v1', ROWS.astype('>f4')))
h5('right', 'rows (T, 1, 1, D)', lambda f, d: put(f, 'v1', np.zeros((5, 1, 1, 16), 'f4')))
h5('right', 'a rate as an array of one', lambda f, d: f.attrs.__setitem__('rows_per_second', np.array([2.])))
for name,make in {'an external link': lambda f, d: put(f, 'v1', h5py.ExternalLink(other(d), '/s')),
                  'an external link to a pipe': lambda f, d: put(f, 'v1', h5py.ExternalLink(pipe(d), '/s')),
                  'an external link to nothing': lambda f, d: put(f, 'v1', h5py.ExternalLink('nowhere.h5', '/x')),
                  'a virtual data set': lambda f, d: virtual(f, other(d)),
                  'a virtual data set of nothing': lambda f, d: virtual(f, 'nowhere.h5'),
                  'external storage': lambda f, d: raw(f, '/etc/passwd'),
                  'external storage in a pipe': lambda f, d: raw(f, pipe(d)),
                  'a dangling link': lambda f, d: put(f, 'v1', h5py.SoftLink('/nowhere')),
                  'a link to itself': lambda f, d: put(f, 'v1', h5py.SoftLink('/v1')),
                  'a group within itself': lambda f, d: put(f.create_group('v1'), 'me', f['v1']),
                  'a named type': lambda f, d: put(f, 'v1', np.dtype('f8'))}.items():
    h5('refused', name, make)
for name,x in {'text': 'hello', 'one number': 3.5, 'complex numbers': np.zeros((3, 16), 'c8'),
               'booleans': np.zeros((3, 16), bool), 'opaque bytes': np.zeros((3, 16), 'V8'),
               'no rows': np.zeros((0, 16), 'f4'),
               'no columns': np.zeros((5, 0), 'f4'), 'one axis': np.zeros(16, 'f4'), 'NaN': np.full((5, 16), np.nan),
               'another width': np.zeros((5, 8), 'f4')}.items():
    h5('refused', f'a video is {name}', lambda f, d, x=x: put(f, 'v1', x))
for key in ('rows_per_second', 'seconds'):
    for name,x in {'text': 'fast', 'two numbers': [1., 2.], 'NaN': np.nan, 'negative': -2.}.items():
        h5('refused', f'{key} is {name}', lambda f, d, key=key, x=x: f['v0'].attrs.__setitem__(key, x))
for name,x in {'text': 'big', 'two numbers': [1., 2.], 'NaN': np.nan}.items():
    h5('refused', f'scale is {name}', lambda f, d, x=x: f.create_dataset('v0',
        data=(9*ROWS).astype('i1')).attrs.__setitem__('scale', x), good=False)
h5('refused', 'an encoder without its facts', lambda f, d: f.attrs.__setitem__('encoder', 'world'))
h5('refused', 'a filter that is missing',
    lambda f, d: f.create_dataset('v1', (8, 16), dtype='f4', chunks=(4, 16), compression=32015,
                                  allow_unknown_filter=True).id.write_direct_chunk((0, 0), b'junk'))
h5('refused', '4 TB declared', lambda f, d: f.create_dataset('v1', (10**9, 1000), dtype='f4', chunks=(1000, 1000)))
h5('refused', '5 GB declared', lambda f, d: f.create_dataset('v1', (80_000_000, 16), dtype='f4', chunks=(1000, 16)))
def h5_bomb(f, d): f.create_dataset('v1', shape=(80_000_000, 16), dtype='f2', chunks=(1_000_000, 16),
                                    compression='gzip')[:1_000_000] = 0
h5('refused', 'a bomb of gzip', h5_bomb)
add('features', 'refused', 'a pipe', lambda d: os.mkfifo(d/'f.hdf5'))
add('features', 'refused', '0 bytes', files(f__hdf5=b''))
add('features', 'refused', 'text', files(f__hdf5='hello'))
for name,x in {'text': 'hello', 'a dangling link': h5py.SoftLink('/nowhere')}.items():
    h5('right', f'a video is {name}', lambda f, d, x=x: put(f, 'v1', x), readers=['survey'])

# folders of arrays
class Code:
    "Runs when it is unpickled"
    def __reduce__(self): return os.mkdir, ('ran',)
def folder(want, name, make, readers=('features',)):
    def whole(d):
        (d/'d').mkdir()
        np.save(d/'d'/'v0.npy', ROWS)
        make(d/'d')
    for reader in readers: add(reader, want, name, whole)
def head(shape, kind="'<f4'"):
    text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b' '*(64 - (len(text) + 11) % 64) + b'\n'
    return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(text)) + text
def zip_bomb(path, name='features.npy', width=16):
    "1.3 GiB of zeros in a file of 6 MB"
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as z, z.open(name, 'w',
        force_zip64=True) as f:
        f.write(head(f'({1300*2**18//width}, {width})'))
        for _ in range(1300): f.write(bytes(2**20))
    if name != 'features.npy':
        with zipfile.ZipFile(path, 'a') as z: z.writestr('words.npy', npy(np.array(['dog', 'cat'])))
folder('right', 'rows in Fortran order', lambda d: np.save(d/'v1.npy', np.asfortranarray(ROWS)))
for name,data in {'a pickle': npy(np.array([Code()], object)), 'a bare pickle': pickle.dumps(Code()),
                  '4 TB declared': head('(1000000000, 1000)') + bytes(64),
                  '5 GB declared': head('(80000000, 16)') + bytes(64),
                  'a negative shape': head('(-1, 16)') + bytes(1280),
                  'code as its type': head('(2, 16)', "__import__('os').mkdir('ran')") + bytes(640),
                  'a type of a billion numbers': head('(2, 16)', "('<f4', (1000000000,))") + bytes(640),
                  'a bracket without end': head('(2, 16') + bytes(640), 'text': npy(np.array([['a']*16])),
                  'one number': npy(np.float32(3)), 'dates': npy(np.zeros((2, 16), 'M8[s]'))}.items():
    folder('refused', f'npy: {name}', lambda d, data=data: (d/'v1.npy').write_bytes(data))
for name,make in {'a pipe': os.mkfifo, 'a folder': os.mkdir, 'a dangling link': lambda p: p.symlink_to('nowhere'),
                  'a link to itself': lambda p: p.symlink_to('v1.npy')}.items():
    folder('refused', f'npy: {name}', lambda d, make=make: make(d/'v1.npy'))
    folder('either', f'npy: {name}', lambda d, make=make: make(d/'v1.npy'), readers=['survey'])
folder('refused', 'npz: a pickle', lambda d: (d/'v1.npz').write_bytes(npz(features=np.array([Code()], object))))
folder('refused', 'npz: a bomb', lambda d: zip_bomb(d/'v1.npz'))
folder('refused', 'npz: no array', lambda d: zipfile.ZipFile(d/'v1.npz', 'w').close())

# vectors of width 8
def row(word, n=8): return f'{word} ' + ' '.join(['0.5']*n) + '\n'
def vectors(want, name, data, file='v__txt'): add('vectors', want, name,
                                                  data if callable(data) else files(**{file: data}))
vectors('right', 'text', row('dog') + row('cat'))
vectors('right', 'text with a byte-order mark', b'\xef\xbb\xbf' + row('dog').encode())
for name,text in {'a short line': row('cat') + row('dog', 5), 'NaN': 'dog nan 1 2 3 4 5 6 7\n',
                  '1e400': 'dog 1e400 1 2 3 4 5 6 7\n', 'a header of 5,000 digits': '9'*5000 + ' 8\n' + row('dog'),
                  'a header that counts more': '3 8\n' + row('dog'), 'no word of ours': row('chien')}.items():
    vectors('refused', name, text)
for name,data in {'a trillion words': b'1000000000000 8\ndog ' + bytes(32),
                  '160 million words': b'160000000 8\ndog ' + bytes(32), 'a negative count': b'-5 8\ndog ' + bytes(32),
                  'no width': b'1 0\ndog ',
                  'no header': bytes(100), '0 bytes': b''}.items():
    vectors('refused', f'bin: {name}', data, 'v__bin')
vectors('refused', 'npz: a pickle', npz(words=np.array([Code()], object), vectors=np.zeros((1, 8), 'f4')), 'v__npz')
vectors('refused', 'npz: a bomb', lambda d: zip_bomb(d/'v.npz', 'vectors.npy', 8))
vectors('refused', 'a pickle', pickle.dumps({'a': Code()}), 'v__pkl')

# config.json
for name,text in {'a list': '[]', 'a number': '5', '0 bytes': '', 'null': 'null', 'more behind it': '{} x',
                  'an empty name': '{"": 1}', 'a name twice': '{"seed": 1, "seed": 2}',
                  'brackets without end': '['*100_000,
                  '5,000 digits': '{"seed": ' + '9'*5000 + '}', 'UTF-16': '{}'.encode('utf-16'),
                  'latin-1': b'{"out": "\xe9"}'}.items():
    add('config', 'refused', name, files(config__json=text))
add('config', 'right', 'a byte-order mark', files(config__json=b'\xef\xbb\xbf{}'))
for name in ('lr', 'minutes', 'nms', 'l_min', 'l_max', 'usual', 'nll_weight', 'random_proposals', 'hide', 'label_warmup',
             'rows_per_second'):
    for value in (float('nan'), float('inf'), -1.): add('config', 'refused', f'{name} {value}',
                                                        files(config__json={name: value}))
for name in ('scales', 'clips', 'top_k', 'dim', 'epochs', 'updates', 'batch_size', 'map_batch', 'seeds', 'heads',
             'align_dim', 'components', 'layers', 'longest', 'seed'):
    for value in (-1, 2**63): add('config', 'refused', f'{name} {value:.3g}', files(config__json={name: value}))
for name,value in {'precision': 'x', 'accelerator': 'x', 'dataset': 'x', 'preset': ['ms2d'], 'out': 'a\0b',
                   'lr': 1e30}.items():
    add('config', 'refused', f'{name} {ascii(value)}', files(config__json={name: value}))

# queries
for name,data in {'latin-1': b'caf\xe9', '0 bytes': b'', 'blanks': b' \n\t\n',
                  'UTF-16': 'a dog'.encode('utf-16')}.items(): add('queries', 'refused', name, files(q__txt=data))
add('queries', 'right', 'U+2028 in a sentence', files(q__txt='a dog\u2028jumps'))
add('vectors', 'either', 'text, gzipped', lambda d: (d/'v.txt.gz').write_bytes(gzip.compress(row('dog').encode()*100)))
