"A few inputs of `make fuzz` with a fixed seed, and that the fuzzer sees what goes wrong"
import os, signal
import pytest
from fuzz import run
from fuzz.run import Fuzz, Fuzzing, Watch, tell
from fuzz.seeds import Seeds
from fuzz.worker import refusal
from ms2d.core import read_text

def test_every_reader_handles_what_it_is_given(tmp_path):
    "Each input comes out right or is refused with a sentence, and so does each that was made on purpose"
    summary = Fuzz(Fuzzing(workers=1, out=str(tmp_path/'fuzz')), share=.5).run(rounds=1)
    assert not summary['faults'] and not summary['failed'], tell(summary)
    assert summary['total']['tried'] >= 150 and summary['cases']['tried'] >= 200
    assert sum(r['right'] for r in summary['readers'].values()) >= 20, tell(summary)

def raised(call):
    with pytest.raises(Exception) as e: call()
    return e.value

def test_what_is_one_of_our_errors(tmp_path):
    (tmp_path/'a.txt').write_bytes(b'\xff')
    ours = raised(lambda: read_text(tmp_path/'a.txt'))
    assert refusal(ours, ['a.txt']) == '' and 'names neither' in refusal(ours, ['b.txt'])
    assert 'inside a library' in refusal(raised(lambda: float('x')),
                                         ['x']) and 'KeyError' in refusal(raised(lambda: {}['x']), ['x'])

@pytest.mark.slow
def test_a_hang_and_a_death_are_faults(tmp_path, monkeypatch):
    for name in ('HANG', 'MAKING'): monkeypatch.setattr(run, name, 3)
    watch = Watch(Seeds(tmp_path/'seeds').make(), tmp_path/'scratch', tmp_path/'out', 0)
    watch.start()
    for signal_,said in ((signal.SIGSTOP, 'hangs'), (signal.SIGKILL, 'died')):
        inputs = watch.ask(dict(reader='tacos', round=0))
        first = next(inputs)
        os.kill(watch.process.pid, signal_)
        told = [first, *inputs]
        assert told[-1]['came'] == 'fault' and said in told[-1]['what']
        assert (tmp_path/'out'/told[-1]['name']/'fault.json').exists()
        # a new process goes on, with the same inputs
        again = [*watch.ask(dict(reader='tacos', round=0))]
        same = ('came', 'where', 'bytes')
        assert len(again) >= 20 and {k: again[0][k] for k in same} == {k: first[k] for k in same}
    watch.stop()
