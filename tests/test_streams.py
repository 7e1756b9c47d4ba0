"What is seen and what is said, asked together as a user does it: the workbook, a folder of films, the page; or learned together"
import importlib.util, json, shutil, sys, types
from pathlib import Path
import h5py, numpy as np, pytest
from ms2d.config import tiny
from ms2d.page import App, Page
from ms2d.retrieval import Retriever
from ms2d.streams import open_run, Streams
from ms2d.training import train
from ms2d.world import write_video
from workbooks import ROOT, cells, without_kernel

needs_wordllama = pytest.mark.skipif(not importlib.util.find_spec('wordllama'), reason='wordllama is not installed: extra [text]')
COLOURS = dict(red=(220, 30, 30), green=(30, 200, 40), blue=(20, 30, 220))
TALK = 'WEBVTT\n\n' + ''.join(f'00:00:{s:02d}.000 --> 00:00:{s + 9:02d}.500\n{text}\n\n' for s,text in [
    (0, 'Welcome to this talk about gardens'), (10, 'Roses need much water in summer'), (20, 'Now we look at the tools'), (30, 'A good spade is made of steel'),
    (40, 'My dog likes to dig holes, too'), (50, 'Thank you, and good night')])

def colours(frames): return frames.mean((1, 2))
colours.text = lambda sentences: np.array([[('red' in s.split())*190. + 30, ('green' in s.split())*170. + 30, ('blue' in s.split())*190. + 30] for s in sentences])
colours.rate,colours.window = 1.,1

@pytest.fixture
def talk(tmp_path, monkeypatch):
    "A minute of red, green and blue with subtitles; the names of both streams"
    ours = types.ModuleType('ours')
    ours.colours = colours
    monkeypatch.setitem(sys.modules, 'ours', ours)
    colours.__module__ = 'ours'
    write_video(tmp_path/'talk.mp4', np.concatenate([np.full((40, 32, 32, 3), c, np.uint8) for c in COLOURS.values()]), 2)
    (tmp_path/'talk.vtt').write_text(TALK)
    return tmp_path/'talk.mp4', f"zeroshot:python:ours.colours,zeroshot:captions:{tmp_path/'talk.vtt'}"

def near(m, start, end): return abs(m['start'] - start)<=2.5 and abs(m['end'] - end)<=2.5

def run_here(**parameters):
    "The workbook's code in this process, which knows the encoder"
    here = {}
    for c in cells(ROOT/'nbs'/'retrieve.ipynb'):
        if c['cell_type']!='code': continue
        exec(''.join(c['source']), here)
        if 'parameters' in c['metadata'].get('tags', []): here.update({k: v if isinstance(v, int) else str(v) for k,v in parameters.items()})

@needs_wordllama
def test_a_query_finds_either(talk, tmp_path, capsys):
    film,run = talk
    (tmp_path/'q.txt').write_text('the screen is green\nthe puppy makes a hole\nthe screen is blue after they say that roses need water\n')
    run_here(run=run, video=film, queries=tmp_path/'q.txt', out=tmp_path/'out', top=2)
    kept = json.loads((tmp_path/'out'/'moments.json').read_text())
    green,puppy,blue = (q['moments'][0] for q in kept['queries'])
    assert near(green, 20, 40) and green['stream']=='python:ours.colours'
    assert near(puppy, 40, 50) and puppy['stream']=='captions:talk.vtt'
    assert near(blue, 40, 60) and kept['queries'][2]['reading'].startswith('after')
    assert [e['encoder'] for e in kept['encoder']]==['python:ours.colours', 'captions:wordllama'] and kept['run']==run
    assert 'stream' in (tmp_path/'out'/'moments.csv').read_text().splitlines()[0]
    said = capsys.readouterr().out
    assert 'read with python:ours.colours' in said and 'and captions:wordllama' in said

@needs_wordllama
def test_either_order_and_beside_itself(talk):
    "The order of the streams decides nothing; the answer of the stream that knows is its own"
    film,run = talk
    first,second = run.split(',')
    one,other = Streams(run),Streams(f'{second}, {first}')
    for q,alone in (('the screen is red', first), ('a spade', second)):
        a,b,c = (r.search(film, q, 1).iloc[0] for r in (one, other, Retriever(alone)))
        assert a.stream==b.stream and np.allclose([a.start, a.end, a.score], [b.start, b.end, b.score], atol=1e-3)
        assert abs(a.start - c.start)<=1 and abs(a.end - c.end)<=1
    twice = Streams([second, second])
    a,b = (r.search(film, 'a spade') for r in (twice, Retriever(second)))
    assert np.allclose(a[['start', 'end', 'score']], b[['start', 'end', 'score']], atol=1e-3) and a.stream[0]=='captions:talk.vtt (1)'

@needs_wordllama
def test_many_films(talk, tmp_path):
    film,run = talk
    retriever = Streams(run)
    assert list(retriever.index([film]).problem)==['']
    best = retriever.search_all('the screen is green').iloc[0]
    assert near(best, 20, 40) and best.video==str(film)
    silent = shutil.copy(film, tmp_path/'silent.mp4')
    problems = retriever.index([film, silent]).problem
    assert problems[0]=='' and "says nothing of video 'silent'" in problems[1]
    # rows that are kept, a file for each stream
    (tmp_path/'films').mkdir()
    shutil.copy(film, tmp_path/'films')
    heard = open_run([run.split(',')[1]]*2)
    files = f"{tmp_path/'a.hdf5'},{tmp_path/'b.hdf5'}"
    assert list(heard.index(tmp_path/'films', features=files, workers=1).problem)==[''] and near(heard.search_all('a spade').iloc[0], 30, 40)
    with pytest.raises(ValueError, match='1 names for 2 streams'): heard.index(tmp_path/'films', features='a.hdf5')

@needs_wordllama
def test_the_page(talk):
    film,run = talk
    page = Page(App(run=run, videos=str(film)))
    page.state |= page.choose('talk')
    for query,stream in (('the screen is green', 'python:ours.colours'), ('the puppy makes a hole', 'captions:talk.vtt')):
        assert f'The best one is from {stream}.' in page.find(query)['message']

@needs_wordllama
@pytest.mark.parametrize('change, message', [(dict(run='{run},'), 'two streams or more'), (dict(encoder='a,b,c'), '3 names for 2 streams'), (dict(run='{run},zeroshot:nothing'), 'names no encoder'),
    (dict(query='...'), 'nothing to look for'), (dict(run='{run},gone'), 'holds no trained model')])
def test_mistakes_are_told_in_a_sentence(talk, tmp_path, change, message):
    film,run = talk
    good = dict(run=run, video=film, query='a spade', out=tmp_path/'out')
    with pytest.raises((ValueError, FileNotFoundError), match=message): run_here(**good | {k: v.format(run=run) for k,v in change.items()})
    assert not (tmp_path/'out').exists()

@pytest.fixture(scope='module')
def halves(tmp_path_factory):
    "The tiny world's features in one file, and their columns in two, of which the second has one row of two"
    folder = tmp_path_factory.mktemp('halves')
    with h5py.File(tiny().features) as f:
        videos = {k: f[k][:].astype(np.float32) for k in f}
        rate = float(f.attrs['rows_per_second'])
    n = next(iter(videos.values())).shape[1]//2
    def coarse(x): return x[1::2] if len(x) > 1 else x
    def again(x): return coarse(x)[np.minimum(np.arange(len(x))//2, len(coarse(x)) - 1)]
    for name,of,r in [('whole', lambda x: np.concatenate([x[:,:n], again(x[:,n:])], 1), rate), ('left', lambda x: x[:,:n], rate), ('right', lambda x: coarse(x[:,n:]), rate/2)]:
        with h5py.File(folder/f'{name}.hdf5', 'w') as h:
            h.attrs['rows_per_second'] = r
            for k,x in videos.items(): h[k] = of(x[:len(x)//2*2])
    return folder

def test_one_model_learns_from_two_files(halves, tmp_path):
    "Two files side by side are one file of all columns: the same model, the same answers"
    both = f"{halves/'left.hdf5'},{halves/'right.hdf5'}"
    runs = [train(tiny(features=str(f), out=str(tmp_path/k))) for k,f in (('whole', halves/'whole.hdf5'), ('both', both))]
    a,b = (Path(r.folder) for r in runs)
    s = runs[0].corpus.samples['test'][3]
    one,two = (Retriever(f).search(s.vid, s.query) for f in (a, b))
    assert np.allclose(one, two, atol=1e-5) and runs[1].corpus.store.dim==runs[0].corpus.store.dim
    again = Retriever(b, features=both)
    assert np.allclose(again.search(s.vid, s.query), two) and len(again.index())
    with pytest.raises(ValueError, match='width'): Retriever(b, features=halves/'left.hdf5').search(s.vid, s.query)

def test_a_file_that_lacks_a_video_is_told(halves, tmp_path):
    short = shutil.copy(halves/'right.hdf5', tmp_path/'short.hdf5')
    s = next(iter(json.loads((Path(tiny().annotations)/'train.json').read_text())))
    with h5py.File(short, 'a') as f: del f[s]
    with pytest.raises(ValueError, match=f'have no features in .*short.hdf5: {s}'): train(tiny(features=f"{halves/'left.hdf5'},{short}", out=str(tmp_path/'run')))

def test_both_files_are_looked_at(halves, tmp_path):
    c = tiny()
    code,text = without_kernel(tmp_path/'r.ipynb', notebook='data', dataset=c.dataset, annotations=c.annotations, features=f"{halves/'left.hdf5'},{halves/'right.hdf5'}")
    assert code==0, text[-3000:]
    said = ''.join(t for x in cells(tmp_path/'r.ipynb') for o in x.get('outputs', []) for t in o.get('text', []))
    assert 'left.hdf5: HDF5' in said and 'right.hdf5: HDF5' in said
