"Inputs that people in this field really have, each with what is right; the workbook robustness counts them"
import json, subprocess, sys, unicodedata
import av, h5py, numpy as np, pytest
from fuzz.seeds import Seeds
from ms2d.dataset import read_annotations
from ms2d.features import open_features
from ms2d.inspection import inspect_annotations, inspect_features, inspect_words, survey
from ms2d.metrics import evaluate
from ms2d.predictions import read_predictions, write_predictions
from ms2d.retrieval import Retriever
from ms2d.words import load_vectors
from ms2d.video import Video
from ms2d.encoders import open_encoder

ROWS = np.random.default_rng(0).normal(size=(6, 4)).astype('f4')
WORDS = 'a man walks home with the dog and sits down on one red chair'.split()

@pytest.fixture(scope='module')
def good(tmp_path_factory):
    "Good inputs of every reader: a world, a run on it, films"
    return Seeds(tmp_path_factory.mktemp('seeds')/'seeds').make()

@pytest.fixture
def film(good, tmp_path):
    "A folder with a film under any name"
    def named(*names):
        for n in names: (tmp_path/n).write_bytes((good/'video'/'mp4'/'a.mp4').read_bytes())
        return tmp_path
    return named

def write_lines(path, rows, bom=''):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((bom + '\n'.join(json.dumps(r, ensure_ascii=False) for r in rows) + '\n').encode())
    return path

def queries(folder, test, train=({'vid': 't', 'query': 'a man', 'duration': 30},)):
    "Annotations of one's own"
    write_lines(folder/'train.jsonl', train)
    write_lines(folder/'test.jsonl', test)
    return read_annotations('jsonl', folder)

def scored(folder, samples, answers, protocol='standard', **how):
    "R@1 at .5, mIoU and mAP of a file of answers"
    found, notes = read_predictions(write_lines(folder/'p.jsonl', answers, **how), samples)
    r = evaluate(found, samples, protocol)
    return round(r['R@1 IoU=0.5'], 1), round(r['mIoU'], 1), r.get('mAP')

def hdf5(path, **videos):
    with h5py.File(path, 'w') as f:
        for name,x in videos.items(): f[name] = x
    return path

def refused(folder, call, *words):
    "The sentence of an error that names the file and says these words"
    with pytest.raises((ValueError, FileNotFoundError)) as e: call()
    assert e.type in (ValueError, FileNotFoundError) and all(w in str(e.value)
        for w in (str(folder), *words)), str(e.value)
    return str(e.value)

# 1, 2: answers and what is true
def test_qids_that_count_another_way(tmp_path):
    "1: answers whose sentence contradicts their qid go by the sentence, or are refused with their lines"
    n = (1, 2, 3)
    samples = queries(tmp_path, [dict(qid=i, vid='a', query=f'a man does thing {i}', duration=60, start=10*i,
                                      end=10*i + 8) for i in n])['test']
    answers = [dict(qid=i % 3 + 1, vid='a', query=f'a man does thing {i}', pred_relevant_windows=[[10*i, 10*i + 8, .9]])
               for i in n]
    try: assert scored(tmp_path, samples, answers)[:2] == (100, 100)
    except ValueError as e: assert 'p.jsonl' in str(e) and 'line 1, 2, 3' in str(e)

def test_several_true_windows(tmp_path):
    "2: R@1 takes the best of the true windows, mAP all of them"
    samples = queries(tmp_path, [dict(qid=1, vid='a', query='a dog', duration=150,
                                      relevant_windows=[[0, 10], [40, 60]])])['test']
    assert scored(tmp_path, samples, [dict(qid=1, pred_relevant_windows=[[0, 10, .9], [40, 60, .8]])],
                  'moment-detr') == (100, 100, 100)

# 3: decode order is not show order
@pytest.mark.parametrize('name, codec, options',
    [('x.avi', 'libx264', dict(bf='3')), ('x.avi', 'mpeg4', dict(bf='2')), ('x.mkv', 'libx264', dict(bf='3')),
     ('x.mp4', 'libx264', dict(bf='3'))])
def test_frames_that_are_stored_in_another_order(tmp_path, name, codec, options):
    "3: with B-frames, no frame is dropped and each has its time; what is cut has them all"
    from ms2d.moments import cut
    with av.open(str(tmp_path/name), 'w') as out:
        stream = out.add_stream(codec, rate=25, options=options)
        stream.width = stream.height = 64
        stream.pix_fmt = 'yuv420p'
        stream.bit_rate = 8_000_000
        for i in range(100):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 2*i, np.uint8),
                format='rgb24').reformat(format='yuv420p')))
        out.mux(stream.encode(None))
    shown = [(t0, round(f.to_ndarray(format='rgb24').mean()/2)) for t0,_,f in Video(tmp_path/name).shown()]
    assert len(shown) == 100 and max(abs(t - i/25) for t,i in shown) <= .0401
    assert cut(Video(tmp_path/name), [(1, 3)], [tmp_path/'clip.mp4']) == [50]

# 4: names
def test_a_name_with_part_in_it(good, film, tmp_path):
    "4: lecture.part.1.mp4 is extracted, and in the file"
    from ms2d.extraction import Extraction, extract
    videos = film('lecture.part.1.mp4', 'plain.mp4')
    done = extract(Extraction(videos=str(videos), encoder=f"world:{good/'world'/'a'}", features=str(tmp_path/'f.hdf5'),
                              workers=1), lambda line: None)
    assert [e.status for e in done] == ['done', 'done'] and open_features(tmp_path/'f.hdf5').ids == ['lecture.part.1',
        'plain']

@pytest.mark.parametrize('there, asked', [('c1', 'c1.mp4'), ('c2', 'c2.m4v'), ('c3', 'c3.MP4'), ('c4', 'c4.3gp'),
                                          ('v_abc', 'abc.mp4'), ('abc', 'v_abc'),
    (unicodedata.normalize('NFD', 'café'), unicodedata.normalize('NFC', 'café')),
    (unicodedata.normalize('NFC', 'café'), unicodedata.normalize('NFD', 'café.mp4'))])
def test_names_of_films(tmp_path, there, asked):
    "Names that mean one video find its features"
    assert open_features(hdf5(tmp_path/'f.hdf5', **{there: ROWS, 'other': ROWS})).name(asked) == there

def test_films_by_any_suffix(film):
    "Films are found whatever their suffix looks like; what a Mac leaves beside them is no film"
    from ms2d.extraction import find_videos
    folder = film('a.mp4', 'b.m4v', 'c.MP4', 'd.3gp')
    (folder/'._a.mp4').write_bytes(b'\0\5\x16\7')
    assert {'a', 'b', 'c', 'd'} == set(find_videos(folder))

# 5: rows are not seconds
def test_rows_of_an_array_are_seconds(good, tmp_path):
    "5: rows of an array or a .npy have the rate that the model learned from"
    trained = Retriever(good/'run')
    rows = trained.rows('test0000')[0]
    np.save(tmp_path/'film.npy', rows)
    want = trained.search('test0000', 'the red star spins', duration=len(rows)/2)
    for video in (rows, tmp_path/'film.npy'): assert np.allclose(trained.search(video,
        'the red star spins')[['start', 'end']], want[['start', 'end']], atol=1e-4)

def test_neighbours_of_an_array(good, tmp_path):
    "The file that is named is read, not the first of its folder"
    trained = Retriever(good/'run')
    np.save(tmp_path/'film.npy', np.ones((88, 16), 'f4'))
    np.save(tmp_path/'a_labels.npy', np.arange(5))
    assert len(trained.search(str(tmp_path/'film.npy'), 'the red star spins', duration=44.))

# 6: what ends a line
@pytest.mark.parametrize('c', ['\u2028', '\u2029', '\x85', '\x0c', '\x1c'])
def test_what_ends_no_line(tmp_path, c):
    "6: only LF, CR LF and CR end a line, in annotations and in answers; our own answers are read back"
    asked = [dict(vid='a', query=f'a man{c if c >= chr(32) else " "}waits', duration=9, start=1, end=2),
             dict(vid='a', query='a dog', duration=9, start=1, end=3)]
    samples = queries(tmp_path, asked)['test']
    assert [s.qid for s in samples] == ['test_1', 'test_2']
    answers = {s.qid: np.array([[1, 2, .5]]) for s in samples}
    found, notes = read_predictions(write_predictions(tmp_path/'p.jsonl', answers, samples), samples)
    assert len(found) == 2
    for k in ('train', 'test'):
        (tmp_path/f'charades_sta_{k}.txt').write_text(f'A 0 5##sits.\nA 1 6##waits{c}then goes.\n', encoding='utf-8')
        (tmp_path/f'Charades_v1_{k}.csv').write_text('id,length\nA,30\n')
    assert [len(s.query.split()) for s in read_annotations('charades_sta', tmp_path)['train']] == [1, 3]

# 7: facts that are at hand
def test_text_vectors_called_bin(tmp_path):
    "7: text under the name .bin is read as text, or refused"
    from gensim.models import KeyedVectors
    x = np.random.default_rng(0).normal(size=(len(WORDS), 5)).astype('f4')
    kv = KeyedVectors(5)
    kv.add_vectors(WORDS, x)
    kv.save_word2vec_format(str(tmp_path/'t.bin'), binary=False)
    try: found = load_vectors(tmp_path/'t.bin', [' '.join(WORDS)], dim=5)
    except ValueError as e: assert 't.bin' in str(e) and 'text' in str(e)
    else: assert np.allclose(found[WORDS], x, atol=1e-3)

def frames_file(folder, **length):
    for k in ('train', 'test'): (folder/f'{k}.json').write_text(json.dumps({'a': dict(length, timestamps=[[294, 588]],
        sentences=['a man waits'])}))
    return folder

def test_durations_in_frames(tmp_path):
    "7: fps beside a duration is used, or contradicted aloud"
    try: s = read_annotations('tacos', frames_file(tmp_path, duration=7346, fps=29.4))['test'][0]
    except ValueError as e: assert 'fps' in str(e) and 'test.json' in str(e) or 'train.json' in str(e)
    else: assert np.allclose([s.duration, s.start, s.end], [7346/29.4, 10, 20])

def test_frames_taken_for_seconds(tmp_path):
    "7: a TACoS in which a moment starts at 29,400 seconds is a finding"
    for k in ('train', 'test'):
        videos = {f's{i}-d{i}': dict(duration=7346 + i, timestamps=[[294, 588]], sentences=['a man waits'])
                  for i in range(9)}
        (tmp_path/f'{k}.json').write_text(json.dumps(videos))
    try: found = [f for f in inspect_annotations(read_annotations('tacos', tmp_path), 'tacos') if f.level != 'fine']
    except ValueError as e: assert 'json' in str(e)
    else: assert any('frames' in f.what + f.do for f in found), found

def test_preprocessing_that_the_model_names(tmp_path):
    "7: hf: prepares pictures as the model's own processor does"
    transformers = pytest.importorskip('transformers')
    torch = pytest.importorskip('torch')
    size = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32,
                patch_size=16)
    net = transformers.ViTModel(transformers.ViTConfig(**size)).eval()
    net.save_pretrained(tmp_path/'vit')
    said = dict(do_normalize=False, do_rescale=True, rescale_factor=1/255, size=dict(height=32, width=32),
                image_mean=[.5]*3, image_std=[.5]*3, image_processor_type='ViTImageProcessor')
    (tmp_path/'vit'/'preprocessor_config.json').write_text(json.dumps(said))
    x = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    with torch.no_grad(): want = net(torch.from_numpy(x).permute(0, 3, 1, 2)/255.).pooler_output.numpy()
    assert np.allclose(open_encoder(f"hf:{tmp_path/'vit'}").rows(iter(x)), want, atol=1e-4)

# 8: one rule everywhere
@pytest.mark.parametrize('query', [None, 7, True, ['a dog'], {'a': 1}])
def test_a_sentence_is_text(tmp_path, query):
    "8: what is no text is no sentence"
    refused(tmp_path, lambda: queries(tmp_path, [dict(vid='a', query=query, duration=9, start=1, end=2)]),
            'test.jsonl:1')

def test_a_word_twice(tmp_path):
    "8: of a word that comes twice, every layout takes the first vector"
    x = np.array([[1, 0], [0, 1], [5, 5]], 'f4')
    np.savez(tmp_path/'v.npz', words=np.array(['dog', 'cat', 'dog']), vectors=x)
    (tmp_path/'v.txt').write_text('dog 1 0\ncat 0 1\ndog 5 5\n')
    (tmp_path/'v.bin').write_bytes(b'3 2\n' + b''.join(w + b' ' + r.tobytes() + b'\n' for w,
                                                       r in zip([b'dog', b'cat', b'dog'], x)))
    for name in ('v.npz', 'v.txt', 'v.bin'): assert load_vectors(tmp_path/name, ['the dog, the cat'],
        dim=2)['dog'].tolist() == [1, 0], name

def test_a_byte_order_mark(tmp_path):
    "8: a byte-order mark takes no word and no file"
    (tmp_path/'b.txt').write_text('the 1 0\na 0 1\ndog 1 1\n', encoding='utf-8-sig')
    assert sorted(load_vectors(tmp_path/'b.txt', ['the a dog'], dim=2).key_to_index) == ['a', 'dog', 'the']
    samples = queries(tmp_path, [dict(qid=1, vid='a', query='a dog', duration=10, start=0, end=10)])['test']
    assert scored(tmp_path, samples, [dict(qid=1, pred_relevant_windows=[[0, 10, .9]])], bom='\ufeff')[0] == 100

# 9, 10: answers
def test_answers_are_distinct(good):
    "9: no two answers to a question are one moment"
    from ms2d.overlap import temporal_iou
    trained = Retriever(good/'run')
    for vid in trained.store.ids:
        spans = trained.search(vid, 'the red star spins')[['start', 'end']].values
        over = np.array([[temporal_iou(a, b) for b in spans] for a in spans])
        assert (over[~np.eye(len(over), dtype=bool)] <= trained.cfg.nms + 1e-6).all(), spans

def test_ranking_leaves_the_scores_alone():
    "10: nothing is written into the caller's numbers"
    import torch
    from ms2d.ranking import rank_moments
    logits = torch.randn(2, 3, dtype=torch.double)
    before = logits.clone()
    rank_moments(torch.rand(2, 3), logits, np.array([[0, 1], [1, 2], [0, 2.]]), np.zeros(3, int), .5)
    assert torch.equal(logits, before)

# raw tracebacks, wrong advice
def test_text_beside_the_videos(tmp_path):
    "A text that stands among the videos is named as a finding, or left out"
    store, seen, broken = survey(hdf5(tmp_path/'r.h5', README='hello', a=ROWS))
    assert set(seen) == {'a'} and (store.ids == ['a'] or ['README'] in broken.values())

def test_what_data_names_and_goes_on(tmp_path):
    "A dangling link, a name that is not UTF-8: nbs/data.ipynb names them"
    with h5py.File(tmp_path/'f.h5', 'w') as f:
        f['a'] = ROWS
        f['gone'] = h5py.SoftLink('/nowhere')
        f[b'caf\xe9'] = ROWS
    store, seen, broken = survey(tmp_path/'f.h5')
    assert 'a' in seen and any('gone' in names for names in broken.values())
    inspect_features(store, seen, broken, {})

def test_a_rate_as_an_array_of_one(tmp_path):
    "An attribute that is an array of one number is that number"
    with h5py.File(hdf5(tmp_path/'m.h5', a=ROWS), 'a') as f: f.attrs['rows_per_second'] = np.array([2.])
    assert open_features(tmp_path/'m.h5').rate('a') == 2

def test_a_filter_that_is_missing(tmp_path):
    "A missing filter plugin is called that, not a broken download"
    with h5py.File(tmp_path/'z.h5', 'w') as f:
        data = f.create_dataset('a', (8, 16), dtype='f4', chunks=(8, 16), compression=32099, allow_unknown_filter=True)
        data.id.write_direct_chunk((0, 0), b'junk')
    said = refused(tmp_path, lambda: open_features(tmp_path/'z.h5').rows('a'))
    assert 'hdf5plugin' in said and 'truncated' not in said and 'again' not in said

def test_a_file_that_is_being_written(tmp_path):
    "A locked file is called that"
    code = 'import h5py, sys\nf = h5py.File(sys.argv[1], "w")\nf.flush(); print(1, flush=True); input()'
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    writer = subprocess.Popen([sys.executable, '-c', code, str(tmp_path/'l.h5')], **pipes)
    try:
        writer.stdout.readline()
        said = refused(tmp_path, lambda: open_features(tmp_path/'l.h5'))
    finally: writer.communicate(b'\n')
    assert any(w in said for w in ('writes', 'writing', 'written', 'lock')) and 'download' not in said

@pytest.mark.parametrize('query', ['...', '🙂', '?!'])
def test_a_wordless_sentence(tmp_path, query):
    "A sentence without words is a finding of nbs/data.ipynb"
    ann = queries(tmp_path, [dict(vid='a', query=query, duration=9, start=1, end=2)],
                  [dict(vid=f't{i}', query='a dog', duration=9, start=1, end=2) for i in range(4)])
    found = [*inspect_annotations(ann, 'jsonl'), *inspect_words(ann, 'corpus')]
    assert any('test' in f.what for f in found if f.level == 'wrong'), found

def test_durations_that_disagree(tmp_path):
    "Two durations of one video are a finding, or refused"
    try: ann = queries(tmp_path, [dict(vid='a', query='a dog', duration=d, start=1, end=2) for d in (9, 30)])
    except ValueError as e: assert 'duration' in str(e)
    else: assert any('duration' in f.what for f in inspect_annotations(ann, 'jsonl') if f.level != 'fine')

def test_a_torn_checkpoint(good, tmp_path):
    "A torn last.ckpt: the one before answers, or a sentence names the file"
    data = (good/'run'/'last.ckpt').read_bytes()
    (tmp_path/'last.ckpt').write_bytes(data[:100_000])
    said = refused(tmp_path, lambda: Retriever(tmp_path).search('test0000', 'the red star spins'))
    assert 'weights_only' not in said
    (tmp_path/'last.ckpt').write_bytes(data[:100_000])
    for p in (good/'run').glob('previous.*'): (tmp_path/p.name).write_bytes(p.read_bytes())
    assert len(Retriever(tmp_path).search('test0000', 'the red star spins'))

def test_a_word_that_papermill_takes_for_a_number():
    "-p query 007 says: -r"
    from ms2d.moments import Retrieval
    with pytest.raises(ValueError, match='-r query'): Retrieval.from_namespace(dict(video='x.mp4', query=7))

# no one in
def test_no_file_opens_an_encoder(good, tmp_path):
    "A checkpoint or a feature file may name an encoder; it opens none"
    ran = str(tmp_path/'ran')
    (tmp_path/'evil.py').write_text(f"open({ran!r}, 'w').close()\ndef make(*_): raise RuntimeError\n")
    import torch
    run = tmp_path/'run'
    run.mkdir()
    state = torch.load(good/'run'/'last.ckpt', weights_only=True)
    facts = dict(encoder='python:evil.make', opened_as='python:evil.make', checksum='x', frames_per_second=4., window=4,
                 stride=2, rows_per_second=2.)
    state['ms2d']['facts'] = facts
    torch.save(state, run/'last.ckpt')
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(ValueError): Retriever(run).search(good/'video'/'mp4'/'a.mp4', 'the red star spins')
    finally: sys.path.remove(str(tmp_path))
    assert not (tmp_path/'ran').exists() and 'evil' not in sys.modules
