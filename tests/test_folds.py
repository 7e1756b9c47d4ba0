"Cross-validation: every video is answered once, by a model that never saw it"
import dataclasses, json, subprocess, sys
from pathlib import Path
import h5py, pytest, torch
from ms2d import corpus as module
from ms2d.config import Config
from ms2d.corpus import Corpus
from ms2d.dataset import read_annotations
from ms2d.ranking import predict
from ms2d.splits import deal, fold_of
from ms2d.training import main, train
from workbooks import TINY, cells, without_kernel

SMALL = {**TINY, 'maps': False, 'epochs': 2}

def config(tiny, tmp_path, **changes): return Config(**{**tiny, **SMALL, 'out': str(tmp_path/'run'), **changes})
def lines(folder): return [json.loads(l) for l in (folder/'predictions.jsonl').read_text().splitlines()]
def weights(run): return torch.cat([p.flatten() for p in run.model.state_dict().values()])

@pytest.fixture(scope='module')
def dealt(shared, tmp_path_factory):
    "What folds.py writes: (seed, fold) -> folder"
    folders = {}
    for seed in (0, 1):
        out = tmp_path_factory.mktemp(f'seed{seed}')
        subprocess.run([sys.executable, shared/'tools'/'folds.py', '--out', out, '--seed', str(seed)], check=True, capture_output=True)
        folders |= {(seed, k): out/f'fold{k}' for k in range(5)}
    return folders

def test_parts_are_those_of_the_tool(shared, dealt):
    ann = read_annotations('charades_sta', shared/'data'/'annotations'/'charades_sta')
    for (seed, k),folder in dealt.items():
        theirs,ours = read_annotations('charades_sta', folder),fold_of(ann, 'test', 5, k, seed)
        for split in ('train', 'test'): assert [s._replace(qid='') for s in theirs[split]]==[s._replace(qid='') for s in ours[split]]

def test_a_fold_is_a_run_on_the_folder_of_the_tool(shared, dealt, tmp_path):
    "The same answers, to the bit: features of the test videos alone, as they are for Charades-STA"
    features = shared/'data'/'features'/'charades_sta_test_clip_vitb32.hdf5'
    if not features.is_file(): pytest.skip(f'no {features.name} in shared/')
    given = {**SMALL, **dict(dataset='charades_sta', features=str(features), rows_per_second=1., epochs=1, updates=4, seed=1, out=str(tmp_path/'run'))}
    found = []
    for where in (dict(annotations=str(shared/'data'/'annotations'/'charades_sta'), folds=5, fold=2), dict(annotations=str(dealt[1, 2]))):
        run = train(Config(**given, **where))
        answers = predict(run.model, run.corpus)
        found.append([(s.vid, s.query, answers[s.qid].tolist()) for s in run.corpus.samples['test']])
        if 'folds' in where: assert run.corpus.title=='charades_sta fold 2 of 5 of test: %d queries of 267 videos' % len(answers) and 'no video of train has features' in run.corpus.note
        del run
    assert found[0]==found[1] and len(found[0])>700

def test_union_is_complete_and_nobody_knows_what_he_is_asked(tiny, tmp_path, monkeypatch):
    seen = []
    clips,vectors = module.cached_clips,module.load_vectors
    def cached_clips(store, durations, counts, trained, *rest):
        seen[-1]['trained'] = trained
        return clips(store, durations, counts, trained, *rest)
    def load_vectors(path, sentences, **kw):
        seen[-1]['sentences'] = sentences
        return vectors(path, sentences, **kw)
    monkeypatch.setattr(module, 'cached_clips', cached_clips)
    monkeypatch.setattr(module, 'load_vectors', load_vectors)
    whole = read_annotations(tiny['dataset'], tiny['annotations'])['train']
    answered = []
    for c in config(tiny, tmp_path, folds=3).parts():
        seen.append({})
        corpus = Corpus(c)
        asked = corpus.samples['test']
        answered += asked
        own = {s.vid for s in asked}
        assert sorted(s for v in corpus.samples.values() for s in v)==sorted(whole), 'nothing from elsewhere'
        assert not own & {s.vid for k in ('train', 'val') for s in corpus.samples[k]} and not own & {s.vid for s in corpus.labelled}
        assert set(seen[-1]['trained'])=={s.vid for s in whole} - own
        assert seen[-1]['sentences']==[s.query for s in corpus.samples['train']]
    assert sorted(answered)==sorted(whole)

def test_what_a_model_is_asked_about_changes_nothing_in_it(tiny, tmp_path):
    "Other pictures and other sentences in the part that is answered: the same weights, the same normalisation, the same words"
    before = train(config(tiny, tmp_path, folds=2, fold=1))
    for p in Path(tiny['annotations']).glob('*.json'): (tmp_path/p.name).write_text(p.read_text())
    part = deal(read_annotations(tiny['dataset'], tiny['annotations'])['train'], 2)
    def changed(own, name):
        given = json.loads((Path(tiny['annotations'])/'train.json').read_text())
        for vid in own: given[vid]['sentences'] = ['something about zebras' for _ in given[vid]['sentences']]
        (tmp_path/'train.json').write_text(json.dumps(given))
        with h5py.File(tiny['features']) as old, h5py.File(tmp_path/name, 'w') as new:
            new.attrs.update(old.attrs)
            for vid in old:
                old.copy(vid, new)
                if vid in own: new[vid][...] = old[vid][()]*3 + 1
        return config(tiny, tmp_path, folds=2, fold=1, annotations=str(tmp_path), features=str(tmp_path/name), out=str(tmp_path/'other'))
    after = train(changed(part[1], 'asked.hdf5'))
    assert torch.equal(weights(before), weights(after)) and before.corpus.vocab.words==after.corpus.vocab.words
    other = Corpus(changed(part[0], 'learned.hdf5'))
    assert before.corpus.vocab.words!=other.vocab.words and not torch.equal(before.corpus.norm.mean, other.norm.mean), 'the test can fail'

def test_folds_and_seeds_in_the_train_workbook(tiny, tmp_path):
    "The report is on the union; each fold is a run of its own; what is finished is not trained again; evaluate finds the queries"
    out = tmp_path/'run'
    code,text = without_kernel(tmp_path/'run.ipynb', **tiny, **SMALL, out=out, folds=2, seeds=2)
    assert code==0, text[-3000:]
    whole = read_annotations(tiny['dataset'], tiny['annotations'])['train']
    results = json.loads((out/'results.json').read_text())
    tables = results['tables']
    assert results['queries']==tables['retrieval']['ms2d (ms2d)']['queries']==len(whole)
    assert (results['split'], results['config']['folds'], results['config']['fold'], results['seeds'])==('train', 2, None, 2)
    assert f'2 folds of train: {len(whole)} queries' in results['title'] and results['title'] in text and 'mean ± sd of 2 seeds' in (tmp_path/'run.ipynb').read_text()
    assert list(tables['folds'])==['fold 0', 'fold 1', 'all'] and tables['folds']['all']['queries']==len(whole)
    for folder in (out, out/'seed-1'):
        parts = [lines(folder/f'fold-{k}') for k in (0, 1)]
        assert lines(folder)==parts[0] + parts[1] and sorted(l['qid'] for l in lines(folder))==sorted(s.qid for s in whole)
        assert sorted(p.name for p in (folder/'fold-1').iterdir())==['config.json', 'last.ckpt', 'metrics.csv', 'predictions.jsonl', 'previous.ckpt', 'results.json']
    mean = sum(json.loads((f/'results.json').read_text())['tables']['retrieval']['ms2d (ms2d)']['mIoU'] for f in (out/'seed-1',)) + tables['seeds'][0]['ms2d (ms2d)']['mIoU']
    assert abs(tables['retrieval']['ms2d (ms2d)']['mIoU'] - mean/2)<1e-9
    assert {l['vid'] for l in lines(out/'fold-0')}!={l['vid'] for l in lines(out/'seed-1'/'fold-0')}, 'another seed deals otherwise'
    assert not [o['text'] for c in cells(tmp_path/'run.ipynb') for o in c.get('outputs', []) if o.get('name')=='stderr'], 'a report without warnings'

    before = {p: p.read_bytes() for p in out.glob('**/predictions.jsonl')}
    for p in (out/'fold-1').glob('*.ckpt'): p.unlink()
    code,text = without_kernel(tmp_path/'again.ipynb', '-f', out/'config.json', resume=True)
    assert code==0, text[-3000:]
    assert {p: p.read_bytes() for p in before}==before and text.count('nothing to train')==3 and text.count('epoch 2/2')==1
    assert json.loads((out/'results.json').read_text())['tables']==tables

    given = dict(notebook='evaluate', dataset=tiny['dataset'], annotations=tiny['annotations'], out=tmp_path/'eval')
    for name,folder,row in (('fold 1 of 2 of train', out/'fold-1', 'fold 1'), ('2 folds of train', out, 'all')):
        code,text = without_kernel(tmp_path/'eval.ipynb', predictions=folder/'predictions.jsonl', **given)
        assert code==0 and f"evaluated: {tiny['dataset']} {name}" in text, text[-3000:]
        ours = json.loads((tmp_path/'eval'/'results.json').read_text())['tables']['baselines']['these predictions']
        assert ours['mIoU']==pytest.approx(tables['folds'][row]['mIoU']) and ours['queries']==tables['folds'][row]['queries']
    code,text = without_kernel(tmp_path/'retrieve.ipynb', notebook='retrieve', run=out, video=whole[0].vid, query='a star', out=tmp_path/'r')
    assert code and f"give one of them, {out}"[:100] in text

def test_own_videos_without_times_are_all_answered(tiny, tmp_path):
    "Captioned videos and nothing else: nothing can be reported, and every answer is there"
    videos = json.loads((Path(tiny['annotations'])/'train.json').read_text())
    rows = [dict(vid=vid, query=q, duration=v['duration']) for vid,v in videos.items() for q in v['sentences']]
    (tmp_path/'train.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    out = tmp_path/'run'
    code,text = without_kernel(tmp_path/'run.ipynb', dataset='jsonl', annotations=tmp_path, features=tiny['features'], **SMALL, folds=2, out=out)
    assert code and f'{len(rows)} of {len(rows)} queries have no times' in text and f'{out}/predictions.jsonl' in text
    assert sorted(l['query'] for l in lines(out))==sorted(r['query'] for r in rows) and (out/'config.json').exists() and not (out/'results.json').exists()

def test_machines_share_the_folds(tiny, tmp_path, capsys):
    "One fold alone from a terminal, then all of them: what is there is not trained again"
    cfg = config(tiny, tmp_path, folds=2)
    def terminal(cfg, *options):
        (tmp_path/'run.json').write_text(json.dumps(dataclasses.asdict(cfg)))
        main(['--config', str(tmp_path/'run.json'), *options])
        return capsys.readouterr().out
    assert 'epoch 2/2' in terminal(cfg.parts()[1])
    first = (tmp_path/'run'/'fold-1'/'last.ckpt').read_bytes()
    printed = terminal(cfg, '--resume')
    assert printed.count('epoch 2/2')==printed.count('nothing to train')==1 and (tmp_path/'run'/'fold-1'/'last.ckpt').read_bytes()==first
    terminal(cfg)                                               # from the beginning
    assert json.loads((tmp_path/'run'/'config.json').read_text())['folds']==2 and not (tmp_path/'run'/'last.ckpt').exists()

@pytest.mark.parametrize('wrong, says', [(dict(folds=1), 'folds is 1: no video is left'), (dict(folds=31), 'folds is 31: 30 videos are too few'),
    (dict(folds=5, fold=7), 'fold is 7: 0 to 4'), (dict(fold=0), 'into how many parts'), (dict(folds=5, split='val'), "split is 'val' and folds is 5")])
def test_what_cannot_be_dealt_leaves_nothing_behind(tiny, tmp_path, wrong, says):
    code,text = without_kernel(tmp_path/'run.ipynb', **tiny, **SMALL, **wrong, out=tmp_path/'run')
    assert code and says in text and not (tmp_path/'run').exists(), text[-3000:]
