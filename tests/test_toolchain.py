"What the tool chain breaks silently"
import ast, json, re, subprocess, sys
from pathlib import Path
import nbformat, pytest
import nbdev.test
from nbdev.config import get_config

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = {p.stem: json.loads(p.read_text()) for p in sorted((ROOT/'nbs').glob('*.ipynb'))}
MODULES = sorted(p.stem for p in (ROOT/'ms2d').glob('[!_]*.py'))
MACHINE = re.compile(r'(?<![\w.:/~])/(?:home|root|Users|tmp|work|mnt|opt|usr|var)/[\w.-]+|\b[A-Z]:\\\\|localhost:\d|\b\d{1,3}(?:\.\d{1,3}){3}:\d')

def source(cell): return ''.join(cell['source'])
def code(nb): return [c for c in nb['cells'] if c['cell_type']=='code']
def exported(nb): return [c for c in code(nb) if re.search(r'^#\| *exports?i?\b', source(c), re.M)]
def number(name): return int(m[1]) if (m := re.match(r'(\d+)_', name)) else None
def is_workbook(nb): return bool(re.search(r'^(- )?skip_exec: *true', source(nb['cells'][0]), re.M))

WORKBOOKS = [name for name,nb in NOTEBOOKS.items() if is_workbook(nb)]
every_notebook = pytest.mark.parametrize('name', NOTEBOOKS)
every_workbook = pytest.mark.parametrize('name', WORKBOOKS)
every_module = pytest.mark.parametrize('name', MODULES)

def outputs(nb):
    "The text of the stored outputs, pictures left out"
    for out in (o for c in code(nb) for o in c['outputs']):
        yield ''.join(out.get('text', []))
        for kind,data in out.get('data', {}).items():
            if kind.startswith('text/'): yield ''.join(data)

@every_workbook
def test_workbook_has_one_parameters_cell(name):
    "papermill -p has no effect, without a word, where the tag is missing"
    assert sum('parameters' in c['metadata'].get('tags', []) for c in code(NOTEBOOKS[name]))==1

@every_notebook
def test_no_machine_in_notebook(name):
    nb = NOTEBOOKS[name]
    text = '\n'.join([*map(source, nb['cells']), *outputs(nb)])
    assert not MACHINE.findall(text)

def test_machine_is_recognised():
    for text in ('saved /home/me/x.ckpt', "open('/tmp/x')", 'http://localhost:8888', 'at 10.0.0.1:80'): assert MACHINE.search(text)
    for text in ('reports/train', 'a/b/c', '../shared/data', 'https://example.org/home/me', '2/3 of /1/'): assert not MACHINE.search(text)

@every_notebook
def test_notebook_is_readable(name):
    "Short exported cells, short lines, stored outputs, no stored error, a size that a diff can bear"
    nb = NOTEBOOKS[name]
    long = [source(c).splitlines()[1] for c in exported(nb) if len(source(c).splitlines())>40]
    assert not long, f'exported cells above 40 lines: {long}'
    wide = [l for c in exported(nb) for l in source(c).splitlines() if len(l)>120]
    # the checks of a numbered notebook are read too; a picture's text is one line, however long
    checks = [c for c in code(nb) if number(name) is not None and c not in exported(nb)]
    wide += [l for c in checks for l in source(c).splitlines() if len(l)>120 and not l.startswith('#| fig-alt')]
    assert not wide, f'lines above 120 characters: {wide}'
    assert (ROOT/'nbs'/f'{name}.ipynb').stat().st_size < 1_500_000
    assert not [o['ename'] for c in code(nb) for o in c['outputs'] if o['output_type']=='error']
    if not is_workbook(nb): assert any(c['outputs'] for c in code(nb)), 'no stored output: run it before you commit it'

NUMBERS = {re.search(r'#\| *default_exp +(\w+)', s)[1]: number(name) for name,nb in NOTEBOOKS.items()
           if 'default_exp' in (s := '\n'.join(map(source, code(nb))))}

def imported(text):
    "Modules of ms2d that a piece of source imports, inside its functions too"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module=='ms2d': yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or '').startswith('ms2d.'): yield node.module.split('.')[1]
        elif isinstance(node, ast.Import): yield from (a.name.split('.')[1] for a in node.names if a.name.startswith('ms2d.'))

@pytest.mark.parametrize('name', [n for n in NOTEBOOKS if number(n) is not None])
def test_notebook_imports_only_from_those_before(name):
    "The appendix alone, the embedded world, may be used by any: it knows nothing of the rest but the core"
    used,mine = {m for c in exported(NOTEBOOKS[name]) for m in imported(source(c)) if m in NUMBERS},number(name)
    assert not [m for m in used if NUMBERS[m] > mine and (NUMBERS[m] < 90 or mine >= 90)]
    if mine >= 90: assert not [m for m in used if 9 < NUMBERS[m] < 90]

def test_imported_sees_every_form():
    text = 'from ms2d import a\nfrom ms2d.b import x\ndef f():\n    import ms2d.c as c\nimport torch'
    assert set(imported(text))=={'a', 'b', 'c'}

@every_module
def test_module_has_a_notebook(name): assert name in NUMBERS, f'no notebook exports ms2d/{name}.py: delete it'

RUNTIME = {'ms2d', 'torch', 'numpy', 'lightning', 'fastcore'} | sys.stdlib_module_names

def at_the_top(text):
    "Packages that a module imports outside its functions"
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom): yield 'ms2d' if node.level else node.module.split('.')[0]
        elif isinstance(node, ast.Import): yield from (a.name.split('.')[0] for a in node.names)

VOILA = {'jupyter_server', 'tornado', 'traitlets', 'voila'} # whose classes the page's server extends; no other module imports it

@every_module
def test_module_imports_where_there_is_only_torch(name):
    "GPU machines often have torch and lightning and none of the notebook tools"
    text = (ROOT/'ms2d'/f'{name}.py').read_text()
    assert not set(at_the_top(text)) - RUNTIME - (VOILA if name=='server' else set())
    assert 'server' not in re.findall(r'from \.(\w+) import', text)

def test_at_the_top_sees_every_form(): assert list(at_the_top('import a.b, c\nfrom d.e import f\ndef g(): import h'))==['a', 'c', 'd']

def test_parameters_tag_survives_nbdev_clean(): assert 'tags' in get_config().allowed_cell_metadata_keys.split()

@pytest.fixture
def collected(request):
    "A function: what pytest makes of a notebook, by the path"
    def collect(path):
        [nb] = request.session.ihook.pytest_collect_file(file_path=path, parent=request.session)
        return nb, [*nb.collect()]
    return collect

@every_notebook
def test_pytest_runs_the_cells_that_nbdev_test_runs(name, collected, request, monkeypatch):
    "`make test` leaves nbdev_test to `make nbdev`"
    theirs = []
    class Shell:
        "Notes what it is asked to run"
        def __init__(self, path): pass
        def run_all(self, nb, exc_stop, preproc): theirs.extend(c.source for c in nb.cells if not preproc(c))
    monkeypatch.setattr(nbdev.test, 'CaptureShell', Shell)
    path,flags = ROOT/'nbs'/f'{name}.ipynb',['slow']*request.config.getoption('--slow')
    assert nbdev.test.test_nb(path, skip_flags=get_config().tst_flags.split(), force_flags=flags)[0]
    nb,checks = collected(path)
    ours = [c.source for c in nb.cells if not nb.skips(c)] if checks else []
    assert ours==[s for s in theirs if s.strip()]
    assert bool(checks)!=is_workbook(NOTEBOOKS[name])
    # the last check brings what is below it
    if checks: assert checks[-1].end==len(nb.cells)

def test_every_cell_that_breaks_is_a_test_that_fails(collected, tmp_path):
    sources = ['x = 1', 'assert x==1', 'x += 1', '#| slow\n1/0', 'assert x==2', '#| eval: false\n1/0', '1/0']
    cells = [nbformat.v4.new_code_cell(s) for s in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path/'broken.ipynb')
    whole = collected(ROOT/'nbs'/'01_core.ipynb')[0]
    nb = type(whole).from_parent(whole.session, path=tmp_path/'broken.ipynb')
    first,last = nb.collect()
    nb.setup()
    first.runtest()
    with pytest.raises(Exception, match='ZeroDivisionError') as e: last.runtest()
    assert type(e.value).__name__=='CellFailed'
    nb.teardown()

# comparison has plots and statistics with it
HEAVY = dict(core='torch lightning numpy', jobs='torch', dataset='torch lightning', comparison='lightning', extraction='lightning', page='lightning')

@pytest.mark.parametrize('name', HEAVY)
def test_a_module_does_without_what_it_does_not_need(name):
    code = f"import sys, ms2d.{name}; print({set(HEAVY[name].split())} & sys.modules.keys())"
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert r.stdout.strip()=='set()', r.stdout + r.stderr
