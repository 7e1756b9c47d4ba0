"Pictures and sentences of one space: from a film to moments without training, as a user does it"
import importlib.util, json, shutil, sys, types
import h5py, numpy as np, pytest, torch
from ms2d.config import Config
from ms2d.encoders import open_encoder
from ms2d.extraction import Extraction, extract
from ms2d.features import open_features
from ms2d.learner import Learner
from ms2d.model import build
from ms2d.retrieval import Retriever
from ms2d.sentences import open_sentences
from ms2d.training import train
from ms2d.world import write_video
from joint import prepared, small_clip, trained_clip
from workbooks import without_kernel

needs_wordllama = pytest.mark.skipif(not importlib.util.find_spec('wordllama'), reason='wordllama is not installed: extra [text]')
needs_hf = pytest.mark.skipif(not (importlib.util.find_spec('transformers') and importlib.util.find_spec('tokenizers')), reason='transformers is not installed: extra [hf]')
needs_st = pytest.mark.skipif(not importlib.util.find_spec('sentence_transformers'), reason='sentence_transformers is not installed: extra [text]')
SENTENCES = ['a red square', 'a green square on the left', 'the screen is blue', 'it is dark', 'someone opens the door']
COLOURS = dict(red=(220, 30, 30), green=(30, 200, 40), blue=(20, 30, 220))

def film(path, seconds=8, size=32, fps=4):
    "Red, green and blue, one after the other"
    x = np.concatenate([np.full((seconds*fps, size, size, 3), c, np.uint8) for c in COLOURS.values()])
    write_video(path, x, fps)
    return x

@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    pytest.importorskip('transformers', reason='the extra [hf] is not installed')
    folder = tmp_path_factory.mktemp('models')/'small'
    folder.mkdir()
    return folder, small_clip(folder, SENTENCES)

@needs_hf
@pytest.mark.parametrize('kind', ['clip', 'siglip', 'xclip'])
def test_both_halves_are_the_models_own(kind, tmp_path):
    "Rows and vectors are what the model itself makes of pixels and tokens prepared by hand; SigLIP's sentences are filled up"
    import transformers
    net = small_clip(tmp_path, SENTENCES, kind)
    encoder,read = open_encoder(f'hf:{tmp_path}'),open_sentences(f'hf:{tmp_path}')
    assert encoder.facts['text']==f'hf:{tmp_path.name}' and encoder.facts['text_checksum']==read.checksum
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    cut = transformers.AutoTokenizer.from_pretrained(tmp_path)
    fill = dict(padding='max_length', max_length=24) if kind=='siglip' else {}
    with torch.no_grad():
        x = prepared(frames, 32)
        seen = net.get_video_features(pixel_values=x[None]) if kind=='xclip' else net.get_image_features(pixel_values=x)
        for s,row in zip(SENTENCES, read(SENTENCES)):                       # one at a time: padding changes nothing
            tokens = cut([s], return_tensors='pt', **fill)
            said = net.get_text_features(**({'input_ids': tokens['input_ids']} if kind=='siglip' else {k: tokens[k] for k in ('input_ids', 'attention_mask')}))
            said = (said if isinstance(said, torch.Tensor) else said.pooler_output)[0].numpy()
            assert np.allclose(row, said/np.linalg.norm(said), atol=1e-5)
    seen = seen if isinstance(seen, torch.Tensor) else seen.pooler_output
    assert np.allclose(encoder.rows(frames), seen.numpy(), atol=1e-4) and seen.shape[1]==read.width

@needs_hf
def test_the_checksum_is_of_weights_tokenizer_and_filling(clip, tmp_path):
    folder,_ = clip
    one = open_sentences(f'hf:{folder}').checksum
    shutil.copytree(folder, tmp_path/'same')
    assert open_sentences(f"hf:{tmp_path/'same'}").checksum==one
    small_clip(tmp_path/'same', SENTENCES, seed=1)
    assert open_sentences(f"hf:{tmp_path/'same'}").checksum!=one
    small_clip(tmp_path/'same', [*SENTENCES[::-1], 'a red red door'])
    assert open_sentences(f"hf:{tmp_path/'same'}").checksum!=one

@needs_hf
def test_from_a_film_to_moments(clip, tmp_path):
    "No run folder, no training; the model's own half reads the sentence"
    folder,net = clip
    film(tmp_path/'holiday.mp4')
    retriever = Retriever(f'zeroshot:hf:{folder}')
    found = retriever.search(tmp_path/'holiday.mp4', 'a green square', top=3)
    assert list(found.columns)==['start', 'end', 'score', 'scale'] and 1<=len(found)<=3
    assert (found.start>=0).all() and (found.end<=24.01).all() and (found.start<found.end).all() and found.score.between(0, 1).all()
    assert 0<=retriever.match_probability(tmp_path/'holiday.mp4', 'a green square')<=1
    # rows that say what the sentence says: the moment is where they are
    read = open_sentences(f'hf:{folder}')
    rows = read(['it is dark']*8 + ['a green square on the left']*8 + ['the screen is blue']*8)
    best = retriever.search(rows, 'a green square on the left', top=1, duration=24.).iloc[0]
    assert abs(best.start - 8)<=1 and abs(best.end - 16)<=1

@needs_hf
def test_from_a_film_to_a_run_folder(clip, tmp_path):
    "Rows by the workbook, a run folder by the preset, a question about a new film; nothing is trained and no time is read"
    folder,_ = clip
    (tmp_path/'films').mkdir()
    for i in range(8): film(tmp_path/'films'/f'v{i}.mp4', 4 + i % 3)
    code,text = without_kernel(tmp_path/'x.ipynb', notebook='extract', encoder=f'hf:{folder}', videos=tmp_path/'films', features=tmp_path/'f.hdf5', workers=1)
    assert code==0, text[-3000:]
    with h5py.File(tmp_path/'f.hdf5') as f: assert f.attrs['text']=='hf:small' and f.attrs['text_checksum']==open_sentences(f'hf:{folder}').checksum
    def queries(names): return ''.join(json.dumps(dict(qid=f'{v}{k}', vid=v, query=s, duration=24, start=1, end=9)) + '\n' for v in names for k,s in enumerate(SENTENCES[:3]))
    for split,names in dict(train=['v0', 'v1', 'v2', 'v3', 'v4'], test=['v5', 'v6']).items(): (tmp_path/f'{split}.jsonl').write_text(queries(names))
    given = dict(dataset='jsonl', annotations=str(tmp_path), features=str(tmp_path/'f.hdf5'), clips=8, scales=2, accelerator='cpu', preset='zeroshot', out=str(tmp_path/'run'))
    run = train(Config(vectors=f'hf:{folder}', **given))
    a = run.model.alignment
    assert torch.equal(a.video.weight, run.model.norm.std.diag()) and torch.equal(a.text.weight, torch.eye(32))
    found = Retriever(tmp_path/'run', encoder=f'hf:{folder}').search(tmp_path/'films'/'v7.mp4', 'a red square')
    assert len(found) and (found.end<=15.01).all()
    small_clip(other := tmp_path/'other', SENTENCES, seed=3)
    with pytest.raises(ValueError, match='another space: pass -p vectors hf:small'): train(Config(vectors=f'hf:{other}', **given))
    if importlib.util.find_spec('wordllama'):
        with pytest.raises(ValueError, match='another space'): train(Config(**given))

@pytest.mark.slow
@pytest.mark.timeout(3600)
@needs_hf
def test_a_trained_clip_is_better_than_a_constant(tmp_path):
    "A small CLIP sees pictures of other videos with their sentences; from mp4 to moments of the world with it, and no time of it is read"
    from ms2d.baselines import best_constant, constant
    from ms2d.metrics import evaluate
    from ms2d.ranking import predict
    from ms2d.statistics import differences
    from ms2d.world import write_annotations
    from ms2d.world_pictures import FPS, render
    from ms2d.world_sentences import queries, script
    pictures,sentences = [],[]
    for other in (script(1, f'film{i}') for i in range(2000)):                # another world: none of its videos is asked about
        frames = render(other)
        for start,end,said in queries(other):
            pictures.append(frames[int(start*FPS):max(int(end*FPS), int(start*FPS) + 1)])
            sentences.append(said)
    (model := tmp_path/'seen').mkdir()
    trained_clip(model, pictures, sentences)
    (films := tmp_path/'films').mkdir()
    for split,n in (('train', 40), ('val', 0), ('test', 150)):
        for vid in write_annotations(tmp_path, 0, split, n): write_video(films/f'{vid}.mp4', render(script(0, vid)), FPS)
    code,text = without_kernel(tmp_path/'x.ipynb', notebook='extract', encoder=f'hf:{model}', videos=films, features=tmp_path/'f.hdf5', workers=2)
    assert code==0, text[-3000:]
    run = train(Config(dataset='activitynet_captions', annotations=str(tmp_path), features=str(tmp_path/'f.hdf5'), vectors=f'hf:{model}', preset='zeroshot', accelerator='cpu', out=str(tmp_path/'run')))
    asked = run.corpus.samples['test']
    span = best_constant(run.corpus.labelled)
    apart = differences([predict(run.model, run.corpus)], dict(constant=[constant(asked, span)]), asked)['constant']
    print(len(asked), apart)
    for name in ('R@1 IoU=0.5', 'mIoU'): assert apart[name]['low'] > 0, apart
    alone = Retriever(f'zeroshot:hf:{model}')                                 # one video and one sentence, without a run folder
    some = asked[:60]
    found = {s.qid: alone.search(films/f'{s.vid}.mp4', s.query, top=1)[['start', 'end']].to_numpy() for s in some}
    ours,theirs = (evaluate(answers, some)['mIoU'] for answers in (found, constant(some, span)))
    print(ours, theirs)
    assert ours > theirs

TALK = 'WEBVTT\n\n' + ''.join(f'00:{m:02d}:{s:02d}.000 --> 00:{m:02d}:{s + 9:02d}.500\n{text}\n\n' for m,s,text in [
    (0, 0, 'Welcome to this talk about gardens'), (0, 10, 'Roses need much water in summer'), (0, 20, 'Now we look at the tools'), (0, 30, 'A good spade is made of steel'),
    (0, 40, 'My dog likes to dig holes, too'), (0, 50, 'Thank you, and good night')])

@needs_wordllama
def test_what_is_said_is_found(tmp_path):
    "A talk with subtitles through the workbook: the answer is when it was said"
    write_video(tmp_path/'talk.mp4', np.random.default_rng(0).integers(0, 255, (60*2, 32, 32, 3), np.uint8), 2)
    (tmp_path/'talk.vtt').write_text(TALK)
    code,text = without_kernel(tmp_path/'o.ipynb', notebook='retrieve', run=f"zeroshot:captions:{tmp_path/'talk.vtt'}", video=tmp_path/'talk.mp4', query='the puppy makes a hole', out=tmp_path/'out')
    assert code==0, text[-3000:]
    best = json.loads((tmp_path/'out'/'moments.json').read_text())
    best = (best.get('answers') or best['queries'])[0]['moments'][0]
    assert abs(best['start'] - 40)<=2.5 and abs(best['end'] - 50)<=2.5, best
    retriever = Retriever(f"zeroshot:captions:{tmp_path/'talk.vtt'}")
    flowers = retriever.search(tmp_path/'talk.mp4', 'flowers have to be watered').iloc[0]
    assert abs(flowers.start - 10)<=2.5 and abs(flowers.end - 20)<=2.5
    assert list(retriever.index([str(tmp_path/'talk.mp4')]).problem)==[''] and len(retriever.search_all('a spade'))
    (tmp_path/'talks').mkdir()
    shutil.copy(tmp_path/'talk.mp4', tmp_path/'talks')
    assert list(retriever.index(tmp_path/'talks', features=tmp_path/'kept.hdf5', workers=1).problem)==['']
    best = retriever.search_all('flowers have to be watered').iloc[0]
    assert abs(best.start - 10)<=2.5 and open_features(tmp_path/'kept.hdf5').facts['text']=='wordllama'
    with pytest.raises(ValueError, match="says nothing of video 'other'"): retriever.search(shutil.copy(tmp_path/'talk.mp4', tmp_path/'other.mp4'), 'a spade')

@needs_wordllama
def test_rows_of_captions_by_their_name(tmp_path):
    "A feature file of captions and a sentence encoder are a model; a file of another encoder is refused"
    lines = [dict(vid=v, seconds_per_caption=2, captions=['a man cooks']*5 + [f'a {v} on the lawn']*5 + ['people watch a film']*5) for v in ('dog', 'cat')]
    (tmp_path/'c.jsonl').write_text(''.join(json.dumps(x) + '\n' for x in lines))
    extract(Extraction(encoder=f"captions:{tmp_path/'c.jsonl'}", features=str(tmp_path/'f.hdf5'), workers=1), lambda line: None)
    retriever = Retriever('zeroshot:wordllama', features=tmp_path/'f.hdf5')
    best = retriever.search('dog', 'a dog in the garden').iloc[0]
    assert abs(best.start - 10)<=2 and abs(best.end - 20)<=2
    retriever.index()
    assert retriever.search_all('a dog in the garden').video[0]=='dog' and retriever.search_all('a cat in the garden').video[0]=='cat'
    shutil.copy(tmp_path/'f.hdf5', other := tmp_path/'other.hdf5')
    with h5py.File(other, 'a') as f: f.attrs.update(text='st:mini', text_checksum='0')
    with pytest.raises(ValueError, match='another space: pass -p vectors st:mini'): Retriever('zeroshot:wordllama', features=other).search('dog', 'a dog')
    shutil.copy(tmp_path/'f.hdf5', other := tmp_path/'third.hdf5')
    with h5py.File(other, 'a') as f:
        for k in ('text', 'text_checksum'): del f.attrs[k]
        f.attrs['encoder'] = 'tflite:a'
    with pytest.raises(ValueError, match='have no text half'): Retriever('zeroshot:wordllama', features=other).search('dog', 'a dog')

def both(frames): return frames.mean((1, 2))
both.text = lambda sentences: np.array([[('red' in s)*190. + 30, ('green' in s)*170. + 30, ('blue' in s)*190. + 30] for s in sentences])
both.rate,both.window = 1.,1

def test_a_function_with_both_halves(tmp_path, monkeypatch):
    ours = types.ModuleType('ours')
    ours.both = both
    monkeypatch.setitem(sys.modules, 'ours', ours)
    both.__module__ = 'ours'
    film(tmp_path/'a.mp4')
    retriever = Retriever('zeroshot:python:ours.both')
    for k,colour in enumerate(COLOURS):
        best = retriever.search(tmp_path/'a.mp4', f'the screen is {colour}').iloc[0]
        assert abs(best.start - 8*k)<=1 and abs(best.end - 8*(k + 1))<=1, (colour, best)

@pytest.mark.parametrize('run, error, says', [('zeroshot:hf:', ValueError, 'names no encoder with two halves'), ('zeroshot:tflite:a', ValueError, 'names no encoder with two halves'),
    ('zeroshot:python:ms2d.nothing', ValueError, 'MODULE.FUNCTION that can be imported'), ('zeroshot:python:json.loads', ValueError, 'has no text half'),
    pytest.param('zeroshot:hf:nobody/has-this', FileNotFoundError, 'MS2D_DOWNLOAD=1', marks=needs_hf), pytest.param('zeroshot:st:nowhere', FileNotFoundError, 'no sentence model', marks=needs_st)])
def test_what_is_no_encoder(run, error, says, monkeypatch):
    monkeypatch.delenv('MS2D_DOWNLOAD', raising=False)
    with pytest.raises(error, match=says): Retriever(run)

@needs_hf
def test_a_model_without_a_tokenizer(clip, tmp_path):
    for p in clip[0].iterdir():
        if 'token' not in p.name: shutil.copy(p, tmp_path)
    assert 'text' not in open_encoder(f'hf:{tmp_path}').facts
    with pytest.raises(ValueError, match='has no tokenizer'): Retriever(f'zeroshot:hf:{tmp_path}')

RNG = np.random.default_rng(5)
WORDS,MANNERS = RNG.normal(size=(30, 24)),RNG.normal(size=(12, 4)) @ RNG.normal(size=(4, 24))
HEARD = {f'w{k}': x for k,x in enumerate(WORDS)} | {f'm{k}': x for k,x in enumerate(MANNERS)}
def shown(frames): raise NotImplementedError('rows are made without it')
shown.text = lambda sentences: np.array([sum((HEARD.get(w, 0*WORDS[0]) for w in s.split()), .01*WORDS.mean(0)) for s in sentences])
shown.rate,shown.window = 1.,1

@pytest.fixture(scope='module')
def pairs(tmp_path_factory):
    "Videos of six words, four seconds each, and sentences that say one of them in some manner; half of the words are in test alone"
    folder,rng = tmp_path_factory.mktemp('pairs'),np.random.default_rng(0)
    ours = types.ModuleType('ours')
    ours.shown,shown.__module__ = shown,'ours'
    with pytest.MonkeyPatch.context() as patch, h5py.File(folder/'f.hdf5', 'w') as f:
        patch.setitem(sys.modules, 'ours', ours)
        f.attrs.update(text='python:ours.shown', text_checksum=open_sentences('python:ours.shown').checksum, rows_per_second=1.)
        for split,n,said in (('train', 300, range(15)), ('test', 150, range(15, 30))):
            lines = []
            for i in range(n):
                words = [rng.choice(said), *rng.choice(30, 5)]
                place = rng.permutation(6)
                f[f'{split}{i}'] = np.repeat(WORDS[[words[k] for k in place]], 4, axis=0) + .5*rng.normal(size=(24, 24))
                at = 4*int(np.flatnonzero(place==0)[0])
                query = ' '.join([f'w{words[0]}', *(f'm{k}' for k in rng.integers(12, size=6))])
                lines.append(dict(qid=f'{split}{i}', vid=f'{split}{i}', query=query, duration=24, start=at, end=at + 4))
            (folder/f'{split}.jsonl').write_text(''.join(json.dumps(x) + '\n' for x in lines))
        yield dict(dataset='jsonl', annotations=str(folder), features=str(folder/'f.hdf5'), vectors='python:ours.shown', clips=24, scales=2, accelerator='cpu')

def test_training_begins_where_nothing_is_trained(pairs, tmp_path):
    "Pairs teach the manner of sentences, and what is never asked in training is found by it; the clips stay as they are"
    from ms2d.metrics import per_query
    from ms2d.ranking import predict
    hits,runs = {},{}
    for preset in ('zeroshot', 'joint'):
        runs[preset] = run = train(Config(preset=preset, epochs=4, out=str(tmp_path/preset), **pairs))
        samples = run.corpus.samples['test']
        hits[preset] = 100*np.mean(per_query(predict(run.model, run.corpus, 'test', top=5), samples)['R@1 IoU=0.5'])
    a,b = (runs[k].model.alignment for k in ('zeroshot', 'joint'))
    print(hits)
    assert hits['joint'] > hits['zeroshot'] + 10
    assert torch.equal(b.video.weight, run.model.norm.std.diag()) and not torch.equal(b.text.weight, a.text.weight)
    assert torch.equal(a.text.weight, torch.eye(24))
    found = Retriever(tmp_path/'joint', encoder='python:ours.shown', features=pairs['features']).search(samples[0].vid, samples[0].query)
    assert len(found) and found.score.between(0, 1).all()
    resumed,before = Learner(run.model, run.corpus),b.text.weight.detach().clone()
    resumed._trainer = types.SimpleNamespace(global_step=5, world_size=1)
    resumed.on_train_start()
    assert torch.equal(b.text.weight, before)
    begun = Learner(build(run.config, run.corpus), run.corpus)                # the identity is judged first, and noise after it is not kept
    begun._trainer,begun.stage = types.SimpleNamespace(global_step=0, world_size=1),'align'
    begun.on_train_start()
    begun._trainer.global_step,begun.average = 1,{k: torch.randn_like(x) for k,x in begun.average.items()}
    begun.validate()
    assert torch.equal(begun.best['alignment.text.weight'], torch.eye(24)) and begun.best_wins > .5

@pytest.mark.slow
@pytest.mark.timeout(3600)
@needs_wordllama
def test_pairs_on_top_of_captions(tmp_path):
    "QVHighlights with rows of captions: what is trained on the pairs of one split answers the other better than its own start"
    from pathlib import Path
    from ms2d.protocols import official_figures
    from ms2d.ranking import predict
    from ms2d.statistics import differences
    shared = Path(__file__).parents[2]/'shared'/'data'
    if not (shared/'captions').is_dir(): pytest.skip('../shared/data/captions is not there')
    for split in ('val', 'test'):
        extract(Extraction(encoder=f"captions:{shared/'captions'/f'qvhighlights_{split}.jsonl.gz'}", features=str(tmp_path/'f.hdf5'), workers=1), lambda line: None)
    given = dict(dataset='qvhighlights', annotations=str(shared/'annotations'/'qvhighlights'), features=str(tmp_path/'f.hdf5'), vectors='wordllama', accelerator='cpu')
    answers,asked = {},[]
    for pairs,split in (('val', 'test'), ('test', 'val')):
        for preset in ('zeroshot', 'joint'):
            run = train(Config(preset=preset, pairs=pairs, split=split, out=str(tmp_path/f'{preset}-{split}'), **given))
            some = predict(run.model, run.corpus, 'test', top=10)
            print(preset, split, official_figures(some, run.corpus.samples['test'])['brief'])
            answers.setdefault(preset, {}).update({f'{split}{q}': x for q,x in some.items()})
        asked += [s._replace(qid=f'{split}{s.qid}') for s in run.corpus.samples['test']]
    apart = differences([answers['joint']], dict(zeroshot=[answers['zeroshot']]), asked)['zeroshot']
    print(apart)
    for name in ('R@1 IoU=0.5', 'mIoU'): assert apart[name]['low'] > 0, apart
    assert apart['R@1 IoU=0.5']['difference'] >= 1.5
