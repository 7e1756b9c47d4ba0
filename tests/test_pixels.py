"The way from video files to moments, beside ready-made rows, as a user runs it: on films of the embedded world"
import json
from pathlib import Path
import numpy as np
import pytest
from ms2d.config import Config
from ms2d.training import train
from ms2d.world_pictures import render
from ms2d.world_sentences import script
from ms2d.world import write_video
from workbooks import TINY, cells, without_kernel

pytestmark = pytest.mark.timeout(900) # each is a whole workbook with processes of its own

@pytest.fixture(scope='module')
def films(tiny, tmp_path_factory):
    "Three of the test videos, as files"
    folder,durations = tmp_path_factory.mktemp('films'),json.loads((Path(tiny['annotations'])/'test.json').read_text())
    for vid in list(durations)[:3]: write_video(folder/f'{vid}.mp4', render(script(0, vid), (np.arange(int(12*durations[vid]['duration'])) + .5)/12, 96))
    return folder

def pixels(tiny, films, folder, **kw):
    "Run the workbook; -> its numbers and its report"
    given = dict(videos=films, encoder=f"world:{tiny['annotations']}", minutes=.1, out=folder/'out') | kw
    code,text = without_kernel(folder/'pixels.ipynb', notebook='pixels', **given)
    assert code==0, text[-3000:]
    return json.loads((folder/'out'/'results.json').read_text()), cells(folder/'pixels.ipynb')

@pytest.mark.processes
def test_rows_and_moments_of_films(tiny, films, tmp_path):
    run = train(Config(**tiny, **TINY, out=str(tmp_path/'run')))
    got,report = pixels(tiny, films, tmp_path, against=tiny['features'], run=run.folder, variants=1, shown=4, **{k: tiny[k] for k in ('dataset', 'annotations')})
    assert got['rows']['clips']==3 and got['rows']['cosine']>.95 and got['rows']['own_time']>.2          # neighbours share half their frames
    seen = got['variants']
    assert seen['time: one frame later']['cosine']<seen['as extracted']['cosine'] and seen['cut: whole frame, squeezed']['cosine']>.9        # the films are square
    ours,theirs = (got['moments'][k] for k in ('rows from pixels', 'rows of features.hdf5'))
    assert ours['queries']==theirs['queries']>5 and abs(ours['mIoU'] - theirs['mIoU'])<15
    apart = got['differences']['rows of features.hdf5']['mIoU']
    assert abs(apart['difference'] - (ours['mIoU'] - theirs['mIoU']))<1e-6 and apart['low']<=apart['difference']<=apart['high']
    assert len(got['answers'])==4 and all(0<=a['IoU']<=1 for a in got['answers'])
    assert 0<got['memory']['GiB, extraction']<=got['memory']['GiB, extraction, then a search']<3
    assert got['speed']['PyAV, decoding']>got['speed']['rows of world']>1
    assert sum('image/png' in o.get('data', {}) for c in report for o in c.get('outputs', []))==1

@pytest.mark.slow
def test_without_anything_to_compare_with(tiny, films, tmp_path):
    got,report = pixels(tiny, films, tmp_path, count=1, minutes=.05)
    said = ''.join(t for c in report for o in c.get('outputs', []) for t in o.get('text', []))
    assert 'nothing to compare with' in said and 'nothing is asked' in said and '1 of 3 videos' in said
    assert 'moments' not in got and 'rows' not in got and got['speed']
