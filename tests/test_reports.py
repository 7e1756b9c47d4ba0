"Evaluating predictions and looking at data, as a user does"
import json, shutil
import h5py, numpy as np
from ms2d.dataset import read_annotations
from ms2d.metrics import evaluate
from workbooks import cells, without_kernel

def predictions(samples, path, **changes):
    "A foreign file: no qids, the order turned round; the first answers are exact, the rest the first half of the video"
    answers = {s.qid: [[s.start, s.end, .9]] if i<20 else [[0, s.duration/2, .9]] for i,s in enumerate(samples)} | changes
    rows = [dict(vid=s.vid, query=s.query.upper(), pred_relevant_windows=answers[s.qid]) for s in samples]
    path.write_text('\n'.join(map(json.dumps, rows)))
    return answers

def test_evaluate_workbook(tiny, tmp_path):
    samples = read_annotations(tiny['dataset'], tiny['annotations'])['test']
    given = dict(notebook='evaluate', dataset=tiny['dataset'], annotations=tiny['annotations'], out=tmp_path/'eval')
    answers = predictions(samples, tmp_path/'a.jsonl')
    predictions(samples, tmp_path/'bad.jsonl', **{samples[0].qid: [[9, 2, .5]]})
    code,text = without_kernel(tmp_path/'bad.ipynb', predictions=tmp_path/'bad.jsonl', **given)
    assert code and 'ends before it starts' in text and '[line 1]' in text and "flaws='miss'" in text and not (tmp_path/'eval').exists()
    code,text = without_kernel(tmp_path/'eval.ipynb', predictions=tmp_path/'a.jsonl', against=tmp_path/'bad.jsonl', flaws='miss', **given)
    assert code==0, text[-3000:]
    results = json.loads((tmp_path/'eval'/'results.json').read_text())
    for ruler in ('standard', '2d-tan', 'mmn', 'scn', 'cpl', 'moment-detr'):
        assert results['tables']['protocols'][ruler]==evaluate(answers, samples, ruler)
    lost = 100/len(samples)                                     # the one query that the other file does not answer
    assert abs(results['tables']['differences'][f"against {tmp_path/'bad.jsonl'}"]['R@1 IoU=0.5']['difference'] - lost)<1e-9
    assert 'matched by video and sentence' in results['notes'][0] and f"evaluated: {results['title']}" in text
    assert results['files']['a.jsonl'] and results['command'].startswith('papermill nbs/evaluate.ipynb') and len(samples)==results['queries']

def test_data_workbook_finds_nothing_wrong_where_nothing_is(tiny, tmp_path):
    code,text = without_kernel(tmp_path/'data.ipynb', notebook='data', **tiny)
    assert code==0 and '0 wrong' in text, text[-3000:]
    assert sum('image/png' in o.get('data', {}) for c in cells(tmp_path/'data.ipynb') for o in c.get('outputs', []))==2

def test_data_workbook_names_every_fault(tiny, tmp_path):
    "Many faults at once: none hides another, and none stops the report"
    shutil.copy(tiny['features'], bad := tmp_path/'bad.hdf5')
    with h5py.File(bad, 'r+') as f:
        a,b,c,d = list(f)[:4]
        x = f[a][()].astype('float32')
        for name,rows in ((a, x*[float('nan')]), (b, x*0), (c, x[:,:-1])): del f[name]; f[name] = rows
        f.move(d, 'elsewhere'); f.attrs['rows_per_second'] = 77.
        for v in f.values(): v.attrs.pop('rows_per_second', None)
    code,text = without_kernel(tmp_path/'data.ipynb', notebook='data', **{**tiny, 'features': bad}, vectors='nowhere.bin')
    assert code==0, text[-3000:]
    for what in (f'NaN or Inf: {a}', f'zeros for instance: {b}', f'1 videos have {x.shape[1]-1}: {c}', f'have no features: {d}', '77 rows per second are stated', 'nowhere.bin does not exist'):
        assert what in text, what
    assert '5 wrong' in text and 'mend what is wrong' in text

def test_data_workbook_goes_on(tiny, tmp_path):
    "What cannot be read is a finding, and everything else is looked at: a text, a link that leads nowhere, an attribute of two numbers, a torn file"
    shutil.copy(tiny['features'], odd := tmp_path/'odd.hdf5')
    with h5py.File(odd, 'r+') as f:
        f['README'],f['gone'] = 'who made this',h5py.SoftLink('/nowhere')
        f['test0000'].attrs['rows_per_second'] = np.array([2., 3.])
    code,text = without_kernel(tmp_path/'data.ipynb', notebook='data', **{**tiny, 'features': odd})
    assert code==0, text[-3000:]
    for what in ('WRONG: 1 videos cannot be read, README: ', 'WRONG: 1 videos cannot be read, gone: ', 'WRONG: rows_per_second: ', 'annotated videos have features', 'of the test queries were not met', '3 wrong'): assert what in text, what

    (ann := tmp_path/'ann').mkdir()
    (ann/'train.jsonl').write_text('{"vid": "a"')
    (tmp_path/'torn.hdf5').write_bytes(odd.read_bytes()[:1000])
    code,text = without_kernel(tmp_path/'data.ipynb', notebook='data', dataset='jsonl', annotations=ann, features=tmp_path/'torn.hdf5', vectors='nowhere.txt')
    assert code==0, text[-3000:]
    for what in (f'WRONG: annotations: {ann}/train.jsonl:1: not json', f"WRONG: features: {tmp_path/'torn.hdf5'}", 'WRONG: vectors: nowhere.txt does not exist', '3 wrong, 1 odd'): assert what in text, what

def test_data_workbook_with_names_that_are_not_utf8(tiny, tmp_path):
    shutil.copy(tiny['features'], odd := tmp_path/'odd.hdf5')
    with h5py.File(odd, 'r+') as f: f[b'caf\xe9'] = f['test0000'][()]
    code,text = without_kernel(tmp_path/'data.ipynb', notebook='data', **{**tiny, 'features': odd})
    assert code==0 and 'of the test queries were not met' in text, text[-3000:]

def test_data_workbook_without_annotations(tiny, tmp_path):
    code,text = without_kernel(tmp_path/'data.ipynb', notebook='data', dataset='charades_sta', features=tiny['features'])
    assert code==0 and 'no annotations given' in text and 'fine: width' in text, text[-3000:]

def test_evaluate_says_in_one_sentence_what_is_no_file_of_predictions(tiny, tmp_path):
    given = dict(notebook='evaluate', dataset=tiny['dataset'], annotations=tiny['annotations'], out=tmp_path/'eval')
    for predictions,why in ((tmp_path, f'{tmp_path} is a folder: give a .jsonl file'), (7, 'write -r predictions 7')):
        code,text = without_kernel(tmp_path/'report.ipynb', predictions=predictions, **given)
        assert code and why in text and not (tmp_path/'eval').exists(), text[-3000:]
