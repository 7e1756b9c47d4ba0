"A sweep on a cluster: a scheduler and two workers as processes of their own, one of them killed while it works"
import os, signal, time
from threading import Thread
import nbformat, pytest
from ms2d.comparison import run_name, sweep

@pytest.fixture
def slow_square(tmp_path):
    "A workbook that takes some seconds"
    cell = nbformat.v4.new_code_cell
    cells = [cell("x = 1\nout = ''", metadata=dict(tags=['parameters'])),
             cell("import os, time\nfrom pathlib import Path\n(Path(out)/'began').touch()\ntime.sleep(2)\n(Path(out)/'y.txt').write_text(str(x*x))")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=dict(kernelspec=dict(name='python3', display_name='python3', language='python'))), tmp_path/'w.ipynb')
    return str(tmp_path/'w.ipynb')

@pytest.mark.processes
def test_a_killed_worker_loses_only_its_run(slow_square, cluster, tmp_path):
    address,workers = cluster
    runs,folder = [dict(x=x) for x in (2, 3, 4)],tmp_path/'sweep'
    attempts = lambda p: (folder/run_name(p)/'attempts.txt').read_text().splitlines()
    victims = []
    def kill():
        "Once a run is under way, the worker that has it dies"
        while not (under_way := next((p for p in runs if (folder/run_name(p)/'began').exists() and not (folder/run_name(p)/'y.txt').exists()), None)): time.sleep(.05)
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
