import os, re, signal, subprocess, sys, time
from pathlib import Path
from multiprocessing.forkserver import ensure_running
import pytest
from ms2d.config import tiny as configuration

def pytest_collection_finish(session):
    "With what `workbooks` wants imported: a cluster of dask's, were it the first, would have less"
    if 'workbooks' in sys.modules and not session.config.option.collectonly: ensure_running()

@pytest.fixture(scope='session')
def root(): return Path(__file__).resolve().parent.parent

@pytest.fixture(scope='session')
def shared(root):
    "The folder with real data that may stand beside the project"
    folder = root.parent/'shared'
    if not folder.is_dir(): pytest.skip('no folder shared/ beside the project')
    return folder

@pytest.fixture(scope='session')
def tiny():
    "A world of 40 training videos, as parameters of a workbook"
    cfg = configuration()
    return dict(dataset=cfg.dataset, annotations=cfg.annotations, features=cfg.features)

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
