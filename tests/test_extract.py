"Extraction as a user runs it: killed in the middle, begun again, with a broken file among the others"
import json, os, signal, subprocess, sys, time
import h5py, numpy as np
from ms2d.dataset import open_features
from ms2d.world import write_video
from workbooks import cells, papermill

SLOW = '''
import time
def rows(frames):
    "The mean colour of every window of two frames"
    time.sleep(.25)
    return frames.mean((1, 2)).reshape(-1, 2, 3).mean(1)
'''
RUN = "from ms2d.extraction import Extraction, extract\nif __name__=='__main__': extract(Extraction(**{cfg}))"

def test_killed_and_begun_again(tmp_path, monkeypatch):
    (tmp_path/'slow.py').write_text(SLOW)
    (tmp_path/'videos').mkdir()
    for i in range(5): write_video(tmp_path/'videos'/f'v{i}.mp4', np.full((8, 32, 32, 3), 40*i, np.uint8), fps=4)
    (tmp_path/'videos'/'torn.mp4').write_bytes((tmp_path/'videos'/'v0.mp4').read_bytes()[:300])
    cfg = dict(videos=str(tmp_path/'videos'), encoder='python:slow.rows', features=str(tmp_path/'f.hdf5'), rate=4., window=2, workers=1)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    (tmp_path/'run.py').write_text(RUN.format(cfg=cfg))
    first = subprocess.Popen([sys.executable, tmp_path/'run.py'], start_new_session=True, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parts,until = tmp_path/'f.hdf5.parts',time.monotonic() + 60
    while not list(parts.glob('v?.h5')) and time.monotonic()<until: time.sleep(.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    kept = {p.name: p.stat().st_mtime_ns for p in parts.glob('v?.h5')}
    assert 1<=len(kept)<5 and not (tmp_path/'f.hdf5').exists()

    code,text = papermill(tmp_path/'report.ipynb', notebook='extract', **cfg)
    assert code==0, text[-3000:]
    said = ''.join(t for c in cells(tmp_path/'report.ipynb') for o in c.get('outputs', []) for t in o.get('text', []))
    assert f'{5-len(kept)} extracted' in said and f'{len(kept)} were there, 1 failed' in said
    report = json.dumps(cells(tmp_path/'report.ipynb'))
    assert 'torn' in report and 'truncated' in report
    store = open_features(tmp_path/'f.hdf5')
    assert store.ids==[f'v{i}' for i in range(5)] and store.rate('v3')==2.
    for i,v in enumerate(store.ids): assert np.abs(store.rows(v) - 40*i).max()<3
    with h5py.File(tmp_path/'f.hdf5') as f: assert f.attrs['encoder']=='python:slow.rows' and f.attrs['window']==f.attrs['stride']==2
    assert not parts.exists()
