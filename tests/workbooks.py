"What the tests of workbooks share: papermill as a user types it"
import json, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TINY = dict(maps=True, clips=16, dim=16, align_dim=32, top_k=4, updates=3, epochs=3, batch_size=8, map_batch=4, accelerator='cpu')

def papermill(report, *options, notebook='train', **parameters):
    "What a user types, from the project's root; -> return code, what was printed"
    given = [x for k,v in parameters.items() for x in ('-p', k, str(v))]
    r = subprocess.run([Path(sys.executable).parent/'papermill', f'nbs/{notebook}.ipynb', str(report), *options, *given, '--log-output'], cwd=ROOT, capture_output=True, text=True)
    return r.returncode, r.stdout + r.stderr

def cells(report): return json.loads(Path(report).read_text())['cells']
