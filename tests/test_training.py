"Training as a cluster starts it: processes of their own, killed and resumed, and two that share their batches"
import json, os, signal, socket, subprocess, sys, time
import pytest, torch
from ms2d.training import Config, Corpus, build
from ms2d.core import project_root
from workbooks import TINY, papermill

@pytest.fixture
def given(tiny): return {**tiny, **TINY, 'epochs': 6, 'updates': 8}

def start(tmp_path, name, *options, **parameters):
    "A training process, its run folder in tmp_path/name"
    (tmp_path/f'{name}.json').write_text(json.dumps(dict(parameters, out=str(tmp_path/name))))
    return subprocess.Popen([sys.executable, '-m', 'ms2d.training', '--config', str(tmp_path/f'{name}.json'), *options], cwd=project_root(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)

def finish(process):
    out,_ = process.communicate(timeout=200)
    assert process.returncode==0, out[-3000:]
    return out

def weights(folder): return torch.load(folder/'last.ckpt', weights_only=True)['state_dict']
def equal(a, b): return a.keys()==b.keys() and all(torch.equal(a[k], b[k]) for k in a)

def test_killed_twice_and_resumed_is_as_never_killed(given, tmp_path):
    finish(start(tmp_path, 'whole', **given))
    for epochs in (2, 5):                                       # once in the alignment stage, once in that of the maps
        process = start(tmp_path, 'cut', '--resume', **given)
        rows = lambda: len((tmp_path/'cut'/'metrics.csv').read_text().splitlines()) - 1 if (tmp_path/'cut'/'metrics.csv').exists() else 0
        while rows()<epochs and process.poll() is None: time.sleep(.01)
        os.killpg(process.pid, signal.SIGKILL); process.communicate()
        assert process.returncode==-signal.SIGKILL, 'it ended before it could be killed'
    finish(start(tmp_path, 'cut', '--resume', **given))
    assert equal(weights(tmp_path/'cut'), weights(tmp_path/'whole'))
    assert (tmp_path/'cut'/'metrics.csv').read_bytes()==(tmp_path/'whole'/'metrics.csv').read_bytes()
    before = (tmp_path/'cut'/'last.ckpt').read_bytes()
    assert 'nothing to train' in finish(start(tmp_path, 'cut', '--resume', **given))
    assert (tmp_path/'cut'/'last.ckpt').read_bytes()==before

def test_two_processes_learn_what_one_does(given, tmp_path):
    "Same gradients as one process with the joined batch: without random words and candidates, the same weights but for rounding"
    # few updates, as rounding grows; relative=False, as otherwise rounding alone moves the bias of the score
    calm = dict(given, explore=0., hide=0., relative=False, epochs=3, updates=4)
    for n in (1, 2): finish(start(tmp_path, f'on{n}', devices=n, **calm))
    one,two = weights(tmp_path/'on1'),weights(tmp_path/'on2')
    apart = max(float((one[k].float() - two[k].float()).abs().max()) for k in one)
    moved = max(float((one[k] - v).abs().max()) for k,v in weights_at_the_start(calm).items())
    assert apart<1e-5 and moved>1e-3
    assert [l.split(',')[:2] for l in (tmp_path/'on2'/'metrics.csv').read_text().split()]==[l.split(',')[:2] for l in (tmp_path/'on1'/'metrics.csv').read_text().split()]

@pytest.fixture(scope='module')
def by_two(tiny, tmp_path_factory):
    "Parameters, and the run folder of two processes that a script started"
    short = {**tiny, **TINY, 'updates': 4}
    folder = tmp_path_factory.mktemp('by_two')
    finish(start(folder, 'script', devices=2, **short))
    return short, folder/'script'

def test_two_machines_learn_what_two_processes_do(by_two, tmp_path):
    "torchrun on two machines, here two names of one, with a process each"
    short,script = by_two
    (tmp_path/'many.json').write_text(json.dumps(dict(short, out=str(tmp_path/'many'))))
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    nodes = [subprocess.Popen([sys.executable, '-m', 'torch.distributed.run', '--nnodes', '2', '--node_rank', str(r), '--nproc_per_node', '1', '--master_addr', '127.0.0.1',
        '--master_port', str(port), '-m', 'ms2d.training', '--config', str(tmp_path/'many.json')], cwd=project_root(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for r in (0, 1)]
    for n in nodes: finish(n)
    assert equal(weights(tmp_path/'many'), weights(script))

def test_two_processes_in_a_notebook(by_two, tmp_path):
    "The workbook forks them; the same weights, and every query is answered once"
    short,script = by_two
    code,text = papermill(tmp_path/'two.ipynb', **short, devices=2, out=tmp_path/'two')
    assert code==0, text[-3000:]
    assert equal(weights(tmp_path/'two'), weights(script))
    lines = [json.loads(l)['qid'] for l in (tmp_path/'two'/'predictions.jsonl').read_text().splitlines()]
    assert len(lines)==len(set(lines))==json.loads((tmp_path/'two'/'results.json').read_text())['queries']

def test_half_precision_learns_too(given, tmp_path):
    finish(start(tmp_path, 'half', precision='bf16-mixed', **given))
    assert all(w.isfinite().all() for w in weights(tmp_path/'half').values() if w.is_floating_point())

def weights_at_the_start(given):
    cfg = Config(**given).resolved()
    return {f'model.{k}': v.detach() for k,v in build(cfg, Corpus(cfg)).named_parameters()}
