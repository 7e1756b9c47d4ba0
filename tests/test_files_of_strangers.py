"Feature files that are damaged, or made to do harm: each is refused with its name, at once and in little memory"
import os, pickle, resource, struct, subprocess, sys, zipfile, zlib
import h5py, numpy as np, pytest
from ms2d.arrays import _MOST, _bounded
from ms2d.features import open_features, read_rows
from ms2d.inspection import survey

ROWS = np.random.default_rng(0).normal(size=(20, 16)).astype(np.float16)

def h5(path, fill):
    "A file with the good video `good`, and what `fill` adds"
    with h5py.File(path, 'w') as f:
        f['good'] = ROWS
        fill(f)
    return path

def virtual(f, other):
    layout = h5py.VirtualLayout(ROWS.shape, ROWS.dtype)
    layout[:] = h5py.VirtualSource(str(other), 's', ROWS.shape)
    f.create_virtual_dataset('v', layout)

def raw(f, other): f.create_dataset('v', (40, 16), dtype='u1', external=[('/etc/passwd', 0, 640)])
def loop(f): f['v'],f['w'] = h5py.SoftLink('/w'),h5py.SoftLink('/v')
def doubling(f):
    "Links that each go through the next one twice"
    for i in range(40): f[f'l{i}'] = h5py.SoftLink(f'/l{i+1}/l{i+1}')
    f['l40'],f['v'] = h5py.SoftLink('/'),h5py.SoftLink('/l0')
def outwards(f, other): f['out'],f['v'] = h5py.ExternalLink(str(other), '/'),h5py.SoftLink('/out/s')
def inside(f, other): f.create_group('v')['c3d'] = h5py.ExternalLink(str(other), '/s')
def member(f, value): f['v'] = value
def filtered(f):
    d = f.create_dataset('v', (8, 16), dtype='f4', chunks=(8, 16), compression=32099, allow_unknown_filter=True)
    d.id.write_direct_chunk((0, 0), b'junk')
def alone(f): f['x'] = h5py.ExternalLink('/etc/passwd', '/x'); del f['good']
def half(f): f.create_dataset('v', (40, 16), dtype='f4', chunks=(10, 16))[:20] = 1
def chunk(f): f.create_dataset('v', (5, 16), dtype='f4', chunks=(5, 16), maxshape=(None, 16), compression='gzip')[:] = 0
def pieces(f): f.create_dataset('v', (80_000_000, 1), dtype='f4', chunks=(80_000_000, 1), compression='gzip')
def gzipped(f):
    d = f.create_dataset('v', (12_500_000, 16), dtype='f4', chunks=(1_250_000, 16), compression='gzip')
    zeros = zlib.compress(bytes(80_000_000))
    for i in range(10): d.id.write_direct_chunk((i*1_250_000, 0), zeros)
def unwritten(f): f.create_dataset('v', (10**9, 1000), dtype='f4', chunks=(1000, 1000))

HDF5 = dict(
    link_into_another_file=(lambda f,o: member(f, h5py.ExternalLink(str(o), '/s')), 'a link into another file'),
    link_into_no_file=(lambda f,o: member(f, h5py.ExternalLink('/nowhere.h5', '/s')), 'a link into another file'),
    link_into_a_pipe=(lambda f,o: member(f, h5py.ExternalLink(str(o.parent/'pipe'), '/s')), 'a link into another file'),
    link_through_a_link=(outwards, 'a link into another file'), link_in_a_group=(inside, 'a link into another file'),
    virtual=(virtual, 'a virtual data set'),
    virtual_of_nothing=(lambda f,o: virtual(f, '/nowhere.h5'), 'a virtual data set'),
    raw_external=(raw, 'raw external storage'),
    link_to_nowhere=(lambda f,o: member(f, h5py.SoftLink('/nowhere')), "there is no 'nowhere' in the file"),
    links_in_a_circle=(lambda f,o: loop(f), 'in a circle'), links_that_double=(lambda f,o: doubling(f), 'in a circle'),
    group_in_itself=(lambda f,o: f.create_group('v').__setitem__('v', f['v']), '0 data sets'),
    text=(lambda f,o: member(f, 'hello'), 'type object, numbers are needed'),
    one_number=(lambda f,o: member(f, 3.5), r'shape \(\), \(T, D\)'),
    nothing=(lambda f,o: f.create_dataset('v', data=h5py.Empty('f4')), 'shape None'),
    named_type=(lambda f,o: member(f, np.dtype('f8')), '0 data sets'),
    references=(lambda f,o: f.create_dataset('v', (3, 16), dtype=h5py.ref_dtype), 'type object'),
    regions=(lambda f,o: f.create_dataset('v', (3, 16), dtype=h5py.regionref_dtype), 'type object'),
    fields=(lambda f,o: member(f, np.zeros((3, 16), [('a', 'f4')])), 'numbers are needed'),
    bools=(lambda f,o: member(f, ROWS > 0), 'type bool'),
    complex_numbers=(lambda f,o: member(f, ROWS*1j), 'type complex64'),
    beyond_float32=(lambda f,o: member(f, np.full((3, 16), 1e300)), 'NaN or Inf'),
    filter_missing=(lambda f,o: filtered(f), 'filter plugin that is missing here: pip install hdf5plugin'),
    written_in_part=(lambda f,o: half(f), '2 of 4 pieces were written'),
    declared_only=(lambda f,o: unwritten(f), 'MB of numbers are declared'),
    never_written=(lambda f,o: f.create_dataset('v', (20, 16), dtype='f4'), '0 of 1 pieces'),
    one_huge_piece=(lambda f,o: pieces(f), 'MB of numbers are declared'),
    gzip_bomb=(lambda f,o: gzipped(f), 'MB of numbers are declared'))

@pytest.mark.parametrize('name', HDF5)
def test_hdf5_of_a_stranger(name, tmp_path):
    fill,says = HDF5[name]
    os.mkfifo(tmp_path/'pipe')
    with h5py.File(tmp_path/'secret.hdf5', 'w') as f: f['s'] = ROWS
    path = h5(tmp_path/'f.hdf5', lambda f: fill(f, tmp_path/'secret.hdf5'))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store = open_features(path)
    with pytest.raises(ValueError, match=says) as e: store.rows('v')
    assert type(e.value) is ValueError and 'f.hdf5' in str(e.value) and "'v'" in str(e.value)
    if says.startswith(('a link', 'a virtual', 'raw', 'MB', r'\d of')):                    # not read to be told
        with pytest.raises(ValueError, match=says): store.check_rows('v')
    assert store.rows('good').shape == ROWS.shape and store.rate('good') == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000        # kB
    _,seen,broken = survey(path)                                                        # data.ipynb names it
    assert 'v' in sum(broken.values(), []) or seen['v'].bad

def test_a_piece_that_is_larger_than_its_data_set_is_fine(tmp_path):
    assert open_features(h5(tmp_path/'f.hdf5', chunk)).rows('v').shape == (5, 16)

@pytest.mark.parametrize('which', [0, 1])
def test_a_group_whose_table_of_names_is_damaged(which, tmp_path):
    path = h5(tmp_path/'f.hdf5', lambda f: f.__setitem__('a/rows', ROWS))
    damaged = bytearray(path.read_bytes())
    tables = [i for i in range(len(damaged)) if damaged[i:i+4] == b'SNOD']                  # of the file, of group a
    assert len(tables) == 2
    damaged[tables[which]] ^= 1
    path.write_bytes(damaged)
    for check in (True, False):
        for ask in ('rows', 'check_rows', 'seconds', 'rate', 'find', 'name'):
            try: getattr(open_features(path, check=check), ask)('a')
            except ValueError as e: assert 'f.hdf5' in str(e), ask
        with pytest.raises(ValueError, match='f.hdf5'): open_features(path, check=check).rows('a')
    if which: assert open_features(path, check=False).name('a/rows') is None

def test_names_that_are_no_utf8(tmp_path):
    path = h5(tmp_path/'f.hdf5', lambda f: f.__setitem__('caf\xe9'.encode('latin-1'), ROWS))
    store = open_features(path)
    assert store.ids == ['caf\\xe9', 'good'] and store.rows('caf\\xe9').shape == ROWS.shape
    assert pickle.loads(pickle.dumps(store)).rows('caf\\xe9').shape == ROWS.shape
    with pytest.raises(ValueError, match='no features for video'): store.rows('caf\xe9')
    folder = tmp_path/'folder'
    folder.mkdir()
    with open(os.fsencode(folder) + b'/caf\xe9.npy', 'wb') as f: np.save(f, ROWS)
    assert open_features(folder).rows('caf\\xe9').shape == ROWS.shape
    print(open_features(folder).ids)                                                    # can be printed

def test_names_with_slashes(tmp_path):
    path = h5(tmp_path/'f.hdf5', lambda f: (f.__setitem__('a/b', ROWS), f.__setitem__('a/c', ROWS[:3])))
    store = open_features(path, check=False)
    assert [len(store.rows(v)) for v in ('a/b', 'a/c')] == [20, 3]
    assert [store.name(v) for v in ('a/d', '../good', '/good', 'a/../good', '/etc/passwd', 'good/x')] == [None]*6
    with pytest.raises(ValueError, match=r"group 'a': 2 data sets \(b, c\)"): store.rows('a')
    folder = tmp_path/'folder'
    folder.mkdir()
    for p in (tmp_path/'out.npy', folder/'in.npy', folder/'._in.npy', folder/'.0123.42.part.npy'): np.save(p, ROWS)
    (folder/'._x.npy').write_bytes(b'junk of a Mac')
    store = open_features(folder)
    assert store.ids == ['in'] and [store.name(v) for v in ('../out', str(tmp_path/'out'), './in')] == [None]*3

def test_a_file_that_is_being_written(tmp_path):
    path = tmp_path/'f.hdf5'
    code = (f"import h5py, sys\nf = h5py.File({str(path)!r}, 'w')\nf['a'] = 1.\nf.flush()\n"
             "print('open', flush=True)\nsys.stdin.read()")
    with subprocess.Popen([sys.executable, '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p:
        try:
            assert p.stdout.readline() == b'open\n'
            with pytest.raises(ValueError, match='another program has it open and writes to it'): open_features(path)
        finally: p.communicate()

def test_plugin_that_is_installed_is_used(tmp_path):
    pytest.importorskip('hdf5plugin', reason='hdf5plugin is not installed')
    path = tmp_path/'f.hdf5'
    code = (f"import h5py, hdf5plugin, numpy as np\nf = h5py.File({str(path)!r}, 'w')\n"
             "f.create_dataset('a', data=np.ones((64, 16), 'f4'), **hdf5plugin.Bitshuffle())")
    subprocess.run([sys.executable, '-c', code], check=True)
    assert open_features(path).rows('a').sum() == 1024

def header(shape, descr="'<f4'"):
    h = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    h += b' '*(64 - (len(h) + 11)%64) + b'\n'
    return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(h)) + h

def bomb(path, megabytes, shape, way=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, 'w', way) as z, z.open('features.npy', 'w', force_zip64=True) as f:
        f.write(header(shape))
        for _ in range(megabytes): f.write(bytes(2**20))

class Evil:
    def __reduce__(self): return os.mkdir, ('evil',)

NUMPY = {
    'declared.npy': (lambda p: p.write_bytes(header('(1000000000, 1000)') + bytes(64)),
        'bytes are declared, 64 are there: truncated'),
    'more.npy': (lambda p: p.write_bytes(header('(2, 16)') + bytes(640)), 'more than one array'),
    'negative.npy': (lambda p: p.write_bytes(header('(-1, 16)') + bytes(640)), 'whole numbers are needed|ValueError'),
    'bool.npy': (lambda p: p.write_bytes(header('(True, 16)') + bytes(64)), 'whole numbers are needed|ValueError'),
    'deep.npy': (lambda p: p.write_bytes(header('('*4000 + ')'*4000) + bytes(64)), 'no array of numbers'),
    'code.npy': (lambda p: p.write_bytes(header('(2, 16)', "__import__('os').mkdir('evil')") + bytes(128)),
        'no array of numbers'),
    'fields.npy': (lambda p: p.write_bytes(header('(2, 16)', "[('a', '<f4', (10**9,))]") + bytes(640)),
        'no array of numbers'),
    'objects.npy': (lambda p: np.save(p, np.array([Evil()], object), allow_pickle=True), 'no array of numbers'),
    'pickle.npy': (lambda p: p.write_bytes(pickle.dumps(Evil())), 'no array of numbers'),
    'pipe.npy': (os.mkfifo, 'is a pipe or a device'), 'folder.npy': (lambda p: p.mkdir(), 'is a folder'),
    'nowhere.npy': (lambda p: p.symlink_to('none'), 'a link to a file that does not exist'),
    'bomb.npz': (lambda p: bomb(p, 300, '(4915200, 16)'), 'MB of numbers are declared'),
    'short.npz': (lambda p: bomb(p, 1, '(13107200, 16)'), 'truncated'),
    'lzma.npz': (lambda p: bomb(p, 1, '(16384, 16)', zipfile.ZIP_LZMA), 'packed as numpy packs no array'),
    'empty.npz': (lambda p: zipfile.ZipFile(p, 'w').close(), 'one array alone is needed'),
    'numbers.npz': (lambda p: np.savez(p, a=ROWS, b=ROWS), "arrays ['a', 'b']: `features` or one array alone"),
    'external.h5': (lambda p: h5(p, alone), 'a link into another file'),
    'empty.h5': (lambda p: p.touch(), 'truncated or not HDF5')}

@pytest.mark.parametrize('name', NUMPY)
def test_a_file_of_one_video(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make,says = NUMPY[name]
    folder = tmp_path/'folder'
    folder.mkdir()
    np.save(folder/'a_good.npy', ROWS)
    make(folder/name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store = open_features(folder)
    with pytest.raises(ValueError) as e: store.rows(name.split('.')[0])
    assert any(s in str(e.value) for s in says.split('|')) and name in str(e.value) and type(e.value) is ValueError
    with pytest.raises((ValueError, FileNotFoundError), match=name): read_rows(folder/name)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
    assert not (tmp_path/'evil').exists()

def test_read_rows_reads_the_file_that_is_named(tmp_path):
    np.save(tmp_path/'a_labels.npy', np.arange(5))
    np.save(tmp_path/'film.npy', ROWS)
    np.savez_compressed(tmp_path/'film.v.npz', features=ROWS, fps=30)
    with h5py.File(tmp_path/'int.h5', 'w') as f:
        f.create_dataset('x', data=(ROWS*20).astype(np.int8)).attrs['scale'] = np.array([.05])
    for name in ('film.npy', 'film.v.npz'): assert np.array_equal(read_rows(tmp_path/name), ROWS.astype(np.float32))
    assert np.abs(read_rows(tmp_path/'int.h5') - ROWS).max() < .051 and read_rows(tmp_path/'int.h5').dtype == np.float32
    with pytest.raises(ValueError, match=r'a_labels.npy: shape \(5,\)'): read_rows(tmp_path/'a_labels.npy')
    with pytest.raises(FileNotFoundError, match='gone.npy does not exist'): read_rows(tmp_path/'gone.npy')

def test_bounds_leave_room_for_what_is_real():
    _bounded(4*4096*4*3600, 1000, 'four hours, a row a second, 4096 columns, however it is packed')
    _bounded(4*4096*30*3600*4, 4*4096*30*3600*4, 'four hours of rows of every frame, as they are')
    for need,stored in ((2**28 + 1, 1000), (_MOST + 1, _MOST + 1)):
        with pytest.raises(ValueError, match='MB are stored'): _bounded(need, stored, 'f')

@pytest.mark.parametrize('facts,says', [
    ({}, 'but not checksum'),
    (dict(checksum=3, frames_per_second=4., window=4, stride=2), 'checksum of its encoder is 3'),
    (dict(checksum='x', frames_per_second='4', window=4, stride=2), 'frames_per_second of its encoder is'),
    (dict(checksum='x', frames_per_second=[4., 5.], window=4, stride=2), 'one number is needed')])
def test_facts_of_an_encoder(facts, says, tmp_path):
    path = h5(tmp_path/'f.hdf5', lambda f: f.attrs.update(encoder='world', **facts))
    with pytest.raises(ValueError, match=says): open_features(path).facts
