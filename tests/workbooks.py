"What tests share: papermill as a user types it, processes that need not import all again, and the scripts of docs/"
import importlib.util, json, multiprocessing, os, subprocess, sys, tempfile
from pathlib import Path
import dask

ROOT = Path(__file__).resolve().parent.parent
TINY = dict(clips=16, dim=16, align_dim=32, top_k=4, updates=3, epochs=3, batch_size=8, map_batch=4, accelerator='cpu')

# torch, lightning and the drawing take 8 s of a core to import: one process does it, and those that it forks begin at once
SERVER = multiprocessing.get_context('forkserver')
SERVER.set_forkserver_preload(['ms2d.report', 'ms2d.moments', 'ms2d.inspection', 'ms2d.diagnosis', 'ms2d.extraction', 'ms2d.comparison', 'seaborn', 'execnb.shell', 'papermill.cli', 'distributed'])

def _child(call, log, args):
    os.setsid()
    with open(log, 'w') as f:
        for stream in (1, 2): os.dup2(f.fileno(), stream)
    os.chdir(ROOT)
    # workers of its own come from where it comes from
    dask.config.set({'distributed.worker.multiprocessing-method': 'forkserver'})
    call(*args)

class Forked:
    "A process that runs call(*args), as subprocess.Popen would run a script: in a session of its own, from the project's root"
    def __init__(self, call, *args):
        self.log = tempfile.NamedTemporaryFile('r', errors='replace')
        self.process = SERVER.Process(target=_child, args=(call, self.log.name, args))
        self.process.start()
        self.pid = self.process.pid

    @property
    def returncode(self): return self.process.exitcode
    def poll(self): return self.returncode
    def terminate(self): self.process.terminate()

    def communicate(self, timeout=None):
        "-> what was printed, by then it has ended"
        self.process.join(timeout)
        if self.returncode is None: raise subprocess.TimeoutExpired(str(self.process), timeout)
        self.log.seek(0)
        return self.log.read(), None

def papermill(report, *options, notebook='train', **parameters):
    "What a user types, from the project's root; -> return code, what was printed"
    r = subprocess.run([Path(sys.executable).parent/'papermill', *_words(report, options, notebook, parameters)], cwd=ROOT, capture_output=True, text=True)
    return r.returncode, r.stdout + r.stderr

def _words(report, options, notebook, parameters):
    given = [x for k,v in parameters.items() for x in ('-p', k, str(v))]
    return [f'nbs/{notebook}.ipynb', str(report), *options, *given, '--log-output']

def without_kernel(report, *options, notebook='train', **parameters):
    "`papermill`, its cells run in papermill's own process: a kernel's start, which other tests pay for, is spared"
    words = _words(report, [*options, '--engine', 'here'], notebook, parameters)
    process = Forked(_papermill, words)
    text,_ = process.communicate()
    return process.returncode, text

def _papermill(words):
    from papermill.cli import papermill
    from papermill.engines import Engine, papermill_engines
    class Here(Engine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **kw): _run_cells(nb_man)
    papermill_engines.register('here', Here)
    papermill(words)

def _run_cells(nb_man):
    "Every code cell, until one raises"
    from execnb.shell import CaptureShell
    from nbformat import from_dict
    import pandas as pd
    shell = CaptureShell(mpl_format='png')
    # as pandas itself does where there is a kernel
    pd.set_option('display.max_columns', 20)
    for i,cell in enumerate(nb_man.nb.cells):
        if cell.cell_type != 'code': continue
        nb_man.cell_start(cell, i)
        cell.outputs = from_dict([*shell.run(cell.source)])
        cell.execution_count = i + 1
        for out in cell.outputs: print(''.join(out.get('text', [])), flush=True)
        if shell.exc: return nb_man.cell_exception(cell, i)
        nb_man.cell_complete(cell, i)

def cells(report): return json.loads(Path(report).read_text())['cells']

def script(name):
    "A script of docs/, as a module"
    spec = importlib.util.spec_from_file_location(f'docs_{name}', ROOT/'docs'/f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
