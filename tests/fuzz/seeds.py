"Good inputs of every reader, tiny, in every layout: folder/READER/VARIANT/..."
import json, shutil
from pathlib import Path
import h5py, numpy as np
from ms2d.dataset import DATASETS
from ms2d.config import Config
from ms2d.training import train
from ms2d.world import make_world

WORDS = 'a man opens the door and puts dog cat box red star'.split()
SPLITS = ('train', 'val', 'test')
FILMS = {'a.mp4': ('libx264', 'yuv420p', 8), 'b.mkv': ('ffv1', 'bgr0', 8), 'c.avi': ('mpeg4', 'yuv420p', 25),
         'd.webm': ('libvpx-vp9', 'yuv420p', 8), 'e.gif': ('gif', 'rgb8', 10), 'f.ts': ('mpeg2video', 'yuv420p', 25)}
WORLD = dict(seed=0, sizes=(8, 2, 4), steps=2, dim=16)

class Seeds:
    "Writes them"
    def __init__(self, folder):
        self.folder = Path(folder)
        self.rng = np.random.default_rng(0)

    def at(self, reader, variant='a'):
        "The folder of one input"
        path = self.folder/reader/variant
        path.mkdir(parents=True)
        return path

    def sentence(self): return ' '.join(self.rng.choice(WORDS, 5))

    def make(self):
        "All of them; -> the folder"
        self.charades()
        self.captions()
        self.lines()
        self.rows()
        self.vectors()
        self.films()
        self.trained()
        (self.at('queries')/'q.txt').write_text('\n'.join(self.sentence() for _ in range(5)))
        return self.folder

    def charades(self):
        folder = self.at('charades_sta')
        for split in ('train', 'test'):
            ids = [f'{split[:2].upper()}X{i:02d}' for i in range(6)]
            table = [f'{v},S{i},"Kitchen, big",5,{20 + 1.5*i}\n' for i,v in enumerate(ids)]
            (folder/f'Charades_v1_{split}.csv').write_text('id,subject,scene,quality,length\n' + ''.join(table))
            lines = [f'{v} {.5*i:.1f} {.5*i + 5:.1f}##{self.sentence()}.\n' for i,v in enumerate(2*ids)]
            (folder/f'charades_sta_{split}.txt').write_text(''.join(lines))

    def captions(self):
        for reader in ('activitynet_captions', 'tacos'):
            folder = self.at(reader)
            for k,split in enumerate(SPLITS):
                videos = {}
                for i in range(3):
                    times = [[10*j, 10*j + 9.5] for j in range(3)]
                    length = dict(duration=40.5 + i)
                    if reader == 'tacos': length = dict(num_frames=1200 + 10*i, fps=29.4)
                    name = f's{k}{i}-d21.avi' if reader == 'tacos' else f'v_{split}{i}'
                    videos[name] = dict(**length, timestamps=times, sentences=[self.sentence() for _ in times])
                (folder/f'{split}.json').write_text(json.dumps(videos))

    def lines(self):
        kinds = {'jsonl': '{}.jsonl', 'qvhighlights': 'highlight_{}_release.jsonl'}
        for reader,name in kinds.items():
            if reader not in DATASETS: continue
            folder = self.at(reader)
            for k,split in enumerate(SPLITS):
                rows = [self.line(reader, k, split, i) for i in range(12)]
                (folder/name.format(split)).write_text(''.join(json.dumps(r) + '\n' for r in rows))

    def line(self, reader, k, split, i):
        row = dict(qid=100*k + i, vid=f'{split}{i % 4}', query=self.sentence(), duration=30)
        if reader == 'qvhighlights':
            scores = [[1, 2, 3]]*3
            return row | dict(relevant_windows=[[2, 8]], relevant_clip_ids=[1, 2, 3], saliency_scores=scores)
        if i % 3 == 1: return row | dict(relevant_windows=[[2, 8], [10, 20]])
        return row | dict(start=1.5, end=9.) if i % 3 == 0 or split == 'test' else row

    def rows(self):
        arrays = {f'v{i}': self.rng.standard_normal((n, 16)).astype(np.float16) for i,n in enumerate((20, 33, 41, 7))}
        with h5py.File(self.at('features', 'flat')/'f.hdf5', 'w') as f:
            f.attrs.update(encoder='world', checksum='abc', frames_per_second=4., window=4, stride=2,
                           rows_per_second=2.)
            for name,x in arrays.items(): f.create_dataset(name, data=x).attrs['seconds'] = len(x)/2
        with h5py.File(self.at('features', 'nested')/'f.hdf5', 'w') as f:
            for name,x in arrays.items():
                data = f.create_group(name).create_dataset('c3d', data=(20*x).astype('i1'), compression='gzip',
                                                           chunks=(4, 16))
                data.attrs['scale'] = .05
        folders = {k: self.at('features', k)/'d' for k in ('npy', 'npz', 'h5')}
        for folder in folders.values(): folder.mkdir()
        for name,x in arrays.items():
            np.save(folders['npy']/f'{name}.npy', x)
            np.savez_compressed(folders['npz']/f'{name}.npz', features=x)
            with h5py.File(folders['h5']/f'{name}.h5', 'w') as f: f['features'] = x

    def vectors(self):
        x = self.rng.standard_normal((len(WORDS), 8)).astype(np.float32)
        head = f'{len(WORDS)} 8\n'
        text = ''.join(f"{w} {' '.join(f'{v:.4f}' for v in row)}\n" for w,row in zip(WORDS, x))
        raw = b''.join(w.encode() + b' ' + row.tobytes() + b'\n' for w,row in zip(WORDS, x))
        (self.at('vectors', 'text')/'v.txt').write_text(text)
        (self.at('vectors', 'header')/'v.vec').write_text(head + text)
        (self.at('vectors', 'binary')/'v.bin').write_bytes(head.encode() + raw)
        np.savez_compressed(self.at('vectors', 'npz')/'v.npz', words=np.array(WORDS), vectors=x)

    def films(self):
        for name,how in FILMS.items(): self.film(self.at('video', name[-3:].strip('.'))/name, *how)

    def film(self, path, codec, pixels, rate, frames=16):
        import av
        with av.open(str(path), 'w') as out:
            stream = out.add_stream(codec, rate=rate)
            stream.height = 48
            stream.width = 64
            stream.pix_fmt = pixels
            for i in range(frames):
                x = self.rng.integers(0, 32, (48, 64, 3)).astype(np.uint8) + np.uint8(10*i)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(x, format='rgb24').reformat(format=pixels)))
            out.mux(stream.encode(None))

    def trained(self):
        "A world, a run on it, its configuration and answers"
        world = make_world(self.at('world'), **WORLD, progress=False, workers=1, mp4=1)
        data = dict(dataset='activitynet_captions', annotations=str(world), features=str(world/'features.hdf5'))
        small = dict(clips=16, dim=16, align_dim=16, heads=2, components=8, updates=2, epochs=2, batch_size=8)
        run = self.folder/'run'
        train(Config(**data, **small, accelerator='cpu', out=str(run)))
        (self.at('config')/'config.json').write_text((run/'config.json').read_text())
        shutil.copytree(run, self.folder/'checkpoint'/'a', ignore=shutil.ignore_patterns('previous*', 'metrics*'))
        shutil.copytree(run, self.folder/'resume'/'a', ignore=shutil.ignore_patterns('metrics*'))
        self.predictions(json.loads((world/'test.json').read_text()))

    def predictions(self, videos):
        n = 0
        with (self.at('predictions')/'p.jsonl').open('w') as f:
            for vid,v in videos.items():
                for query in v['sentences']:
                    n += 1
                    spans = np.sort(self.rng.uniform(0, v['duration'], (5, 2)), 1)
                    rows = np.c_[spans, np.sort(self.rng.random(5))[::-1]].tolist()
                    f.write(json.dumps(dict(qid=f'test_{n}', query=query, vid=vid, pred_relevant_windows=rows)) + '\n')
