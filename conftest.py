"Pytest runs the notebooks: every cell that checks something is one test; a notebook's cells run in order, in one shell."
import atexit, os, re, sys
# an optional part of jsonschema, which nbformat loads: 38 parsers, a second and a half of every process, that no test asks
sys.modules.setdefault('rfc3987_syntax', None)
import pytest
from docutils.nodes import make_id
from execnb.shell import CaptureShell
from fastcore.xtras import working_directory
from nbdev.config import get_config
from nbdev.frontmatter import FrontmatterProc
from nbdev.process import NBProcessor

CHECK = re.compile(r'(?:^\s*|: +)(?:assert\b|test_\w+\(|with (?:expect_fail|pytest\.raises))', re.M)
HEADING = re.compile(r'^#+ +(.+)$', re.M)
cfg = get_config()

def pytest_addoption(parser): parser.addoption('--slow', action='store_true', help='also run the cells and tests flagged slow')
def pytest_configure(config):
    config.addinivalue_line('markers', 'slow: runs only with --slow')
    config.addinivalue_line('markers', 'processes: starts, joins or kills processes of its own; make processes and CI run it')
    import dask
    # a worker on this machine is forked where all is imported (tests/workbooks.py says what), and not begun from nothing
    dask.config.set({'distributed.worker.multiprocessing-method': 'forkserver'})

def pytest_collection_modifyitems(config, items):
    wanted = {'slow', 'processes'} if config.getoption('--slow') else {*re.findall(r'\w+', config.option.markexpr)}
    for item in items:
        for mark in ('slow', 'processes'):
            if mark not in wanted and item.get_closest_marker(mark): item.add_marker(pytest.mark.skip(reason=f'{mark}: make {mark} runs it'))

def pytest_collect_file(file_path, parent):
    if file_path.suffix=='.ipynb' and file_path.parent==cfg.nbs_path.resolve(): return Notebook.from_parent(parent, path=file_path)

class CellFailed(Exception): "A cell raised; the message is its traceback"

class Notebook(pytest.File):
    "The cells of one notebook, and how many of them have run"
    def collect(self):
        nb = NBProcessor(self.path, procs=FrontmatterProc, process=True).nb
        if getattr(nb, 'frontmatter_', {}).get('skip_exec'): return
        self.cells = [c for c in nb.cells if c.cell_type=='code' and c.source.strip() and 'nbdev_export(' not in c.source]
        checks = [i for i,c in enumerate(self.cells) if CHECK.search(c.source) and not {'export','exports','exporti'} & c.directives_.keys()]
        if not self.cells: return
        if not checks: checks = [len(self.cells)-1]
        ends = [*(i+1 for i in checks[:-1]), len(self.cells)] # the cells after the last check belong to it
        for i,end in zip(checks, ends): yield Check.from_parent(self, name=f'{self.cells[i].idx_}-{self.about(nb, i)}', check=i, end=end)

    def setup(self):
        os.environ['IN_TEST'] = '1'
        self.shell,self.done,self.failed = CaptureShell(self.path),0,None

    def teardown(self):
        "At the very end IPython would clear the shell of every notebook, and collect all garbage each time: half a minute"
        atexit.unregister(self.shell.atexit_operations)
        self.shell = None

    def about(self, nb, i):
        "The heading above a cell"
        above = '\n'.join(c.source for c in nb.cells[:self.cells[i].idx_] if c.cell_type=='markdown')
        return make_id((HEADING.findall(above) or [''])[-1])

    def skips(self, cell):
        flags = set(cfg.tst_flags.split()) - ({'slow'} if self.config.getoption('--slow') else set())
        return cell.directives_.get('eval:', [''])[0].lower()=='false' or bool(flags & cell.directives_.keys())

    def run(self, end):
        "Run the cells up to `end` that have not run yet, as nbdev_test would"
        while self.done<end:
            cell = self.cells[self.done]
            self.done += 1
            if self.skips(cell): continue
            with working_directory(self.path.parent): self.shell.cell(cell)
            if self.shell.exc: raise CellFailed(self.shell.prettytb(self.path))

class Check(pytest.Item):
    "One checking cell, after the cells above it"
    def __init__(self, *, check, end, **kwargs):
        super().__init__(**kwargs)
        self.check,self.end = check,end

    def runtest(self):
        nb = self.parent
        if nb.failed: pytest.skip(f'{nb.failed} failed above it')
        try: nb.run(self.end)
        except CellFailed:
            nb.failed = self.name
            raise
        if nb.skips(nb.cells[self.check]): pytest.skip('flagged: not run here')

    def repr_failure(self, excinfo): return str(excinfo.value) if isinstance(excinfo.value, CellFailed) else super().repr_failure(excinfo)
    def reportinfo(self): return self.path, None, f'{self.path.name}::{self.name}'
