"The workbooks as a user runs them: papermill, real kernels, the real package, a tiny world"
import ast, dataclasses, importlib.util, inspect, json, re
from pathlib import Path
import pytest
from fuzz.run import Fuzzing
from ms2d.comparison import Ablation
from ms2d.extraction import Extraction, Pixels
from ms2d.inspection import Inspection
from ms2d.moments import Retrieval
from ms2d.page import App
from ms2d.predictions import Evaluation
from ms2d.speed import Benchmark
from ms2d.config import Config
from workbooks import ROOT, TINY, cells, papermill, without_kernel

def parameters_cell(notebook):
    "Names, annotations, defaults and comments of the parameters of a workbook"
    text = next(''.join(c['source']) for c in cells(ROOT/'nbs'/f'{notebook}.ipynb') if 'parameters' in c['metadata'].get('tags', []))
    lines = [re.fullmatch(r'(\w+): (\S+) = (.*?) # (.+)', l) for l in text.splitlines() if l and l[0]!='#']
    assert all(lines), 'a parameter is `name: type = default # comment`; a heading begins with #'
    return [(m[1], m[2], ast.literal_eval(m[3]), m[4]) for m in lines]

every_workbook = pytest.mark.parametrize('notebook, config', dict(train=Config, evaluate=Evaluation, data=Inspection, benchmark=Benchmark, ablation=Ablation, extract=Extraction, pixels=Pixels, retrieve=Retrieval, app=App, robustness=Fuzzing).items())

@every_workbook
def test_parameters_cell_equals_its_dataclass(notebook, config):
    hint = lambda t: t.__name__ if isinstance(t, type) else str(t).replace(' ', '')
    assert [p[:3] for p in parameters_cell(notebook)]==[(f.name, hint(f.type), f.default) for f in dataclasses.fields(config)]

@every_workbook
def test_comments_of_the_parameters_are_those_of_the_dataclass(notebook, config):
    source = '\n'.join(inspect.getsource(c) for c in config.__mro__ if dataclasses.is_dataclass(c))
    for name,_,_,comment in parameters_cell(notebook): assert re.search(rf'^    {name}: .* # {re.escape(comment)}$', source, re.M), name

@every_workbook
def test_a_word_that_papermill_takes_for_a_number(notebook, config):
    "`-p query 007` arrives as 7: the first cell after the parameters says how to pass text"
    first,then = [''.join(c['source']) for c in cells(ROOT/'nbs'/f'{notebook}.ipynb') if c['cell_type']=='code'][:2]
    assert then.rstrip().endswith(f'cfg = {config.__name__}.from_namespace(globals())')
    texts = [n for n,hint,*_ in parameters_cell(notebook) if 'str' in hint]
    assert len(texts)>=3 or notebook in ('app', 'robustness')
    for name in texts:
        for value in (7, 1e5, True, *[None]*('None' not in dict((p[0], p[1]) for p in parameters_cell(notebook))[name])):
            with pytest.raises(ValueError, match=rf'^{name} is {value} .*write -r {name} {value}'): config.from_namespace({name: value})

@every_workbook
def test_text_is_shown_in_the_ways_that_keep_it_text(notebook, config):
    "One theme; rows of text by `listing`: pandas' Styler and Markdown would take markup in data for their own"
    code = '\n'.join(''.join(c['source']) for c in cells(ROOT/'nbs'/f'{notebook}.ipynb') if c['cell_type']=='code')
    assert not re.search(r'\.style\.|\bMarkdown\(|\bJavascript\(|rcParams', code)
    assert notebook=='app' or 'theme()' in code

FILES = ['config.json', 'last.ckpt', 'metrics.csv', 'predictions.jsonl', 'previous.ckpt', 'results.json']

def test_train_workbook(tiny, tmp_path):
    "From data to report with two seeds: every cell runs, every file is there, the last line says what was found; and its parameters repeat it"
    out = tmp_path/'run'
    code,text = papermill(tmp_path/'run.ipynb', **tiny, **TINY, out=out, seeds=2)
    assert code==0, text[-3000:]
    assert sorted(p.name for p in out.iterdir())==[*FILES, 'seed-1'] and sorted(p.name for p in (out/'seed-1').iterdir())==FILES
    results,second = (json.loads((f/'results.json').read_text()) for f in (out, out/'seed-1'))
    ours = results['tables']['retrieval']['ms2d (ms2d)']
    assert results['queries']==ours['queries']==len((out/'predictions.jsonl').read_text().splitlines())
    assert (results['seeds'], second['seeds'], second['seed'])==(2, 1, 1) and 'mean ± sd of 2 seeds' in json.dumps(cells(tmp_path/'run.ipynb'), ensure_ascii=False)
    of_each = [t['ms2d (ms2d)']['mIoU'] for t in results['tables']['seeds']]
    assert of_each[1]==second['tables']['retrieval']['ms2d (ms2d)']['mIoU'] and abs(ours['mIoU'] - sum(of_each)/2)<1e-9
    assert f"R@1 IoU .3/.5/.7 = {ours['R@1 IoU=0.3']:.1f}/{ours['R@1 IoU=0.5']:.1f}/{ours['R@1 IoU=0.7']:.1f}" in text.strip().splitlines()[-1] + text
    report = cells(tmp_path/'run.ipynb')
    assert sum('image/png' in o.get('data', {}) for c in report for o in c.get('outputs', []))>=10
    assert not [o['text'] for c in report for o in c.get('outputs', []) if o.get('name')=='stderr'], 'a report without warnings'

    code,text = without_kernel(tmp_path/'again.ipynb', '-f', out/'config.json', out=tmp_path/'again', seeds=1)
    assert code==0, text[-3000:]
    assert (tmp_path/'again'/'predictions.jsonl').read_bytes()==(out/'predictions.jsonl').read_bytes()
    again = json.loads((tmp_path/'again'/'results.json').read_text())
    assert again['files']==results['files'] and again['tables']['diagnosis']==results['tables']['diagnosis'] and again['repeatable']

@pytest.mark.parametrize('preset', ['poster', 'supervised', pytest.param('align', marks=pytest.mark.slow)])
def test_other_presets_report_too(tiny, tmp_path, preset):
    code,text = without_kernel(tmp_path/'run.ipynb', **tiny, **TINY, preset=preset, out=tmp_path/'run')
    assert code==0, text[-3000:]
    assert f'ms2d ({preset})' in json.loads((tmp_path/'run'/'results.json').read_text())['tables']['retrieval']

def test_a_wrong_parameter_stops_the_run_in_its_first_cell(tmp_path):
    code,text = without_kernel(tmp_path/'run.ipynb', out=tmp_path/'run', scale=3)
    assert code and 'did you mean scales' in text
    ran = [c for c in cells(tmp_path/'run.ipynb') if c['cell_type']=='code' and c.get('execution_count')]
    assert 'from_namespace' in ''.join(ran[-1]['source']) and not (tmp_path/'run').exists()

def test_missing_features_leave_nothing_behind(tiny, tmp_path):
    code,text = without_kernel(tmp_path/'run.ipynb', **{**tiny, 'features': 'nowhere.hdf5'}, out=tmp_path/'run')
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
    code,text = without_kernel(tmp_path/'run.ipynb', dataset='jsonl', annotations=tmp_path, features=tiny['features'], **TINY, out=tmp_path/'run')
    assert code==0, text[-3000:]
    table = json.loads((tmp_path/'run'/'results.json').read_text())['tables']['retrieval']
    assert 'best constant (reads training times)' not in table and table['ms2d (ms2d)']['queries']>0

@pytest.mark.slow
@pytest.mark.timeout(900)
def test_benchmark_workbook(tiny, tmp_path):
    "Every number is there, and they are plausible"
    code,text = papermill(tmp_path/'b.ipynb', notebook='benchmark', **tiny, growth=False, threads=1, accelerator='cpu', out=tmp_path/'b')
    assert code==0, text[-3000:]
    results = json.loads((tmp_path/'b'/'results.json').read_text())
    assert 0<results['samples_per_second'] and all(0<=p['share']<3 for p in results['parts'].values())
    film = results['answering']
    assert film['3 h: next question, s']<film['3 h: first question, s'] and film['3 h: peak memory, GiB']>.1
    assert film['3 h: next question, one that points at another moment, s']>0
    assert film['3 h: peak memory with that question, GiB']<=1.5*film['3 h: peak memory, GiB']
    installed = all(map(importlib.util.find_spec, ('transformers', 'PIL')))
    assert bool(results['pictures'])==installed and ('hf: is not measured' in text)!=installed
    if installed: assert results['pictures']['frames a second']>.1 and results['pictures']['peak memory, MiB']>600 # the weights

@pytest.mark.slow
def test_ablation_workbook(tiny, tmp_path):
    "Variants, seeds, tables; a second call finds everything done"
    given = dict(notebook='ablation', **tiny, axes='scales', split='test', seeds=2, epochs=1, out=tmp_path/'a')
    for status in ('done', 'skipped'):
        code,text = papermill(tmp_path/'a.ipynb', **given)
        assert code==0 and f"'{status}': 8" in text, text[-3000:]
    results = json.loads((tmp_path/'a'/'results.json').read_text())
    table = results['tables']['scales']
    assert list(table)[0]=='default' and len(table)==4 and all(v['seeds']==2 and v['to']=='default' for v in table.values())
    assert list(results['lengths']['scales'])==['scales=1', 'scales=2', 'scales=4']
