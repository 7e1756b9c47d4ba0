"A process that reads one input after the other and judges what came: `python -m fuzz.worker SEEDS SCRATCH OUT SEED`"
import contextlib, hashlib, io, json, os, random, resource, shutil, sys, time, traceback, warnings
from pathlib import Path
from hypothesis import HealthCheck, Phase, given, seed, settings
import ms2d
from ms2d import page, retrieval # all that readers import, before memory is measured
from .accidents import mutated
from .cases import CASES
from .readers import Readers, Wrong, targets

SECONDS = 10 # that reading may take
MEMORY = 1024 # MiB more than before that it may take
BEYOND = 6000 # MiB more than at the start: the process gets no more
HOME = str(Path(ms2d.__file__).parent) + os.sep

class Fault(Exception):
    "Stops hypothesis, which then looks for a smaller input of the same fault"

def memory(key):
    "MiB of this process, as Linux counts them; 0 elsewhere"
    status = Path('/proc/self/status')
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(l.split()[1])/1024 for l in lines if l.startswith(key)), 0)

def forget_peak():
    with contextlib.suppress(OSError): Path('/proc/self/clear_refs').write_text('5')

def refusal(e, names):
    "What is wrong with an error that a reader raised; '': nothing"
    last = traceback.extract_tb(e.__traceback__)[-1]
    if type(e) not in (ValueError, FileNotFoundError): return f'{type(e).__name__} instead of one of our errors'
    if not last.filename.startswith(HOME): return f'{type(e).__name__} from inside a library'
    return '' if any(n in str(e) for n in names) else 'an error that names neither file nor parameter'

def place(e):
    "The function of ms2d, and of the library, that an error came from"
    frames = traceback.extract_tb(e.__traceback__)
    ours = [f for f in frames if f.filename.startswith(HOME)]
    mine = f'{Path(ours[-1].filename).name}:{ours[-1].name}' if ours else 'no function of ms2d'
    last = frames[-1]
    return mine if ours and last is ours[-1] else f"{mine} <- {'/'.join(Path(last.filename).parts[-2:])}:{last.name}"

class Worker:
    "Writes inputs into `scratch`, reads and judges them, keeps those that failed in `out`"
    def __init__(self, seeds, scratch, out, number):
        self.readers = Readers(seeds)
        self.targets = targets(self.readers)
        self.share = 1.
        self.scratch = Path(scratch)
        self.out = Path(out)
        self.number = number
        self.known = {}
        self.tell = None # where to say what came
        self.load(seeds)
        for name,t in self.targets.items():
            if t.seeds: self.good(name)

    def load(self, seeds):
        "The good inputs, in memory: reader -> [{name: bytes}, ...]"
        self.inputs = {}
        for name in {t.seeds for t in self.targets.values()} - {''}:
            variants = sorted((Path(seeds)/name).iterdir())
            self.inputs[name] = [{str(p.relative_to(v)): p.read_bytes() for p in sorted(v.rglob('*')) if p.is_file()}
                                 for v in variants]

    def good(self, name):
        "The inputs that nothing happened to are read well"
        for files in self.inputs[self.targets[name].seeds]:
            told = self.read(name, self.write(files))
            if told['came'] != 'right': raise SystemExit(f"{name}: the good input is not read: {told}")

    def write(self, files):
        "A folder with these files"
        shutil.rmtree(self.scratch, ignore_errors=True)
        (self.scratch/'tmp').mkdir(parents=True)
        case = self.scratch/'case'
        for name,data in files.items():
            path = case/name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return case

    def read(self, name, case, says=None):
        "Read an input; -> what came: right, refused or fault, with seconds and MiB"
        before = {str(p.relative_to(case)) for p in case.rglob('*')}
        names = {str(case), *(Path(n).name for n in before)}
        if name in ('config', 'parameters'): names |= {f for b in self.readers.books.values()
                                                       for f in b.__dataclass_fields__}
        forget_peak()
        held = memory('VmRSS')
        began = time.monotonic()
        told = dict(came='right', what='', where='')
        if self.tell: self.say(dict(made=name))
        try:
            with contextlib.redirect_stdout(io.StringIO()): self.targets[name].read(case, says)
        except Wrong as e: told = dict(came='fault', what=f'wrong: {e}'[:300], where=name)
        except BaseException as e:
            if isinstance(e, KeyboardInterrupt): raise
            flaw = refusal(e, names)
            told = dict(came='fault' if flaw else 'refused', what=f'{flaw}: {e}'[:300] if flaw else str(e)[:300],
                        where=place(e), type=type(e).__name__)
        told |= dict(s=round(time.monotonic() - began, 3), mib=max(0, round(memory('VmHWM') - held)))
        left = {str(p.relative_to(case)) for p in case.rglob('*')} - before | {p.name
            for p in (self.scratch/'tmp').iterdir()}
        for over,why in ((told['s'] > SECONDS, 'slow'), (told['mib'] > MEMORY, 'large'),
                         (left, f'left behind: {sorted(left)}')):
            if over: told |= dict(came='fault', what=f"{why}; {told['what']}")
        return told

    def judge(self, name, number, case, says=None):
        "Read an input, say what came, keep it if it failed; -> is this fault new?"
        told = dict(reader=name, round=number, **self.read(name, case, says))
        told['bytes'] = sum(p.stat().st_size for p in case.rglob('*') if p.is_file())
        fault = told['came'] == 'fault'
        if fault: told['name'] = self.keep(told, case)
        self.say(told)
        return fault and told['bytes'] < self.known.get(told['name'], 1e12)

    def keep(self, told, case):
        "The smallest input of each fault, with what came of it"
        kind = ' '.join([*told['what'].split(':')[:2 if told['what'].startswith('wrong') else 1], told['where']])
        name = f"{told['reader'].replace(', ', '-')}-{hashlib.blake2b(kind.encode(), digest_size=4).hexdigest()}"
        kept = self.out/name
        have = json.loads((kept/'fault.json').read_text())['bytes'] if (kept/'fault.json').exists() else 1e12
        if told['bytes'] < have:
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(case, kept/'input', symlinks=True)
            (kept/'fault.json').write_text(json.dumps(told | dict(name=name), indent=1))
        return name

    def say(self, told): print(json.dumps(told), file=self.tell, flush=True)

    def case(self, name):
        "A case has one right outcome"
        want = CASES[name].want
        folder = self.write({})
        folder.mkdir()
        CASES[name].make(folder)
        told = dict(reader=CASES[name].reader, case=name, **self.read(CASES[name].reader, folder))
        if want not in (told['came'], 'either') and told['came'] != 'fault': told |= dict(came='fault',
            what=f"wrong: {told['came']}, {want} is right; {told['what']}")
        ran = Path('ran')
        if ran.exists():
            ran.rmdir()
            told |= dict(came='fault', what='code of a file ran')
        self.say(told)
        self.say(dict(done=name))

    def size(self, target): return max(1, round(self.share*target.size))

    def accidents(self, name, number):
        "A round of inputs that something happened to"
        t = self.targets[name]
        rng = random.Random(f'{self.number}/{name}/{number}')
        variants = self.inputs[t.seeds]
        for i in range(self.size(t)):
            files = dict(variants[(number + i) % len(variants)])
            hit = rng.choice([f for f in files if not t.files or f in t.files])
            self.judge(name, number, self.write(files | {hit: mutated(rng, files[hit])}))

    def objects(self, name, number):
        "A round of inputs that hypothesis draws; what fails is made smaller"
        t = self.targets[name]
        about = settings(max_examples=self.size(t), database=None, deadline=None,
                         suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
            phases=[Phase.generate, Phase.shrink])
        @seed(int.from_bytes(hashlib.blake2b(f'{self.number}/{name}/{number}'.encode(), digest_size=6).digest()))
        @about
        @given(t.draws)
        def attempt(x):
            if self.judge(name, number, self.write(x.files), x.says): raise Fault
        with contextlib.suppress(Exception): attempt()                            # what failed is kept already
        self.known |= {p.parent.name: json.loads(p.read_text())['bytes'] for p in self.out.glob('*/fault.json')}

    def round(self, name, number):
        "Accidents and objects in turn, where there are both"
        t = self.targets[name]
        if t.draws is not None and (number % 2 or not t.seeds): self.objects(name, number)
        else: self.accidents(name, number)
        self.say(dict(done=name))

def main(seeds, scratch, out, number):
    "Rounds, as they are asked for on the standard input"
    warnings.filterwarnings('ignore')
    tell = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    worker = Worker(seeds, scratch, out, int(number))
    if not os.environ.get('FUZZ_LOUD'):
        quiet = os.open(os.devnull, os.O_WRONLY)                                 # FFmpeg and HDF5 print, too
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
    worker.tell = tell
    limit = int((memory('VmSize') + BEYOND)*2**20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    worker.say(dict(ready=list(worker.targets)))
    for line in sys.stdin:
        asked = json.loads(line)
        if 'case' in asked: worker.case(asked['case'])
        elif 'replay' in asked: worker.judge(asked['reader'], 0, Path(asked['replay']))
        else:
            worker.share = asked.get('share', 1.)
            worker.round(asked['reader'], asked['round'])

if __name__ == '__main__': main(*sys.argv[1:])
