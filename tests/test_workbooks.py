"The workbooks as a user runs them: papermill, real kernels, the real package, a tiny world"
import ast, dataclasses, json, re, subprocess, sys
from pathlib import Path
import pytest
from ms2d.training import Config
from ms2d.world import make_world

ROOT = Path(__file__).resolve().parent.parent
TINY = dict(clips=16, dim=16, align_dim=32, top_k=4, updates=3, epochs=3, batch_size=8, map_batch=4, accelerator='cpu')

@pytest.fixture(scope='module')
def tiny():
    folder = make_world(ROOT/'data'/'tiny', sizes=(30, 55, 10), steps=60, progress=False)
    return dict(dataset='activitynet_captions', annotations=str(folder), features=str(folder/'features.hdf5'))

def papermill(report, **parameters):
    "What a user types, from the project's root; -> return code, what was printed"
    given = [x for k,v in parameters.items() for x in ('-p', k, str(v))]
    r = subprocess.run([Path(sys.executable).parent/'papermill', 'nbs/train.ipynb', str(report), *given, '--log-output'], cwd=ROOT, capture_output=True, text=True)
    return r.returncode, r.stdout + r.stderr

def cells(report): return json.loads(Path(report).read_text())['cells']

def parameters_cell():
    "Names, annotations, defaults and comments of the parameters of nbs/train.ipynb"
    text = next(''.join(c['source']) for c in cells(ROOT/'nbs'/'train.ipynb') if 'parameters' in c['metadata'].get('tags', []))
    lines = [re.fullmatch(r'(\w+): (\S+) = (.*?) # (.+)', l) for l in text.splitlines()]
    assert all(lines), 'a parameter is `name: type = default # comment`'
    return [(m[1], m[2], ast.literal_eval(m[3]), m[4]) for m in lines]

def test_parameters_cell_equals_config():
    hint = lambda t: t.__name__ if isinstance(t, type) else str(t).replace(' ', '')
    assert [p[:3] for p in parameters_cell()]==[(f.name, hint(f.type), f.default) for f in dataclasses.fields(Config)]

def test_comments_of_the_parameters_are_those_of_config():
    source = (ROOT/'ms2d'/'training.py').read_text()
    for name,_,_,comment in parameters_cell(): assert re.search(rf'^    {name}: .* # {re.escape(comment)}$', source, re.M), name

def test_train_workbook(tiny, tmp_path):
    "From data to report: every cell runs, every file of the run folder is there, the last line says what was found"
    out = tmp_path/'run'
    code,text = papermill(tmp_path/'run.ipynb', **tiny, **TINY, out=out)
    assert code==0, text[-3000:]
    assert sorted(p.name for p in out.iterdir())==['config.json', 'last.ckpt', 'metrics.csv', 'predictions.jsonl', 'results.json']
    results = json.loads((out/'results.json').read_text())
    ours = results['tables']['retrieval']['ms2d (ms2d)']
    assert results['queries']==ours['queries']==len((out/'predictions.jsonl').read_text().splitlines())
    assert f"R@1 IoU .3/.5/.7 = {ours['R@1 IoU=0.3']:.1f}/{ours['R@1 IoU=0.5']:.1f}/{ours['R@1 IoU=0.7']:.1f}" in text.strip().splitlines()[-1] + text
    report = cells(tmp_path/'run.ipynb')
    assert sum('image/png' in o.get('data', {}) for c in report for o in c.get('outputs', []))>=10
    assert not [o['text'] for c in report for o in c.get('outputs', []) if o.get('name')=='stderr'], 'a report without warnings'

@pytest.mark.parametrize('preset', ['poster', 'align'])
def test_other_presets_report_too(tiny, tmp_path, preset):
    code,text = papermill(tmp_path/'run.ipynb', **tiny, **TINY, preset=preset, out=tmp_path/'run')
    assert code==0, text[-3000:]
    assert f'ms2d ({preset})' in json.loads((tmp_path/'run'/'results.json').read_text())['tables']['retrieval']

@pytest.mark.parametrize('given, message', [(dict(scale=3), 'did you mean scales'), (dict(resume='true'), 'write True or False'), (dict(preset='bset'), 'choose one of')])
def test_a_wrong_parameter_stops_the_run_in_its_first_cell(tmp_path, given, message):
    code,text = papermill(tmp_path/'run.ipynb', out=tmp_path/'run', **given)
    assert code and message in text
    ran = [c for c in cells(tmp_path/'run.ipynb') if c['cell_type']=='code' and c.get('execution_count')]
    assert 'from_namespace' in ''.join(ran[-1]['source']) and not (tmp_path/'run').exists()

def test_missing_features_leave_nothing_behind(tiny, tmp_path):
    code,text = papermill(tmp_path/'run.ipynb', **{**tiny, 'features': 'nowhere.hdf5'}, out=tmp_path/'run')
    assert code and 'nowhere.hdf5' in text and not (tmp_path/'run').exists()

def test_own_data_as_jsonl(tiny, tmp_path):
    "What README says of one's own data: training lines without times are enough"
    for split in ('train', 'test'):
        videos = json.loads((Path(tiny['annotations'])/f'{split}.json').read_text())
        with open(tmp_path/f'{split}.jsonl', 'w') as f:
            for vid,v in videos.items():
                for (start,end),query in zip(v['timestamps'], v['sentences']):
                    times = dict(start=start, end=end) if split=='test' else {}
                    f.write(json.dumps(dict(vid=vid, query=query, duration=v['duration'], **times)) + '\n')
    code,text = papermill(tmp_path/'run.ipynb', dataset='jsonl', annotations=tmp_path, features=tiny['features'], **TINY, out=tmp_path/'run')
    assert code==0, text[-3000:]
    table = json.loads((tmp_path/'run'/'results.json').read_text())['tables']['retrieval']
    assert 'best constant (reads training times)' not in table and table['ms2d (ms2d)']['queries']>0
