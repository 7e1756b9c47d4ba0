"From a video file to moments as a user gets them: the workbook, what it leaves, and what it says to a mistake"
import csv, json, re, shutil
import numpy as np, opentimelineio as otio, pytest, torch
from ms2d.config import Config
from ms2d.training import train
from ms2d.video import Video
from ms2d.world_pictures import render
from ms2d.world_sentences import script
from ms2d.world import write_video
from workbooks import ROOT, TINY, cells, without_kernel

@pytest.fixture(scope='module')
def asked(tiny, tmp_path_factory):
    "A tiny trained model, and a video of its world that it has not seen, as an mp4"
    folder = tmp_path_factory.mktemp('retrieve')
    train(Config(**tiny, **TINY, out=str(folder/'run')))
    s = script(0, 'test0007')
    write_video(folder/'mine.mp4', render(s, (np.arange(int(12*s.duration)) + .5)/12, 96))
    return folder

def said(report): return ''.join(t for c in cells(report) for o in c.get('outputs', []) for t in o.get('text', []))
def parts(report, kind): return [''.join(o['data'][kind]) for c in cells(report) for o in c.get('outputs', []) if kind in o.get('data', {})]

def test_video_and_sentences(asked, tmp_path):
    (tmp_path/'q.txt').write_text('the red star spins\nxyzzy plugh\nthe blue circle frobnicates\nthe red star spins\n')
    code,text = without_kernel(tmp_path/'report.ipynb', notebook='retrieve', run=asked/'run', video=asked/'mine.mp4', queries=tmp_path/'q.txt', top=2, out=tmp_path/'out')
    assert code==0, text[-3000:]
    out = tmp_path/'out'
    rows = [*csv.DictReader((out/'moments.csv').open(newline=''))]
    assert [(r['query'], r['rank']) for r in rows]==[('the red star spins', '1'), ('the red star spins', '2'), ('the blue circle frobnicates', '1'), ('the blue circle frobnicates', '2')]
    kept = json.loads((out/'moments.json').read_text())
    assert [q['unknown'] for q in kept['queries']]==[[], ['frobnicates']] and all(0<q['sure']<1 for q in kept['queries'])
    assert kept['encoder']['encoder']=='world' and abs(kept['duration'] - script(0, 'test0007').duration)<.01
    assert [m['clip'] for q in kept['queries'] for m in q['moments']]==[r['clip'] for r in rows]

    source = [(t0, f.to_ndarray(format='gray')) for t0,_,f in Video(asked/'mine.mp4').shown()]
    for r in rows:
        want = [(t, x) for t,x in source if float(r['start'])<=t<float(r['end'])]
        have = [(t0, f.to_ndarray(format='gray')) for t0,_,f in Video(out/r['clip']).shown()]
        assert len(have)==len(want) and max(abs(t - u + want[0][0]) for (t,_),(u,_) in zip(have, want))<1e-3
        assert max(np.abs(x.astype(float) - y).mean() for (_,x),(_,y) in zip(have, want))<4
    vtt = (out/'moments.vtt').read_text()
    assert vtt.startswith('WEBVTT\n\n') and len(re.findall(r'^\d\d:\d\d:\d\d\.\d{3} --> \d\d:\d\d:\d\d\.\d{3}$', vtt, re.M))==4
    assert sorted(p.name for p in out.iterdir())==sorted([*(r['clip'] for r in rows), *(f'moments.{x}' for x in 'csv edl fcpxml ffmeta json otio vtt'.split())])
    line = otio.adapters.read_from_file(str(out/'moments.otio'))
    assert [(c.name, c.source_range.duration.value) for c in line.tracks[0]]==[(r['query'], sum(1 for _ in Video(out/r['clip']).shown())) for r in rows]

    report = tmp_path/'report.ipynb'
    assert "left out: the model knows none of the words of 'xyzzy plugh'" in said(report) and 'It knows words like' in said(report) and 'not known: frobnicates' in said(report)
    assert len(parts(report, 'image/png'))==3 and sum('<video' in h for h in parts(report, 'text/html'))==2
    assert not [o for c in cells(report) for o in c.get('outputs', []) if o.get('name')=='stderr'], 'a report without warnings'

def test_nothing_given_is_a_clip_of_the_world(asked, tiny, tmp_path):
    code,text = without_kernel(tmp_path/'report.ipynb', notebook='retrieve', run=asked/'run', out=tmp_path/'out')
    assert code==0, text[-3000:]
    assert 'test0003.mp4' in said(tmp_path/'report.ipynb') and len(list((tmp_path/'out').glob('*.mp4')))>=5

def run_here(**parameters):
    "The workbook's code in this process, which takes no kernel's time to start"
    here = {}
    for c in cells(ROOT/'nbs'/'retrieve.ipynb'):
        if c['cell_type']!='code': continue
        exec(''.join(c['source']), here)
        if 'parameters' in c['metadata'].get('tags', []): here.update({k: v if isinstance(v, int) else str(v) for k,v in parameters.items()})

def test_mistakes_are_told_in_a_sentence_and_cost_nothing(asked, tmp_path):
    out = tmp_path/'out'
    out.mkdir(); (out/'moments.csv').write_text('of before')
    (tmp_path/'torn.mp4').write_bytes((asked/'mine.mp4').read_bytes()[:2000]); (tmp_path/'none.txt').write_text('\n')
    other = shutil.copytree(asked/'run', tmp_path/'other')
    state = torch.load(other/'last.ckpt', weights_only=True)
    state['ms2d']['facts'].update(checksum='another', encoder='world of others')
    torch.save(state, other/'last.ckpt')
    good = dict(run=asked/'run', video=asked/'mine.mp4', query='the red star spins', out=out)
    for change,message in [(dict(video=tmp_path/'gone.mp4'), 'gone.mp4 does not exist'), (dict(video=tmp_path/'torn.mp4'), 'torn.mp4'), (dict(video=tmp_path), 'name a video file'), (dict(query='  '), 'no sentence'),
                           (dict(query='xyzzy'), 'knows none of the words'), (dict(query='...'), 'says nothing to look for'), (dict(query='a the and of'), 'says nothing to look for'), (dict(query='a man opens the door'), 'a model that reads any sentence (-p run zeroshot:hf:NAME)'), (dict(query='', queries=tmp_path/'none.txt'), 'holds no sentence'), (dict(run=tmp_path), 'make train'),
                           (dict(run=other), 'world of others (weights another'), (dict(encoder=f'world:{tmp_path}'), 'say where that is now'), (dict(top=0), '1 to 1000')]:
        with pytest.raises((ValueError, FileNotFoundError, ImportError), match=re.escape(message)): run_here(**{**good, **change})
    code,text = without_kernel(tmp_path/'report.ipynb', notebook='retrieve', **good, vidoe='x')
    assert code==1 and 'did you mean video' in text
    assert [(p.name, p.read_text()) for p in out.iterdir()]==[('moments.csv', 'of before')]
