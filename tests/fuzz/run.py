"`make fuzz`: rounds for a given time, a summary, reports/fuzz/fuzz.json; exit code 1 where anything failed"
import argparse, dataclasses, itertools, json, os, queue, shutil, subprocess, sys, tempfile, threading, time
from collections import Counter
from dataclasses import dataclass
from math import inf
from pathlib import Path
from ms2d.core import Parameters, write_json
from .cases import CASES
from .seeds import Seeds

ROOT = Path(__file__).resolve().parent.parent.parent
HANG = 15 # s that a worker may read without a word
MAKING = 300 # s that it may take to make an input

@dataclass
class Fuzzing(Parameters):
    "How long to look for inputs that break a reader"
    minutes: float = 60. # wall-clock time, after which no new round begins
    seed: int = 0 # another seed, other inputs
    workers: int = 2 # processes
    out: str = 'reports/fuzz' # folder for fuzz.json and for the inputs that failed

    def check(self)->None:
        "Types and ranges"
        super().check()
        self.between(minutes=(0, 10_000), workers=(1, 64), seed=(0, 2**32))

class Watch:
    "One worker, watched: a hang is stopped, a death is noticed"
    def __init__(self, seeds, scratch, out, number):
        self.words = [str(seeds), str(scratch), str(out), str(number)]
        self.scratch = Path(scratch)
        self.out = Path(out)
        self.process = None

    def start(self):
        "A process that has said which readers there are"
        env = os.environ | dict(PYTHONPATH=f'{ROOT}{os.pathsep}{ROOT/"tests"}', OMP_NUM_THREADS='1',
                                TMPDIR=str(self.scratch/'tmp'),
                                HYPOTHESIS_STORAGE_DIRECTORY=str(self.scratch.with_suffix('.hypothesis')))
        self.process = subprocess.Popen([sys.executable, '-m', 'fuzz.worker', *self.words], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=ROOT)
        self.lines = queue.Queue()
        threading.Thread(target=self.listen, args=[self.process.stdout, self.lines], daemon=True).start()
        first = self.lines.get()
        if not first: raise SystemExit(self.process.stderr.read().decode() or 'the worker ended')
        return json.loads(first)['ready']

    def listen(self, pipe, lines):
        "Lines as they come, and an empty one at the end"
        for line in pipe: lines.put(line)
        lines.put(b'')

    def ask(self, asked):
        "What came of each input of a round"
        if self.process is None: self.start()
        self.process.stdin.write(json.dumps(asked).encode() + b'\n')
        self.process.stdin.flush()
        made = False
        while True:
            try: line = self.lines.get(timeout=HANG if made else MAKING)
            except queue.Empty: line = None
            if not line:
                yield self.lost(asked, 'the process died' if line == b'' else f'hangs, over {HANG} s')
                return
            told = json.loads(line)
            if 'done' in told: return
            made = 'made' in told                                                # reading is timed, not making
            if made: continue
            yield told
            if 'replay' in asked: return

    def lost(self, asked, why):
        "A worker that hangs or died, with the input that it was reading"
        self.process.kill()
        code = self.process.wait()
        self.process = None
        name = f"{asked['reader'].replace(', ', '-')}-{why.split(',')[0].replace(' ', '-')}"
        told = dict(reader=asked['reader'], round=asked.get('round', 0), came='fault', what=f'{why} ({code})',
                    where=asked['reader'], s=HANG, mib=0, bytes=0, name=name)
        if 'case' in asked: return told | dict(case=asked['case'])
        kept = self.out/name
        if not kept.exists() and 'replay' not in asked:
            kept.mkdir(parents=True)
            case = self.scratch/'case'
            if case.is_dir(): shutil.copytree(case, kept/'input', symlinks=True)
            (kept/'fault.json').write_text(json.dumps(told, indent=1))
        return told

    def stop(self):
        if self.process is None: return
        self.process.stdin.close()
        self.process.wait(30)

class Fuzz:
    "All workers, all rounds, what came"
    def __init__(self, cfg, only=(), share=1.):
        self.cfg = cfg
        self.share = share # of the inputs of a round
        self.only = set(only)
        self.out = Path(cfg.out).absolute()
        self.told = []
        self.cases = []
        self.lock = threading.Lock()
        self.end = inf

    def run(self, rounds=0): # -> summary; rounds of every reader, 0: until the minutes are over
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True)
        with tempfile.TemporaryDirectory(prefix='fuzz-') as folder:
            folder = Path(folder)
            seeds = Seeds(folder/'seeds').make()
            watches = [Watch(seeds, folder/f'scratch-{k}', self.out, self.cfg.seed) for k in range(self.cfg.workers)]
            readers = [r for r in watches[0].start() if not self.only or r in self.only]
            self.share_out(watches, [dict(reader=c.reader, case=name) for name,
                                     c in CASES.items() if c.reader in readers])
            self.began = time.monotonic()
            self.end = self.began + (inf if rounds else 60*self.cfg.minutes)
            numbers = range(rounds) if rounds else itertools.count()
            self.share_out(watches, (dict(reader=r, round=n, share=self.share) for n in numbers for r in readers))
            for w in watches: w.stop()
        return self.summary()

    def share_out(self, watches, plan):
        "What is asked, among the workers, until nothing is left or the time is over"
        self.plan = iter(plan)
        threads = [threading.Thread(target=self.work, args=[w]) for w in watches]
        for t in threads: t.start()
        for t in threads: t.join()

    def work(self, watch):
        "What one worker does of the plan"
        while time.monotonic() < self.end:
            with self.lock: asked = next(self.plan, None)
            if asked is None: return
            for told in watch.ask(asked):
                with self.lock: (self.cases if 'case' in told else self.told).append(told)

    def summary(self):
        "Numbers by reader, and the faults; also in fuzz.json"
        rows = {}
        for t in sorted(self.told, key=lambda t: t['reader']):
            row = rows.setdefault(t['reader'],
                                  dict(tried=0, handled=0, right=0, refused=0, seconds=0., slowest=0., mib=0))
            row['tried'] += 1
            row['handled'] += t['came'] != 'fault'
            if t['came'] in row: row[t['came']] += 1
            row |= dict(seconds=round(row['seconds'] + t['s'], 2), slowest=max(row['slowest'], t['s']),
                        mib=max(row['mib'], t['mib']))
        count = Counter(t['name'] for t in self.told if 'name' in t)
        faults = [dict(json.loads((self.out/name/'fault.json').read_text()), times=n) for name,n in count.most_common()]
        total = dict(tried=len(self.told), handled=sum(r['handled'] for r in rows.values()),
                     seconds=round(time.monotonic() - self.began, 1),
            slowest=max((t['s'] for t in self.told), default=0), mib=max((t['mib'] for t in self.told), default=0))
        failed = [c for c in self.cases if c['came'] == 'fault']
        cases = dict(tried=len(self.cases), survived=len(self.cases) - len(failed))
        out = dict(parameters=dataclasses.asdict(self.cfg), total=total, readers=rows, faults=faults, cases=cases,
                   failed=failed)
        write_json(self.out/'fuzz.json', out)
        return out

def tell(summary):
    "The summary as text"
    line = '{:<22}{:>8}{:>9}{:>8}{:>9}{:>11}{:>8}'
    out = [line.format('reader', 'tried', 'handled', 'right', 'refused', 'slowest, s', 'MiB')]
    out += [line.format(k, *(r[c] for c in ('tried', 'handled', 'right', 'refused')), f"{r['slowest']:.2f}", r['mib'])
            for k,r in summary['readers'].items()]
    t = summary['total']
    pace = f"{t['seconds']:.0f} s ({t['tried']/max(t['seconds'], 1e-9):.1f}/s)"
    out.append(f"{t['handled']:,} of {t['tried']:,} inputs handled in {pace}; "
               f"slowest {t['slowest']:.2f} s, largest {t['mib']} MiB")
    out.append(f"{summary['cases']['survived']} of {summary['cases']['tried']} inputs made on purpose came out right")
    for c in summary['failed']: out.append(f"FAULT {c['case']} [{c['where']}] {' '.join(c['what'].split())}")
    for f in summary['faults']:
        out.append(f"FAULT {f['times']} x {f['reader']} [{f['where']}] {' '.join(f['what'].split())}")
        out.append(f"    again: make fuzz ARGS='--replay {summary['parameters']['out']}/{f['name']}'")
    return '\n'.join(out)

def replay(folder):
    "Read one kept input again, with all that is printed; -> what came"
    kept = json.loads((Path(folder)/'fault.json').read_text())
    with tempfile.TemporaryDirectory(prefix='fuzz-') as scratch:
        scratch = Path(scratch)
        os.environ['FUZZ_LOUD'] = '1'
        watch = Watch(Seeds(scratch/'seeds').make(), scratch/'scratch', scratch/'out', 0)
        watch.start()
        shutil.copytree(Path(folder)/'input', scratch/'case', symlinks=True)
        told = next(watch.ask(dict(reader=kept['reader'], replay=str(scratch/'case'))))
        watch.stop()
    return told

def main():
    "The command line"
    parser = argparse.ArgumentParser(prog='make fuzz', description=Fuzzing.__doc__)
    for f in dataclasses.fields(Fuzzing): parser.add_argument(f'--{f.name}', type=f.type, default=f.default)
    parser.add_argument('--only', default='', help='readers, with commas between them')
    parser.add_argument('--rounds', type=int, default=0, help='rounds of every reader, instead of minutes')
    parser.add_argument('--replay', default='', help='folder of an input that failed')
    given = vars(parser.parse_args())
    only,rounds,again = (given.pop(k) for k in ('only', 'rounds', 'replay'))
    if again:
        told = replay(again)
        print(json.dumps(told, indent=1))
        return told['came'] == 'fault'
    summary = Fuzz(Fuzzing(**given), [r for r in only.split(',') if r]).run(rounds)
    print(tell(summary))
    return bool(summary['faults'] or summary['failed'])
