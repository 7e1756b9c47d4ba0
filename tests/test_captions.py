"Captions as feature rows, as a user makes them, and a model that learns from the pairs of another split"
import gzip, importlib.util, json
import h5py, numpy as np, pytest
from ms2d.config import Config
from ms2d.corpus import Corpus
from ms2d.extraction import Extraction, extract, read_captions
from ms2d.features import open_features
from ms2d.sentences import open_sentences
from workbooks import cells, without_kernel

needs_wordllama = pytest.mark.skipif(not importlib.util.find_spec('wordllama'), reason='wordllama is not installed: extra [text]')

def line(vid='a', seconds=2, captions=('a dog on a lawn', 'a dog jumps')): return dict(vid=vid, seconds_per_caption=seconds, captions=captions)
def write(path, *lines):
    path.write_text(''.join((x if isinstance(x, str) else json.dumps(x)) + '\n' for x in lines))
    return path
def asked(file, features, **kw): return Extraction(encoder=f'captions:{file}', features=str(features), workers=1, **kw)
def silent(_): pass

@pytest.fixture(scope='module')
def few(shared, tmp_path_factory):
    "The first four videos of the real files, packed as they are"
    folder = tmp_path_factory.mktemp('captions')
    for split in ('val', 'test'):
        with gzip.open(shared/'data'/'captions'/f'qvhighlights_{split}.jsonl.gz', 'rt') as f: lines = [next(f) for _ in range(4)]
        with gzip.open(folder/f'{split}.jsonl.gz', 'wt') as f: f.writelines(lines)
    return folder

@needs_wordllama
def test_rows_are_the_vectors_of_the_captions(few, tmp_path):
    "Through the workbook; the second file joins the first, and what is there is not made again"
    features = tmp_path/'f.hdf5'
    for split in ('val', 'test'):
        code,text = without_kernel(tmp_path/f'{split}.ipynb', notebook='extract', encoder=f'captions:{few}/{split}.jsonl.gz', features=features, workers=1)
        said = ''.join(t for c in cells(tmp_path/f'{split}.ipynb') for o in c.get('outputs', []) for t in o.get('text', []))
        assert code==0 and '4 extracted' in said and '0 were there, 0 failed' in said and 'captions, in ' in said, text[-3000:]
    store = open_features(features)
    captions = read_captions(few/'val.jsonl.gz') | read_captions(few/'test.jsonl.gz')
    assert store.ids==sorted(captions) and len(captions)==8
    read = open_sentences('wordllama')
    for name,c in captions.items(): # halves hold 11 bits
        assert np.abs(store.rows(name) - read(c.captions)).max()<2**-11 and store.rate(name)==.5 and store.seconds(name)==2*len(c.captions)
    with h5py.File(features) as f:
        assert all(d.dtype==np.float16 for d in f.values())
        assert (f.attrs['encoder'], f.attrs['checksum'], f.attrs['rows_per_second'])==('captions:wordllama', read.checksum, .5)
    before = features.read_bytes()
    assert {e.status for e in extract(asked(few/'val.jsonl.gz', features), silent)}=={'skipped'}
    assert features.read_bytes()==before

@needs_wordllama
def test_rows_of_another_encoder_or_rate_do_not_join(tmp_path):
    features = tmp_path/'f.hdf5'
    extract(asked(write(tmp_path/'a.jsonl', line()), features), silent)
    with pytest.raises(ValueError, match=r'captions:wordllama .* 1 frames/s.*but f.hdf5 has those of captions:wordllama .* 0.5 frames/s'):
        extract(asked(write(tmp_path/'b.jsonl', line('b', 1)), features), silent)
    with h5py.File(features, 'a') as f: f.attrs.update(encoder='captions:st:mini', checksum='0123456789abcdef')
    with pytest.raises(ValueError, match='but f.hdf5 has those of captions:st:mini'):
        extract(asked(write(tmp_path/'b.jsonl', line('b')), features), silent)
    with h5py.File(features) as f: assert [*f]==['a']

@needs_wordllama
def test_captions_without_a_word(tmp_path):
    "The one before counts, which is said; a video of nothing else is left out, which is said too"
    lines = line(captions=['', 'a dog', ' ... ', 'a cat']), line('mute', captions=['', '!'])
    ended = {e.name: e for e in extract(asked(write(tmp_path/'a.jsonl', *lines), tmp_path/'f.hdf5'), silent)}
    rows = open_features(tmp_path/'f.hdf5').rows('a')
    assert (rows[:3]==rows[0]).all() and (rows[3]!=rows[0]).any() and np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3)
    assert ended['a'].last.startswith('2 of 4 captions have no word')
    assert ended['mute'].status=='failed' and 'a.jsonl:2: none of its captions has a word' in ended['mute'].last
    with pytest.raises(ValueError, match='none of the 1 lines of .*b.jsonl can be read; the first: .*b.jsonl:1: none'):
        extract(asked(write(tmp_path/'b.jsonl', lines[1]), tmp_path/'g.hdf5'), silent)
    assert not (tmp_path/'g.hdf5').exists() and not (tmp_path/'g.hdf5.parts').exists()

GOOD = line('good')
BAD = {
    'no JSON': (['vid a: a dog'], r'f.jsonl:1: not json'), 'another layout': ([[1, 2]], r'f.jsonl:1: vid, seconds_per_caption, captions are needed, got \[1, 2\]'),
    'a key is missing': ([GOOD, dict(vid='a', captions=['a'])], r"f.jsonl:2: .* are needed, got \['captions', 'vid'\]"),
    'captions are text': ([GOOD, line(captions='a dog')], r"f.jsonl:2: captions are 'a dog': a list"),
    'a number among them': ([GOOD, line(captions=['a', 3])], r'f.jsonl:2: caption 2 is 3: text is needed'), 'none': ([line(captions=[])], r'f.jsonl:1: captions are \[\]'),
    'no seconds': ([line(seconds=0)], r'f.jsonl:1: seconds_per_caption is 0: .001 to 1000'), 'below zero': ([line(seconds=-2)], 'f.jsonl:1: seconds_per_caption is -2'),
    'true': ([line(seconds=True)], r'f.jsonl:1: seconds_per_caption is True: a number'), 'endless': ([line(seconds=1e999)], 'f.jsonl:1: seconds_per_caption is inf'),
    'two rates': ([GOOD, line(seconds=1)], r'f.jsonl:2: seconds_per_caption is 1, and 2 in .*f.jsonl:1'),
    'a video twice': ([GOOD, line(), line('good.mp4')], r"f.jsonl:3: video 'good' again, after .*f.jsonl:1"), 'nothing': ([], 'f.jsonl has no line'),
    'a way out': ([line('../a')], r"f.jsonl:1: vid is '../a'"), 'a hidden name': ([line('.a')], r"f.jsonl:1: vid is '.a'"), 'no name': ([line('')], r"f.jsonl:1: vid is ''"),
    'half a character': ([line(captions=['\ud83d'])], r'f.jsonl:1: caption 1 .* half of a surrogate pair')}

@pytest.mark.parametrize('what', BAD)
def test_a_bad_line_is_named_and_leaves_nothing(what, tmp_path):
    lines,says = BAD[what]
    write(tmp_path/'f.jsonl', *lines)
    with pytest.raises(ValueError, match=says): extract(asked(tmp_path/'f.jsonl', tmp_path/'f.hdf5'), silent)
    assert [p.name for p in tmp_path.iterdir()]==['f.jsonl']

def test_a_bad_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='gone.jsonl does not exist: name a file of captions'): read_captions(tmp_path/'gone.jsonl')
    with pytest.raises(ValueError, match='is a folder: name a file of captions'): read_captions(tmp_path)
    whole = gzip.compress(b'\n'.join(json.dumps(line(f'v{i}')).encode() for i in range(999)))
    (tmp_path/'cut.gz').write_bytes(whole[:len(whole)//2])
    with pytest.raises(ValueError, match='cut.gz is no gzip file .*damaged or cut off'): read_captions(tmp_path/'cut.gz')
    (tmp_path/'wide.jsonl').write_bytes(json.dumps(line()).encode('utf-16'))
    with pytest.raises(ValueError, match='wide.jsonl: UTF-16 text'): read_captions(tmp_path/'wide.jsonl')

@pytest.mark.parametrize('kw, says', [(dict(encoder='captions'), 'names no file'), (dict(encoder='captions:'), 'names no file'),
    (dict(encoder='captions:f', videos='d', stride=2), 'leave out videos, stride'), (dict(encoder='captions:f', sentences='glove.txt'), "sentences is 'glove.txt': wordllama or st:"),
    (dict(encoder='world', videos='d', sentences='st:mini'), 'encoder world reads no text'), (dict(encoder='world'), 'pass -p videos')])
def test_what_does_not_go_together(kw, says):
    with pytest.raises(ValueError, match=says): Extraction(**kw)

@pytest.fixture(scope='module')
def highlights(shared, tmp_path_factory):
    "QVHighlights as it is published, with random rows; -> (pairs, split) -> Config"
    annotations = shared/'data'/'annotations'/'qvhighlights'
    rng,features = np.random.default_rng(0),tmp_path_factory.mktemp('rows')/'f.hdf5'
    vids = {json.loads(l)['vid'] for p in annotations.glob('*.jsonl') for l in p.open()}
    with h5py.File(features, 'w') as f:
        for v in vids: f[v] = rng.normal(size=(8, 4)).astype('f2')
    return lambda pairs,split,**kw: Config(dataset='qvhighlights', annotations=str(annotations), features=str(features), pairs=pairs, split=split, clips=4, scales=1, **kw)

@pytest.mark.parametrize('pairs, split, answered, learned', [('val', 'test', 1542, 1550), ('test', 'val', 1550, 1542)])
def test_pairs_of_another_split(highlights, pairs, split, answered, learned):
    "The published files alone: all pairs of one split are learned from or validated with, all queries of the other answered, no video in both"
    corpus = Corpus(highlights(pairs, split, relations='none'))          # a sentence that is taken apart would count twice
    videos = {k: {s.vid for s in v} for k,v in corpus.samples.items()}
    assert len(corpus.samples['test'])==answered and len(corpus.samples['train']) + len(corpus.samples['val'])==learned
    assert not videos['train'] & videos['test'] and not videos['val'] & videos['test'] and not videos['train'] & videos['val']
    assert f'qvhighlights {split}: {answered:,} queries' in corpus.title and 'held out of train' in corpus.note
    # no time reaches a model
    assert all(q.moment is None for q in corpus.queries.values())

def test_pairs_that_cannot_be(highlights):
    with pytest.raises(ValueError, match="split is 'val', pairs are 'val': a model is not tested on"): highlights('val', 'val')
    with pytest.raises(ValueError, match='no training queries: the annotations hold val, test; -p pairs SPLIT learns'): Corpus(highlights('train', 'val'))
    with pytest.raises(ValueError, match="qvhighlights has no split 'dev': there are val, test, train"): Corpus(highlights('dev', 'val'))

def test_a_video_that_is_answered_is_not_learned_from(tmp_path, capsys):
    "By whatever spelling of its name"
    def queries(names): return [dict(vid=v, query=f'a dog {v}', duration=8, start=1, end=4) for v in names]
    write(tmp_path/'val.jsonl', *queries([f'v{i}' for i in range(9)]))
    write(tmp_path/'test.jsonl', *queries(['v0.mp4', 'v_v1', 'w']))
    with h5py.File(tmp_path/'f.hdf5', 'w') as f:
        for v in ('w', *(f'v{i}' for i in range(9))): f[v] = np.ones((8, 4), 'f2')*len(f)
    given = dict(dataset='jsonl', annotations=str(tmp_path), features=str(tmp_path/'f.hdf5'), clips=4, scales=1)
    corpus = Corpus(Config(**given, pairs='val'))
    assert {s.vid for k in ('train', 'val') for s in corpus.samples[k]}=={f'v{i}' for i in range(2, 9)}
    assert len(corpus.labelled)==7 and "pairs 'val': 2 of 9 are about videos of split 'test': not learned from" in capsys.readouterr().out
    write(tmp_path/'test.jsonl', *queries([f'v{i}' for i in range(9)]))
    with pytest.raises(ValueError, match="pairs 'val': all videos are also in split 'test'"): Corpus(Config(**given, pairs='val'))

def cue(start, end, text): return f'00:00:{start:06.3f} --> 00:00:{end:06.3f}\n{text}\n\n'
VTT = 'WEBVTT\n\n' + cue(0, 4, 'a <i>dog</i> on a lawn') + cue(3, 6, 'a dog jumps') + cue(20, 90, 'good night')

@needs_wordllama
def test_subtitles_become_rows(tmp_path):
    "Through the workbook, of a folder, with the lengths of the videos; cues that overlap share a row, and the last goes on after the end"
    from ms2d.world import write_video
    for folder in ('said', 'seen'): (tmp_path/folder).mkdir()
    write_video(tmp_path/'seen'/'walk.mp4', np.zeros((12*24, 32, 32, 3), np.uint8))
    (tmp_path/'said'/'walk.en.vtt').write_bytes(b'\xef\xbb\xbf' + VTT.replace('\n', '\r\n').encode())
    code,text = without_kernel(tmp_path/'out.ipynb', notebook='extract', encoder=f"captions:{tmp_path/'said'}", videos=tmp_path/'seen', features=tmp_path/'f.hdf5', rate=2., workers=1)
    assert code==0, text[-3000:]
    store = open_features(tmp_path/'f.hdf5')
    rows = store.rows('walk')
    assert store.ids==['walk'] and store.rate('walk')==2 and len(rows)==48 and store.seconds('walk')==24
    dog,both,jump,night = open_sentences('wordllama')(['a dog on a lawn', 'a dog on a lawn a dog jumps', 'a dog jumps', 'good night'])
    quiet = slice(16, 40)                                                 # two seconds of breath behind the jump
    said = [(slice(0, 6), dog), (slice(6, 8), both), (slice(8, 16), jump), (slice(40, 48), night)]
    for where,want in said: assert np.allclose(rows[where], want, atol=1e-3)
    assert np.allclose(rows[quiet], (6*dog + 2*both + 8*jump + 8*night)/24, atol=1e-3)
    with pytest.raises(ValueError, match='but f.hdf5 has those of captions:wordllama'): extract(asked(tmp_path/'said', tmp_path/'f.hdf5'), silent)

@pytest.mark.parametrize('name, text, says', [('a.srt', '', 'a.srt has no cue'), ('a.vtt', 'WEBVTT\n', 'a.vtt has no cue'), ('a.srt', '1\n' + cue(0, 1, '...'), 'none of its texts has a word'),
    ('a.srt', 'hello\n', "a.srt:1: 'hello' has no times"), ('a.srt', cue(3, 2, 'x'), 'from 3 to 2 s'), ('a.srt', cue(0, 1, 'x\n' + cue(1, 2, 'y')), 'without a blank line')])
def test_subtitles_that_are_none(name, text, says, tmp_path):
    (tmp_path/name).write_text(text)
    with pytest.raises(ValueError, match=says): extract(asked(tmp_path/name, tmp_path/'f.hdf5'), silent)
    assert [p.name for p in tmp_path.iterdir()]==[name]
