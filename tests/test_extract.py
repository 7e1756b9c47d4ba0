"Extraction as a user runs it: killed in the middle, begun again, on a cluster, with files that break off or kill whoever reads them"
import json, re, signal, subprocess, sys, time
from pathlib import Path
import h5py, numpy as np, psutil
import pytest
from ms2d.dataset import open_features
from ms2d.extraction import Extraction, extract
from ms2d.world import write_video
from workbooks import ROOT, cells, papermill

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

    code,text = papermill(tmp_path/'report.ipynb', notebook='extract', **greys)
    assert code==0, text[-3000:]
    report = said(tmp_path/'report.ipynb')
    there = int(re.search(r'(\d) were there, 1 failed', report)[1])
    assert len(kept)<=there<=5 and f'{5 - there} extracted' in report
    assert re.search(r'\d/\d v\d done, \d+ s left', report), 'progress with the time left'
    text = json.dumps(cells(tmp_path/'report.ipynb'))
    assert 'torn' in text and 'truncated' in text
    whole(greys['features'])

def test_on_a_cluster(greys, cluster, tmp_path):
    "The workers of a scheduler that is named do it, none of this machine's own"
    code,text = papermill(tmp_path/'report.ipynb', notebook='extract', **{**greys, 'workers': 0}, scheduler=cluster[0])
    assert code==0, text[-3000:]
    assert '5 extracted' in said(tmp_path/'report.ipynb')
    whole(greys['features'])

@pytest.mark.timeout(900) # workers start anew
def test_a_video_that_kills_whoever_reads_it(greys):
    "A decoder that crashes, or too little memory: that video is listed, the others are done"
    ended = {e.name: e for e in extract(Extraction(**{**greys, 'encoder': 'python:slow.fatal'}), lambda line: None)}
    assert {n: e.status for n,e in ended.items()}==dict(torn='failed', v0='done', v1='done', v2='done', v3='done', v4='failed')
    assert 'v4.mp4: its worker died twice' in ended['v4'].last
    assert open_features(greys['features']).ids==['v0', 'v1', 'v2', 'v3']
