"What is done with an input, as the workbooks do it, and what must be true of what was read"
import dataclasses, json
from math import inf, isfinite, isnan
from pathlib import Path
import numpy as np, torch
from . import objects
from .seeds import WORDS, WORLD

class Wrong(Exception):
    "What was read is not right"

def need(true, what):
    if not true: raise Wrong(what)

def only(folder): return next(p for p in sorted(folder.iterdir()) if not p.name.startswith('out'))

class Readers:
    "The readers, and what the good inputs in `seeds` hold"
    def __init__(self, seeds):
        self.seeds = Path(seeds)
        self.world = self.seeds/'world'/'a'
        self.kept = {}

    def good(self, what, read):
        "What `read` makes of the good input, once"
        if what not in self.kept: self.kept[what] = read()
        return self.kept[what]

    # annotations
    def annotations(self, dataset, folder, says):
        from ms2d.dataset import read_annotations, summary
        from ms2d.inspection import inspect_annotations
        ann = read_annotations(dataset, folder)
        for samples in ann.values():
            for s in samples: self.sample(s)
        if says: need({k: [*map(self.plain, v)] for k,v in ann.items()} == {k: [*map(self.rounded, v)] for k,
            v in says.items()}, 'other samples')
        inspect_annotations(ann, dataset)
        summary(ann)

    def sample(self, s):
        timed = 0 <= s.start < s.end <= s.duration
        need(isfinite(s.duration) and s.duration > 0, f'duration {s.duration}')
        need(timed or isnan(s.start) and isnan(s.end), f'moment {s.start} to {s.end} of {s.duration} s')
        need(isinstance(s.query, str) and s.query.strip(), f'sentence {s.query!r}')
        need(isinstance(s.vid, str) and s.vid, f'video {s.vid!r}')
        json.dumps([s.query, s.vid, s.qid], ensure_ascii=False).encode()

    def plain(self, s): return self.rounded((s.vid, s.query, s.duration, s.start, s.end))
    def rounded(self, row): return (row[0], row[1].strip(), *(round(t, 6) for t in row[2:]))

    # features
    def features(self, folder, says):
        from ms2d.features import describe, open_features, same_encoder
        store = open_features(only(folder))
        for name in store.ids:
            x = store.rows(name)
            need(x.dtype == np.float32 and x.ndim == 2 and np.isfinite(x).all(), f'{name}: {x.dtype} {x.shape}')
            need(0 <= store.rate(name) < inf, f'{name}: rate {store.rate(name)}')
            need(0 <= store.seconds(name) < inf, f'{name}: seconds {store.seconds(name)}')
            if says: need(np.array_equal(x, says[name]), f'{name}: other rows')
        facts = store.facts
        if facts: describe(facts)
        same_encoder(facts, dict(encoder='x', checksum='x', frames_per_second=4., window=4, stride=2)
                     if not facts else facts, 'x')

    def survey(self, folder, says):
        "nbs/data.ipynb's way: it names what is broken and goes on"
        from ms2d.inspection import inspect_features, survey, tell
        store, seen, broken = survey(only(folder))
        need(set(seen) | {n for names in broken.values() for n in names} == set(store.ids),
             'a video is neither seen nor broken')
        if says: need(set(seen) == set(says), 'a good video is called broken')
        tell(inspect_features(store, seen, broken, {v: 30. for v in store.ids}))

    # vectors
    def vectors(self, folder, says):
        from ms2d.words import load_vectors
        found = load_vectors(only(folder), [' '.join(WORDS)], 8)
        x = np.stack([found[w] for w in WORDS if w in found])
        need(np.isfinite(x).all() and x.shape[1] == 8, f'vectors {x.shape}')
        if says: need(all(np.allclose(found[w], v, atol=1e-5) for w,v in says.items()), 'other vectors')

    # predictions
    @property
    def samples(self):
        from ms2d.dataset import read_annotations
        return self.good('samples', lambda: read_annotations('activitynet_captions', self.world)['test'])

    def predictions(self, flaws, folder, says):
        from ms2d.protocols import evaluate_all
        from ms2d.predictions import read_predictions
        answers, notes = read_predictions(only(folder), self.samples, flaws)
        for windows in answers.values(): need(np.isfinite(windows).all(), 'a window is not finite')
        if says: need({q: np.round(w, 9).tolist() for q,
                       w in answers.items() if len(w)} == {q: np.round(w, 9).tolist() for q,w in says.items() if w},
                       'other answers')
        scores = [x for row in evaluate_all(answers, self.samples).values() for x in row.values() if isinstance(x, float)]
        need(all(0 <= x <= 100.0001 for x in scores), f'a metric outside 0..100: {scores}')

    # parameters
    def config(self, folder, says):
        "python -m ms2d.training --config FILE, without the training"
        import ms2d.training as training
        keep = training.train_parts
        training.train_parts = lambda cfg: cfg.resolved().parts()
        try: cfg = training.main(['--config', str(only(folder))])
        finally: training.train_parts = keep
        self.finite(cfg)

    def finite(self, cfg):
        for name,value in dataclasses.asdict(cfg).items():
            need(not isinstance(value, float) or isfinite(value), f'{name}={value} is accepted')
            need(type(value) is not int or abs(value) < 2**63, f'{name}={value} is accepted')

    def workbook(self, folder, says):
        "The first cell of any workbook"
        kind, given = json.loads(only(folder).read_text())
        self.finite(self.books[kind].from_namespace(given))

    @property
    def books(self):
        from ms2d import comparison, config, extraction, inspection, moments, page, predictions, speed
        return dict(train=config.Config, ablation=comparison.Ablation, extract=extraction.Extraction,
                    pixels=extraction.Pixels,
            data=inspection.Inspection, retrieve=moments.Retrieval, app=page.App, evaluate=predictions.Evaluation,
            benchmark=speed.Benchmark)

    def queries(self, folder, says):
        from ms2d.moments import Retrieval
        found = Retrieval(video='x', queries=str(only(folder))).sentences()
        need(found and all(isinstance(q, str) and q.strip() for q in found), f'sentences {found}')
        if says: need(found == says, f'other sentences: {found}')

    # checkpoints
    def answers(self, folder):
        from ms2d.retrieval import Retriever
        trained = Retriever(folder, features=self.world/'features.hdf5')
        return [trained.search(vid, 'the red star spins').values.tolist() for vid in ('test0000', 'test0002')]

    def checkpoint(self, folder, says):
        "The same answers, to the last bit, or none"
        want = self.good('answers', lambda: self.answers(self.seeds/'checkpoint'/'a'))
        need(self.answers(folder) == want, 'other answers')

    def weights(self, folder):
        from ms2d.config import Config
        from ms2d.checkpoint import check_resume, newest
        path, state = newest(folder)
        check_resume(Config(**state['ms2d']['config']), path, state, {})
        return state['epoch'], torch.cat([v.double().flatten() for v in state['state_dict'].values()]).tolist()

    def resume(self, folder, says):
        "The state of the last epoch, or of the one before, or an error"
        good = self.seeds/'resume'/'a'
        last = self.good('last', lambda: self.weights(good))
        found = self.weights(folder)
        need(found[0] < last[0] or found == last, 'other weights')

    # the embedded world
    def network(self, folder):
        from ms2d.world import World
        return torch.cat([v.double().flatten() for v in World(folder).net().state_dict().values()])

    def made(self, folder, says):
        "A damaged world is made anew, or refused by whoever reads it as it is"
        from ms2d.world import fingerprint, is_made
        want = dict(WORLD, sizes=list(WORLD['sizes']), fingerprint=fingerprint())
        whole = is_made(folder, want)
        same = all(p.read_bytes() == (self.world/p.relative_to(folder)).read_bytes() for p in folder.rglob('*.*')
                   if p.suffix in ('.hdf5', '.npz'))
        need(same or not whole, 'a damaged world is taken for a whole one')
        if (folder/'world.json').exists(): need(torch.equal(self.network(folder),
                                                            self.good('network', lambda: self.network(self.world))),
                                                            'another network')

    # videos
    def video(self, folder, says):
        from ms2d.moments import film_strip
        from ms2d.video import Video
        video = Video(only(folder))
        n = 0
        for f in video.frames(4, 96):
            n += 1
            need(f.dtype == np.uint8 and f.ndim == 3, f'a frame of {f.dtype} {f.shape}')
        need(0 < video.seconds < 1e6, f'{video.seconds} s')
        need(n <= 4*video.seconds + 2, f'{n} frames of {video.seconds} s at 4 a second')
        film_strip(Video(video.path), video.seconds)

    def cut(self, folder, says):
        from ms2d.moments import cut
        from ms2d.video import Video
        spans = [(.2, .9), (0, 2)]
        clips = [folder/f'out{k}.mp4' for k in range(len(spans))]
        counts = cut(Video(only(folder)), spans, clips, 96)
        for n,path in zip(counts, clips):
            need(sum(1 for _ in Video(path).shown()) == n, f'{path.name} has other frames than the {n} that were cut')
            path.unlink()

@dataclasses.dataclass
class Target:
    "One reader: its seeds, what reads, how many inputs in a round, what hypothesis draws"
    seeds: str
    read: object # (folder, says)
    size: int = 25
    draws: object = None
    files: tuple = () # names of the files that accidents happen to; (): any

def targets(readers):
    "All of them, by name"
    from functools import partial
    from ms2d.dataset import DATASETS
    draws = dict(charades_sta=objects.charades_files(), activitynet_captions=objects.caption_files(),
                 tacos=objects.caption_files(fps=32.), jsonl=objects.line_files(),
        qvhighlights=objects.line_files('highlight_{}_release.jsonl', windows=True))
    out = {k: Target(k, partial(readers.annotations, k), draws=d) for k,d in draws.items() if k in DATASETS}
    out |= dict(features=Target('features', readers.features, draws=objects.feature_files()),
                survey=Target('features', readers.survey, draws=objects.feature_files()),
        vectors=Target('vectors', readers.vectors, draws=objects.vector_files()))
    answers = objects.prediction_files(readers.samples)
    for flaws in ('error', 'miss'): out[f'predictions, {flaws}'] = Target('predictions',
        partial(readers.predictions, flaws), draws=answers)
    good = json.loads((readers.seeds/'config'/'a'/'config.json').read_text())
    out |= dict(config=Target('config', readers.config, draws=objects.config_files(good)),
                parameters=Target('', readers.workbook, draws=objects.workbooks(readers.books)),
        queries=Target('queries', readers.queries, draws=objects.query_files()),
        checkpoint=Target('checkpoint', readers.checkpoint, 15),
        resume=Target('resume', readers.resume, 15),
        world=Target('world', readers.made, 10, files=('world.json', 'cnn.npz', 'features.hdf5')),
        video=Target('video', readers.video, 8), cut=Target('video', readers.cut, 5))
    return out
