"Making the embedded world, killed at any moment, by one process or by several"
import json, os, random, shutil, signal, time
import pytest
from ms2d.core import file_hash
from ms2d.world import World, is_made, make_world, read_about
from workbooks import Forked

def make(folder): make_world(str(folder), sizes=(1, 1, 1), steps=2, mp4=1)
def start(folder): return Forked(make, folder)

def finish(process):
    out,_ = process.communicate(timeout=200)
    assert process.returncode==0, out[-3000:]
    return out

@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp('world')/'w'
    finish(start(folder))
    return folder

@pytest.fixture(scope='module')
def whole(undisturbed):
    "What an undisturbed world holds: name -> SHA-256"
    return read_about(undisturbed)['files']

def the_same(folder, whole):
    "The same files, and no other"
    have = read_about(folder)['files']
    assert {k: v for k,v in have.items() if not k.endswith('mp4')}=={k: v for k,v in whole.items() if not k.endswith('mp4')}
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file())==sorted([*whole, 'world.json'])

def kill_and_again(folder, whole, condition, wait=0.):
    process = start(folder)
    end = time.monotonic() + 120
    while not condition(folder) and process.poll() is None and time.monotonic()<end: time.sleep(.002)
    time.sleep(wait)
    if process.poll() is None: os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    finish(start(folder))
    the_same(folder, whole)

MOMENTS = dict(text=lambda f: (f/'val.json').exists(), features=lambda f: any(f.glob('.*.part.hdf5')), weights=lambda f: (f/'cnn.npz').exists(), film=lambda f: any(f.glob('videos/.*.part.mp4')))

@pytest.mark.processes
def test_killed_while_a_film_is_written(whole, tmp_path): kill_and_again(tmp_path/'w', whole, MOMENTS['film'])

@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_many_moments(whole, tmp_path):
    r = random.Random(5)
    for i in range(9): kill_and_again(tmp_path/f'w{i}', whole, [*MOMENTS.values()][i % 4], r.uniform(0, .5))

@pytest.mark.processes
def test_the_second_maker_waits_for_the_first(whole, tmp_path):
    first = start(tmp_path/'w')
    while not (tmp_path/'w'/'train.json').exists() and first.poll() is None: time.sleep(.002)
    second = finish(start(tmp_path/'w'))
    assert 'making the world' in finish(first)
    assert 'is being made by another process' in second and 'making the world' not in second
    the_same(tmp_path/'w', whole)

def test_a_damaged_world_never_answers(undisturbed, whole, tmp_path):
    "A byte flipped, lost or added in any file: it is not the world, and says so"
    folder = shutil.copytree(undisturbed, tmp_path/'w')
    want = {k: v for k,v in json.loads((folder/'world.json').read_text()).items() if k not in ('files', 'mark')}
    assert is_made(folder, want)
    r = random.Random(0)
    for name in ('world.json', 'cnn.npz', 'features.hdf5', 'train.json')*20:
        good = (folder/name).read_bytes()
        at = r.randrange(len(good))
        bad = r.choice([good[:at], good[:at] + b'x' + good[at:], good[:at] + bytes([good[at] ^ 1 << r.randrange(8)]) + good[at+1:]])
        (folder/name).write_bytes(bad)
        # a blank more in world.json says the same
        same = name=='world.json' and bad.split()==good.split()
        assert is_made(folder, want)==same or name=='world.json'
        if name in ('world.json', 'cnn.npz') and not is_made(folder, want):
            with pytest.raises(ValueError, match='damaged|not json|not UTF-8|nested|twice'): World(folder).net()
        (folder/name).write_bytes(good)
    assert is_made(folder, want) and file_hash(folder/'cnn.npz')==whole['cnn.npz']
