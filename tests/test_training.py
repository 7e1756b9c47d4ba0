"Training as a cluster starts it: processes of their own, killed and resumed, and two that share their batches"
import hashlib, json, os, re, signal, socket, subprocess, sys, time
from pathlib import Path
import nbformat, pytest, torch
from ms2d import corpus
from ms2d.config import Config
from ms2d.corpus import Corpus
from ms2d.model import build
from ms2d.checkpoint import newest
from ms2d.training import main
from ms2d.core import project_root
from ms2d.jobs import locked
from workbooks import TINY, Forked, papermill, without_kernel

@pytest.fixture(scope='module')
def given(tiny): return {**tiny, **TINY, 'epochs': 6, 'updates': 8}

def words(tmp_path, name, options, parameters):
    "A command line of ms2d.training, its run folder in tmp_path/name"
    (tmp_path/f'{name}.json').write_text(json.dumps(dict(parameters, out=str(tmp_path/name))))
    return ['--config', str(tmp_path/f'{name}.json'), *options]

def start(tmp_path, name, *options, **parameters):
    "A training process, which finds everything imported"
    return Forked(main, words(tmp_path, name, options, parameters))

def start_script(tmp_path, name, *options, **parameters):
    "A training process as a cluster starts it"
    return subprocess.Popen([sys.executable, '-m', 'ms2d.training', *words(tmp_path, name, options, parameters)], cwd=project_root(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)

def finish(process):
    out,_ = process.communicate(timeout=200)
    assert process.returncode==0, out[-3000:]
    return out

@pytest.fixture(scope='module')
def whole(given, tmp_path_factory):
    "The run folder of a training that nothing disturbs"
    folder = tmp_path_factory.mktemp('undisturbed')
    finish(start(folder, 'whole', **given))
    return folder/'whole'

def weights(folder): return torch.load(folder/'last.ckpt', weights_only=True)['state_dict']
def equal(a, b): return a.keys()==b.keys() and all(torch.equal(a[k], b[k]) for k in a)

def test_killed_twice_and_resumed_is_as_never_killed(given, whole, tmp_path):
    for epochs in (2, 7):                                       # once in the alignment stage, once in that of the maps
        process = start(tmp_path, 'cut', '--resume', **given)
        rows = lambda: len((tmp_path/'cut'/'metrics.csv').read_text().splitlines()) - 1 if (tmp_path/'cut'/'metrics.csv').exists() else 0
        while rows()<epochs and process.poll() is None: time.sleep(.01)
        os.killpg(process.pid, signal.SIGKILL); process.communicate()
        assert process.returncode==-signal.SIGKILL, 'it ended before it could be killed'
    finish(start(tmp_path, 'cut', '--resume', **given))
    assert equal(weights(tmp_path/'cut'), weights(whole))
    assert (tmp_path/'cut'/'metrics.csv').read_bytes()==(whole/'metrics.csv').read_bytes()
    before = (tmp_path/'cut'/'last.ckpt').read_bytes()
    assert 'nothing to train' in finish(start(tmp_path, 'cut', '--resume', **given))
    assert (tmp_path/'cut'/'last.ckpt').read_bytes()==before

@pytest.mark.processes
def test_two_processes_learn_what_one_does(given, tmp_path):
    "Same gradients as one process with the joined batch: without random words and candidates, the same weights but for rounding"
    # few updates, as rounding grows; relative=False, as otherwise rounding alone moves the bias of the score
    calm = dict(given, random_proposals=0., word_mask_prob=0., centre_logits=False, epochs=3, updates=4)
    for n,begin in ((1, start), (2, start_script)): finish(begin(tmp_path, f'on{n}', devices=n, **calm))
    one,two = weights(tmp_path/'on1'),weights(tmp_path/'on2')
    # one over a spread, hundreds here: its rounding is a share of it
    size = {'model.sharpness': float(one['model.sharpness'])}
    apart = max(float((one[k].float() - two[k].float()).abs().max())/size.get(k, 1.) for k in one if len(one[k].view(-1)))
    moved = max(float((one[k] - v).abs().max()) for k,v in weights_at_the_start(calm).items() if len(v.view(-1)))
    assert apart<1e-5 and moved>1e-3
    assert [l.split(',')[:2] for l in (tmp_path/'on2'/'metrics.csv').read_text().split()]==[l.split(',')[:2] for l in (tmp_path/'on1'/'metrics.csv').read_text().split()]

@pytest.fixture(scope='module')
def by_two(tiny, tmp_path_factory):
    "Parameters, and the run folder of two processes that a script started"
    short = {**tiny, **TINY, 'updates': 4}
    folder = tmp_path_factory.mktemp('by_two')
    finish(start_script(folder, 'script', devices=2, **short))
    return short, folder/'script'

@pytest.mark.slow
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

@pytest.mark.slow
def test_two_processes_in_a_notebook(by_two, tmp_path):
    "The workbook forks them; the same weights, and every query is answered once"
    short,script = by_two
    code,text = papermill(tmp_path/'two.ipynb', **short, devices=2, out=tmp_path/'two')
    assert code==0, text[-3000:]
    assert equal(weights(tmp_path/'two'), weights(script))
    lines = [json.loads(l)['qid'] for l in (tmp_path/'two'/'predictions.jsonl').read_text().splitlines()]
    assert len(lines)==len(set(lines))==json.loads((tmp_path/'two'/'results.json').read_text())['queries']

def test_half_precision_learns_too(given, tmp_path):
    finish(start(tmp_path, 'half', precision='bf16-mixed', **dict(given, epochs=2)))
    assert all(w.isfinite().all() for w in weights(tmp_path/'half').values() if w.is_floating_point())

def weights_at_the_start(given):
    cfg = Config(**given).resolved()
    return {f'model.{k}': v.detach() for k,v in build(cfg, Corpus(cfg)).named_parameters()}

def wait_for(condition, process, seconds=120):
    "Until something is so, while a process lives"
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic()<end, 'it ended, or took too long'
        time.sleep(.01)

def test_ended_by_sigterm_is_not_finished(given, tmp_path):
    "143, the last epoch's checkpoint whole, and a resumed run ends where an undisturbed one does"
    process = start(tmp_path, 'run', **dict(given, epochs=400))
    wait_for((tmp_path/'run'/'previous.ckpt').exists, process)
    process.terminate()
    out,_ = process.communicate(timeout=60)
    assert process.returncode==143 and 'go on with --resume' in out and 'Traceback' not in out
    path,state = newest(tmp_path/'run')
    assert path.name=='last.ckpt' and state['epoch']>=1
    assert [p.name for p in tmp_path.rglob('*') if '.part' in p.name or p.suffix=='.lock']==[]

@pytest.mark.processes
def test_a_second_run_into_one_folder_is_told_who_has_it(given, tmp_path):
    first = start(tmp_path, 'run', **dict(given, epochs=4000))
    wait_for((tmp_path/'run'/'last.ckpt').exists, first)
    second = start(tmp_path, 'run', '--resume', **dict(given, epochs=4000))
    out,_ = second.communicate(timeout=120)
    assert second.returncode==1 and f'ValueError: {tmp_path/"run"} is in use by another process (process {first.pid} on ' in out
    os.killpg(first.pid, signal.SIGKILL); first.communicate()
    finish(start(tmp_path, 'run', **dict(given, epochs=1)))                                # a killed run's lock is free at once

NAUGHTY = ['', '[]', '3', 'null', '{"lr": NaN}', '{"lr": 1e999}', '{"seed": 1' + '0'*400 + '}', '{"epochs": true}', '{"epochs": null}', '{"out": 3}', '{"clips": [1]}', '{"lr": 1, "lr": 2}', '[' * 99999, '{"tea": 1}', '{"_epochs": 1}',
    '{"preset": {}}', '{"out": "a\\u0000b"}', '{"out": "\\ud800"}', '{"\\ud800": 1}', '{"epochs": "3"}', '{"heads": 100000}', '\udcff\udcfe', '{"hide": 2}', '{"precision": "x"}', '{"dataset": "tacos"}', '{"seed": 1' + '0'*5000 + '}']

def test_a_config_that_is_none_is_named(tmp_path):
    path = tmp_path/'config.json'
    for text in NAUGHTY:
        path.write_bytes(text.encode('utf-8', 'surrogateescape'))
        with pytest.raises(ValueError, match='config.json') as e: main(['--config', str(path)])
        assert type(e.value) is ValueError and len(str(e.value))<1500
        str(e.value).encode()
    for odd in (tmp_path, tmp_path/'none.json'):
        with pytest.raises((ValueError, FileNotFoundError), match=odd.name): main(['--config', str(odd)])

@pytest.fixture
def small_disk(tmp_path):
    "A function (size) -> a disk of that size, empty; for root alone"
    disk = tmp_path/'disk'
    disk.mkdir()
    def mount(size, *options):
        if os.geteuid() or subprocess.run(['mount', *(options or ('-t', 'tmpfs', 'tmpfs')), '-o', f'{"remount," if options else ""}size={size}', disk], capture_output=True).returncode:
            pytest.skip('no disk can be mounted here')
        return disk
    yield mount
    subprocess.run(['umount', disk], capture_output=True)

def corpus_on(given, folder):
    "The clips of a training, cached in another folder"
    made = corpus.cached_clips
    corpus.cached_clips = lambda *a: made(*a, folder=folder)
    Corpus(Config(**given).resolved())

@pytest.mark.timeout(600)
def test_a_full_disk_is_a_sentence(given, whole, small_disk, tmp_path):
    "Clips are refused before they are written; a checkpoint that has no room leaves the one before, which a resumed run goes on from"
    disk = small_disk('200k')
    process = Forked(corpus_on, given, disk/'clips')
    out,_ = process.communicate(timeout=120)
    last = out.splitlines()[-1]
    assert process.returncode==1 and f"MB are needed): make room in {disk/'clips'}, or" in last, out[-2000:]
    assert 'making-' not in last and float(re.search(r'the disk is full \(([\d.]+) MB', last)[1])>0.2, last
    assert [p for p in disk.rglob('*') if p.is_file()]==[]
    need = (whole/'last.ckpt').stat().st_size
    small_disk(f'{(2*need + need//2)//1024}k', disk)                                        # two checkpoints, and no third
    (disk/'full').mkdir()
    (tmp_path/'full').symlink_to(disk/'full')
    process = start(tmp_path, 'full', **given)
    out,_ = process.communicate(timeout=120)
    assert process.returncode==1 and 'last.ckpt: the disk is full: make room in' in out.splitlines()[-1], out[-2000:]
    assert newest(disk/'full')[1]['epoch']==1
    small_disk('100m', disk)
    finish(start(tmp_path, 'full', '--resume', **given))
    assert equal(weights(disk/'full'), weights(whole))

def children(pid):
    found = []
    for p in Path('/proc').glob('[0-9]*/stat'):
        try: fields = p.read_text().rpartition(')')[2].split()
        except OSError: continue
        if int(fields[1])==pid and fields[0]!='Z': found.append(int(p.parent.name))
    return found

def kernel_of_killed(notebook, report, began, options=()):
    "Papermill is killed once `began` is there; its kernel ends"
    process = subprocess.Popen([Path(sys.executable).parent/'papermill', notebook, report, *options], cwd=project_root(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(began.exists, process)
    [kernel] = children(process.pid)
    process.kill(); process.wait()
    alive = lambda: Path(f'/proc/{kernel}').exists() and Path(f'/proc/{kernel}/stat').read_text().rpartition(')')[2].split()[0]!='Z'
    end = time.monotonic() + 30
    while alive() and time.monotonic()<end: time.sleep(.1)
    assert not alive()

@pytest.mark.processes
def test_the_kernel_of_a_killed_papermill_ends(tmp_path):
    "Busy as in training, and with the folder locked: then nobody holds it"
    cell = nbformat.v4.new_code_cell(f"""from pathlib import Path
from ms2d.jobs import hold
hold({str(tmp_path/'run')!r})
Path({str(tmp_path/'began')!r}).touch()
while True: sum(range(10**6))""")
    kernel = dict(name='python3', display_name='python3', language='python')
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=dict(kernelspec=kernel)), tmp_path/'w.ipynb')
    kernel_of_killed(tmp_path/'w.ipynb', tmp_path/'r.ipynb', tmp_path/'began')
    with locked(tmp_path/'run', wait=True): pass                                            # a thread may outlive the first by a moment

@pytest.mark.slow
def test_the_kernel_of_a_killed_training_ends(given, tmp_path):
    options = [x for k,v in dict(given, epochs=4000, out=tmp_path/'run').items() for x in ('-p', k, str(v))]
    kernel_of_killed('nbs/train.ipynb', tmp_path/'r.ipynb', tmp_path/'run'/'last.ckpt', options)
    finish(start(tmp_path, 'run', **dict(given, epochs=1)))                                  # nobody holds the folder

@pytest.mark.slow
def test_training_needs_no_network(given, tmp_path):
    "`make train` after set-up, where there is no network but loopback"
    if os.geteuid() or subprocess.run(['unshare', '-n', 'true'], capture_output=True).returncode: pytest.skip('no network can be taken away here')
    options = ' '.join(f'-p {k} {v}' for k,v in dict(given, out=tmp_path/'run').items())
    line = f'ip link set lo up || exit 77; exec {Path(sys.executable).parent}/papermill nbs/train.ipynb {tmp_path}/r.ipynb {options}'
    r = subprocess.run(['unshare', '-n', 'sh', '-c', line], cwd=project_root(), capture_output=True, text=True)
    if r.returncode==77: pytest.skip('loopback cannot be started')
    assert r.returncode==0, r.stderr[-3000:]

@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_killed_at_many_moments_the_predictions_are_the_same(given, tmp_path):
    "papermill, its kernel, or both killed while clips are cached, files are written, epochs end; then the same command with resume"
    long = dict(given, epochs=20, resume=True)
    digest = lambda out: hashlib.sha256((out/'predictions.jsonl').read_bytes()).hexdigest()
    code,text = papermill(tmp_path/'whole.ipynb', **dict(long, out=tmp_path/'whole'))
    assert code==0, text[-3000:]
    moments = [lambda o: o.exists(), lambda o: (o/'config.json').exists(), lambda o: any(o.glob('.*.part*')), lambda o: (o/'last.ckpt').exists(), lambda o: (o/'previous.ckpt').exists()]
    for i in range(15):
        out = tmp_path/f'run{i}'
        options = [x for k,v in dict(long, out=out).items() for x in ('-p', k, str(v))]
        process = subprocess.Popen([Path(sys.executable).parent/'papermill', 'nbs/train.ipynb', tmp_path/'r.ipynb', *options], cwd=project_root(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: moments[i % 5](out) or process.poll() is not None, process)
        time.sleep(.1*i)
        kernels = children(process.pid)
        for pid in kernels if i % 3!=2 else []: os.kill(pid, signal.SIGKILL)
        if i % 3!=1: process.kill()
        process.wait(60)
        end = time.monotonic() + 30
        while any(Path(f'/proc/{k}').exists() for k in kernels) and time.monotonic()<end: time.sleep(.1)
        code,text = without_kernel(tmp_path/'again.ipynb', **dict(long, out=out))
        assert code==0, text[-3000:]
        assert digest(out)==digest(tmp_path/'whole'), i
