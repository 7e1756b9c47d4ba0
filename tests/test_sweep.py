"A sweep on a cluster: a scheduler and two workers as processes of their own, one of them killed while it works"
import os, re, signal, subprocess, sys, time
from threading import Thread
import nbformat, pytest
from ms2d.sweep import run_name, sweep

@pytest.fixture
def slow_square(tmp_path):
    "A workbook that takes some seconds"
    cell = nbformat.v4.new_code_cell
    cells = [cell("x = 1\nout = ''", metadata=dict(tags=['parameters'])),
             cell("import os, time\nfrom pathlib import Path\n(Path(out)/'began').touch()\ntime.sleep(4)\n(Path(out)/'y.txt').write_text(str(x*x))")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=dict(kernelspec=dict(name='python3', display_name='python3', language='python'))), tmp_path/'w.ipynb')
    return str(tmp_path/'w.ipynb')

@pytest.fixture
def cluster(tmp_path):
    "A scheduler and two workers on loopback; -> its address and the workers"
    dask = [sys.executable, '-m', 'distributed.cli.dask_scheduler'],[sys.executable, '-m', 'distributed.cli.dask_worker']
    log = tmp_path/'scheduler.log'
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    scheduler = subprocess.Popen([*dask[0], '--host', '127.0.0.1', '--port', '0', '--no-dashboard'], stdout=subprocess.DEVNULL, stderr=log.open('w'), start_new_session=True)
    processes = [scheduler]
    try:
        for _ in range(300):
            if m := re.search(r'(tcp://127\.0\.0\.1:\d+)', log.read_text()): break
            time.sleep(.1)
        workers = [subprocess.Popen([*dask[1], m[1], '--nthreads', '1', '--no-nanny', '--no-dashboard', '--local-directory', str(tmp_path)], **quiet) for _ in range(2)]
        processes += workers
        yield m[1], workers
    finally:
        for p in processes:
            if p.poll() is None: os.killpg(p.pid, signal.SIGKILL)
            p.wait()

def test_a_killed_worker_loses_only_its_run(slow_square, cluster, tmp_path):
    address,workers = cluster
    runs,folder = [dict(x=x) for x in (2, 3, 4)],tmp_path/'sweep'
    attempts = lambda p: (folder/run_name(p)/'attempts.txt').read_text().splitlines()
    victims = []
    def kill():
        "Once two runs are under way, the worker that has the first of them dies"
        while sum((folder/run_name(p)/'began').exists() for p in runs)<2: time.sleep(.05)
        under_way = next(p for p in runs if (folder/run_name(p)/'began').exists())
        pid = int(attempts(under_way)[-1].split()[-1])
        victims.append(under_way)
        os.killpg(pid, signal.SIGKILL)
    killer = Thread(target=kill); killer.start()
    ended = sweep(slow_square, runs, folder, scheduler=address, say=lambda line: None)
    killer.join()
    assert [o.status for o in ended]==['done']*3
    assert [(folder/run_name(p)/'y.txt').read_text() for p in runs]==['4', '9', '16']
    assert sorted(len(attempts(p)) for p in runs)==[1, 1, 2] and len(attempts(victims[0]))==2
    assert [w.poll() is None for w in workers].count(False)==1
    assert [o.status for o in sweep(slow_square, runs, folder, scheduler=address, say=lambda line: None)]==['skipped']*3
