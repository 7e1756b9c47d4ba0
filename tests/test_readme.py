"The README says what the runs said, in words that a person of five minutes can follow"
import json, re
import pytest
from workbooks import ROOT, cells, script

TEXT = (ROOT/'README.md').read_text()

readme,check = script('readme'),script('check_site')
KEPT = json.loads(readme.KEPT.read_text())

def stored(path):
    "Sources and the text of the outputs of a notebook's cells"
    for c in cells(path):
        out = [''.join(o.get('text', o.get('data', {}).get('text/markdown', ''))) for o in c.get('outputs', [])]
        yield c, ''.join(c['source']), '\n'.join(out)

def test_the_table_is_that_of_the_runs(): assert readme.written(TEXT, KEPT)==TEXT, 'run python docs/readme.py'

def test_folds_are_one_number():
    "A mean over the queries of all folds"
    run = lambda n,x: dict(queries=n, tables=dict(retrieval={a: {f: x for f in readme.FIGURES} for a in ('ms2d (align)', *readme.OTHERS, 'whole video')}))
    out = readme.pooled([run(100, 10.), run(300, 20.)])
    assert out['queries']==400 and {x for f in readme.FIGURES for x in out[f].values()}=={17.5}
    assert [*out['mIoU']]==['ms2d (align)', *readme.OTHERS]

def test_one_number_per_cell():
    rows = [[c.strip() for c in line.strip('|').split('|')] for line in TEXT.splitlines() if line.startswith('|')]
    assert len({len(r) for r in rows})==1 and len(rows)>3
    for row in rows[2:]: assert all(re.fullmatch(r'\d+\.\d', c) for c in row[1:]), row
    assert rows[0][0]==f"{KEPT['charades']['queries']:,} queries"

def test_what_is_said_of_the_world():
    said = re.search(r'(\d+) queries\): R@1 \.5 ([\d.]+), ridge ([\d.]+), best constant ([\d.]+)\.', TEXT)
    world = KEPT['world']['R@1 IoU=0.5']
    names = 'ms2d (ms2d)', 'ridge regression (closed form)', 'best constant (reads training times)'
    assert [float(x) for x in said.groups()]==[KEPT['world']['queries'], *(world[n] for n in names)]

def test_the_world_is_that_of_the_notebooks():
    "The tour prints a run's report, the index shows this table: both were stored from the same run"
    told = '\n'.join(out for *_,out in stored(ROOT/'nbs'/'00_tour.ipynb'))
    for answer,x in KEPT['world']['R@1 IoU=0.5'].items(): assert re.search(rf'{re.escape(answer)} +{x}', told), answer
    shown = '\n'.join(out for *_,out in stored(ROOT/'nbs'/'index.ipynb'))
    assert '\n'.join(readme.table(KEPT)) in shown, 'run nbs/index.ipynb and store its outputs'

def test_the_run_that_is_there_says_the_same():
    path = ROOT/'reports'/'train'/'results.json'
    if not path.exists(): pytest.skip('no run of make train is here')
    run = json.loads(path.read_text())
    plain = dict(dataset='world', preset='ms2d', seed=0, epochs=12, updates=50, minutes=0.)
    if any(run['config'][k]!=v for k,v in plain.items()) or run['seeds']!=1: pytest.skip('it was told something else than make train')
    here,kept = readme.pooled([run]),KEPT['world']
    for figure in readme.FIGURES:
        # other machines and versions of torch round otherwise: a point or two, never another result
        for answer,x in kept[figure].items(): assert abs(here[figure][answer] - x)<4, (figure, answer)

def test_five_minutes(): assert len(TEXT.splitlines())<=60

def test_pictures_have_words():
    found = re.findall(r'!\[(.*?)\]\((.*?)\)', TEXT)
    assert found and all(check.is_words(alt) and (ROOT/path).exists() for alt,path in found)

def test_links_lead_somewhere():
    for path in re.findall(r'\]\(([^)#]+)', TEXT): assert (ROOT/path).exists(), path
    for path in re.findall(r'\bnbs/\w+\.ipynb', TEXT): assert (ROOT/path).exists(), path

def parameters(name):
    "What the parameters cell of a workbook has"
    tagged = [source for c,source,_ in stored(ROOT/'nbs'/f'{name}.ipynb') if 'parameters' in c['metadata'].get('tags', [])]
    return set(re.findall(r'^(\w+)\s*[:=]', tagged[0], re.M))

def test_commands_can_be_typed():
    commands = re.findall(r'papermill nbs/(\w+)\.ipynb \S+((?: -p \S+ (?:"[^"]*"|[^\s`]+))*)', TEXT)
    assert len(commands)>1
    for name,given in commands: assert set(re.findall(r'-p (\w+)', given))<=parameters(name)
    targets = set(re.findall(r'^(\w+):', (ROOT/'Makefile').read_text(), re.M))
    assert {'train', 'test'}<=set(re.findall(r'\bmake (\w+)', TEXT))<=targets
    assert set(re.findall(r'-p (\w+)', TEXT))<=parameters('train')|parameters('retrieve')
