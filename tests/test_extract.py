"Extraction as a user runs it: killed in the middle, begun again, on a cluster, with files that break off or kill whoever reads them"
import json, os, random, re, shutil, signal, subprocess, sys, time
from pathlib import Path
import h5py, numpy as np, psutil
import pytest
from ms2d.features import open_features
from ms2d.extraction import Extraction, extract
from ms2d.world import write_video
from workbooks import ROOT, cells, without_kernel

MODULE = '''
import os, signal, time
def rows(frames):
    "The mean colour of every window of two frames, slowly"
    time.sleep(.25)
    return frames.mean((1, 2)).reshape(-1, 2, 3).mean(1)
def fatal(frames):
    "The same, but a bright video is the end of the process"
    if frames.mean()>140: os.kill(os.getpid(), signal.SIGKILL)
    return rows(frames)
def picky(frames):
    "The same, but one grey is too much for it"
    if 60 < frames.mean() < 100: raise RuntimeError('no grey')
    return rows(frames)
'''

@pytest.fixture
def greys(tmp_path, monkeypatch):
    "Five plain videos, v0 to v4, and one that breaks off; -> parameters of the workbook"
    (tmp_path/'slow.py').write_text(MODULE)
    (tmp_path/'videos').mkdir()
    for i in range(5): write_video(tmp_path/'videos'/f'v{i}.mp4', np.full((8, 32, 32, 3), 40*i, np.uint8), fps=4)
    (tmp_path/'videos'/'torn.mp4').write_bytes((tmp_path/'videos'/'v0.mp4').read_bytes()[:300])
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    return dict(videos=str(tmp_path/'videos'), encoder='python:slow.rows', features=str(tmp_path/'f.hdf5'), rate=4., window=2, workers=1)

def said(report): return ''.join(t for c in cells(report) for o in c.get('outputs', []) for t in o.get('text', []))

def whole(features):
    "All five are there, and right"
    store = open_features(features)
    assert store.ids==[f'v{i}' for i in range(5)] and store.rate('v3')==2.
    for i,v in enumerate(store.ids): assert np.abs(store.rows(v) - 40*i).max()<3
    with h5py.File(features) as f: assert f.attrs['encoder']=='python:slow.rows' and f.attrs['window']==f.attrs['stride']==2
    assert not Path(features + '.parts').exists()

@pytest.mark.processes
@pytest.mark.timeout(900)
@pytest.mark.parametrize('victims', [pytest.param('papermill alone', marks=pytest.mark.slow), 'all its processes'])
def test_killed_and_begun_again(greys, tmp_path, victims):
    given = [x for k,v in greys.items() for x in ('-p', k, str(v))]
    first = subprocess.Popen([Path(sys.executable).parent/'papermill', 'nbs/extract.ipynb', tmp_path/'first.ipynb', *given], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parts,until = tmp_path/'f.hdf5.parts',time.monotonic() + 100
    while not list(parts.glob('v?.h5')) and time.monotonic()<until: time.sleep(.02)
    everyone = [psutil.Process(first.pid)] + (psutil.Process(first.pid).children(recursive=True) if victims=='all its processes' else [])
    for p in everyone: p.send_signal(signal.SIGKILL)
    first.wait()
    kept = [p.name for p in parts.glob('v?.h5')]
    assert 1<=len(kept)<5 and not (tmp_path/'f.hdf5').exists()

    code,text = without_kernel(tmp_path/'report.ipynb', notebook='extract', **greys)
    assert code==0, text[-3000:]
    report = said(tmp_path/'report.ipynb')
    there = int(re.search(r'(\d) were there, 1 failed', report)[1])
    assert len(kept)<=there<=5 and f'{5 - there} extracted' in report
    assert re.search(r'\d/\d v\d done, \d+ s left', report), 'progress with the time left'
    text = json.dumps(cells(tmp_path/'report.ipynb'))
    assert 'torn' in text and 'truncated' in text
    whole(greys['features'])

@pytest.mark.processes
def test_on_a_cluster(greys, cluster, tmp_path):
    "The workers of a scheduler that is named do it, none of this machine's own"
    code,text = without_kernel(tmp_path/'report.ipynb', notebook='extract', **{**greys, 'workers': 0}, scheduler=cluster[0])
    assert code==0, text[-3000:]
    assert '5 extracted' in said(tmp_path/'report.ipynb')
    whole(greys['features'])

@pytest.mark.processes
@pytest.mark.timeout(900) # workers start anew
def test_a_video_that_kills_whoever_reads_it(greys):
    "A decoder that crashes, or too little memory: that video is listed, the others are done"
    ended = {e.name: e for e in extract(Extraction(**{**greys, 'encoder': 'python:slow.fatal'}), lambda line: None)}
    assert {n: e.status for n,e in ended.items()}==dict(torn='failed', v0='done', v1='done', v2='done', v3='done', v4='failed')
    assert 'v4.mp4: its worker died twice' in ended['v4'].last
    assert open_features(greys['features']).ids==['v0', 'v1', 'v2', 'v3']

def test_names_and_odd_files_stop_no_batch(greys, tmp_path):
    "What can be read is there under its name, what cannot is listed with the reason"
    videos,film = tmp_path/'names',tmp_path/'videos'/'v1.mp4'
    videos.mkdir()
    good = {'lecture.part.1.mp4': 'lecture.part.1', 'a.m4v': 'a', 'b.MP4': 'b', 'c.3gp': 'c', 'cafe\u0301.mp4': 'caf\xe9', 'v.99.part.mp4': 'v.99.part', 'x'*241 + '.mp4': 'x'*241,
        'x'*251 + '.mp4': 'x'*251, '\u00e4'*120 + '.mp4': '\u00e4'*120, 'a < b & $c_.mp4': 'a < b & $c_'}
    for n in good: shutil.copy(film, videos/n)
    for n in ('._a.mp4', '.hidden.mp4', '.3c0ffee0.77.part.mp4'): (videos/n).write_bytes(b'not a film')
    (videos/'folder.mp4').mkdir()
    (videos/'link.mp4').symlink_to('nowhere.mp4')
    (videos/'loop.mp4').symlink_to('loop.mp4')
    os.mkfifo(videos/'pipe.mp4')
    shutil.copy(film, os.fsencode(videos) + b'/caf\xe9.mp4')                         # as latin-1 has it
    ended = {e.name: e for e in extract(Extraction(**{**greys, 'videos': str(videos)}), lambda line: None)}
    why = dict(folder='is a folder', link='does not exist', loop='cannot be read', pipe='is a pipe') | {r'caf\udce9': 'not UTF-8: rename it'}
    assert {n: e.status for n,e in ended.items()}==dict.fromkeys(good.values(), 'done') | dict.fromkeys(why, 'failed')
    for n,reason in why.items(): assert reason in ended[n].last and '.mp4' in ended[n].last, ended[n]
    assert set(open_features(greys['features']).ids)==set(good.values())
    assert not Path(greys['features'] + '.parts').exists()

def test_an_encoder_that_stumbles_over_one_video(greys):
    "Whatever it throws"
    ended = {e.name: e for e in extract(Extraction(**{**greys, 'encoder': 'python:slow.picky'}), lambda line: None)}
    assert {n for n,e in ended.items() if e.status=='failed'}=={'torn', 'v2'} and 'v2.mp4: RuntimeError: no grey' in ended['v2'].last

def test_nothing_is_left_where_nothing_can_be_read(greys, tmp_path):
    (tmp_path/'bad').mkdir()
    (tmp_path/'bad'/'x.mp4').write_bytes(b'x'*100)
    with pytest.raises(ValueError, match='none of the 1 files'): extract(Extraction(**{**greys, 'videos': str(tmp_path/'bad')}), lambda line: None)
    assert not list(tmp_path.glob('f.hdf5*'))

JOB = '''
import sys
from ms2d.extraction import Extraction, extract
if __name__ == '__main__': extract(Extraction(videos=sys.argv[1], features=sys.argv[2], encoder='python:slow.rows', rate=4., window=2, workers=2), lambda line: None)
'''

@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_six_times(greys, tmp_path):
    "The process, a worker, or all of them, at any time: the same call again gives the same file, and nothing else is left"
    def content(path):
        with h5py.File(path) as f: return {k: (f[k][:].tobytes(), sorted(map(str, f[k].attrs.items()))) for k in f}
    for i in range(5, 16): write_video(tmp_path/'videos'/f'v{i}.mp4', np.full((8, 32, 32, 3), 15*i, np.uint8), fps=4)
    (tmp_path/'job.py').write_text(JOB)
    def start(features):
        return subprocess.Popen([sys.executable, tmp_path/'job.py', greys['videos'], features], cwd=ROOT, env=dict(os.environ, PYTHONPATH=f"{tmp_path}:{ROOT}"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert start(tmp_path/'undisturbed.hdf5').wait()==0
    chance = random.Random(0)
    for k,victims in enumerate(['all', 'main', 'worker']*2):
        features = tmp_path/f'k{k}'/'f.hdf5'
        features.parent.mkdir()
        first,parts,n,until = start(features),features.with_name('f.hdf5.parts'),chance.randrange(12),time.monotonic() + 60
        while len(list(parts.glob('*.h5')))<n and first.poll() is None and time.monotonic()<until: time.sleep(.01)
        everyone = psutil.Process(first.pid).children(recursive=True) if first.poll() is None else []
        picked = dict(all=everyone, main=[], worker=everyone[-1:])[victims]
        for p in picked: p.send_signal(signal.SIGKILL)
        if victims!='worker': first.kill()
        first.wait(120)
        psutil.wait_procs(everyone, timeout=60)
        assert start(features).wait(200)==0
        assert content(features)==content(tmp_path/'undisturbed.hdf5') and [p.name for p in features.parent.iterdir()]==['f.hdf5'], (k, victims)
