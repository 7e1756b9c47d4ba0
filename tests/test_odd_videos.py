"Damaged and odd files: each is read, with the right number of frames, or refused with a sentence; none stops a batch"
import os, tempfile
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
import av, numpy as np
import pytest
from ms2d.dataset import open_features
from ms2d.extraction import SUFFIXES, Extraction, extract, extract_video
from ms2d.video import Video

def picture(size, i):
    x = np.zeros((*size, 3), np.uint8)
    x[...] = 40*i % 256
    return av.VideoFrame.from_ndarray(x, format='rgb24')

def film(path, codec='libx264', pix_fmt='yuv420p', size=(48, 64), ms=(0, 250, 500, 750, 1000, 1250, 1500, 1750), turn=0, start=0, **options):
    "Eight pictures in 2 s, unless others are asked for; the file is `path`"
    with av.open(str(path), 'w') as out:
        s = out.add_stream(codec, rate=4, options={'bf': '0', 'g': '4', **options} if codec=='libx264' else options)
        (s.height, s.width), s.pix_fmt = size, pix_fmt
        base = Fraction(1, 25) if codec.startswith(('mpeg', 'mjpeg')) else Fraction(1, 1000)     # they know few rates
        s.codec_context.time_base = base
        if turn: s.set_display_rotation(turn)
        for i,t in enumerate(ms):
            f = picture(size, i).reformat(format=pix_fmt)
            f.pts,f.time_base = round((t + start)/1000/base), base
            out.mux(s.encode(f))
        out.mux(s.encode(None))
    return path

def sound(path):
    with av.open(str(path), 'w') as out:
        s = out.add_stream('aac', rate=16000)
        f = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format='fltp', layout='mono')
        f.rate = 16000
        out.mux(s.encode(f)); out.mux(s.encode(None))
    return path

EVEN = range(0, 2000, 40)                                                          # for containers without stamps of their own

def half(path, source, share=.6):
    data = source.read_bytes()
    path.write_bytes(data[:int(len(data)*share)])
    return path

def dented(path, source):
    data = bytearray(source.read_bytes())
    data[len(data)//2:len(data)//2 + 40] = np.random.default_rng(0).bytes(40)
    path.write_bytes(data)
    return path

# name -> how to make it, with a folder d for what is needed on the way
READ = {
    'good.mp4': lambda p,d: film(p), 'wrong_suffix.avi': lambda p,d: film(d/'x.mp4').rename(p), 'no_suffix': lambda p,d: film(d/'x.mp4').rename(p),
    'matroska.mkv': lambda p,d: film(p), 'vp9.webm': lambda p,d: film(p, 'libvpx-vp9'), 'mpeg2.mpg': lambda p,d: film(p, 'mpeg2video', ms=EVEN), 'divx.avi': lambda p,d: film(p, 'mpeg4', ms=EVEN),
    'stream.ts': lambda p,d: film(p), 'ten_bits.mp4': lambda p,d: film(p, pix_fmt='yuv420p10le'), 'full_colour.mp4': lambda p,d: film(p, pix_fmt='yuv444p'),
    'grey.mkv': lambda p,d: film(p, 'ffv1', 'gray'), 'transparent.mov': lambda p,d: film(p, 'png', 'rgba'), 'odd_size.mkv': lambda p,d: film(p, 'ffv1', 'bgr0', (13, 7)),
    'one_pixel.mkv': lambda p,d: film(p, 'ffv1', 'bgr0', (1, 1)), 'one_line.mkv': lambda p,d: film(p, 'ffv1', 'bgr0', (1, 2000)), 'turned.mp4': lambda p,d: film(p, turn=90),
    'uneven.mp4': lambda p,d: film(p, ms=(0, 30, 900, 910, 1750)), 'late.ts': lambda p,d: film(p, start=5_000_000), 'animated.gif': lambda p,d: film(p, 'gif', 'rgb8'),
    'ä b:c%d #?.mp4': lambda p,d: film(d/'x.mp4').rename(p)}
ALMOST = { # frames at 4 a second lie between
    'one_frame.mp4': ((1, 1), lambda p,d: film(p, ms=(0,))), 'picture.png': ((1, 1), lambda p,d: film(p, 'png', 'rgb24', ms=(0,), update='1')),
    'eight_k.mkv': ((1, 1), lambda p,d: film(p, 'mjpeg', 'yuvj420p', (4320, 7680), (0,))),
    'torn.mkv': ((2, 7), lambda p,d: half(p, film(d/'x.mkv', 'ffv1', 'bgr0'))), 'torn.ts': ((2, 8), lambda p,d: half(p, film(d/'x.ts'))),
    'dented.mkv': ((1, 9), lambda p,d: dented(p, film(d/'x.mkv', 'ffv1', 'bgr0'))), 'no_stamps.h264': ((1, 8), lambda p,d: film(p)),
    'glued.ts': ((15, 17), lambda p,d: p.write_bytes(film(d/'x.ts').read_bytes()*2)),
    'two_sizes.ts': ((15, 17), lambda p,d: p.write_bytes(film(d/'x.ts').read_bytes() + film(d/'y.ts', size=(96, 96)).read_bytes()))}
REFUSED = {
    'torn.mp4': ('truncated', lambda p,d: half(p, film(d/'x.mp4'))), 'header.mkv': ('cannot be read as a video', lambda p,d: half(p, film(d/'x.mkv'), .2)),
    'empty.mp4': ('0 bytes', lambda p,d: p.touch()), 'letter.mp4': ('cannot be read as a video', lambda p,d: p.write_text('Dear Sir,\n'*50)),
    'noise.mkv': ('cannot be read as a video', lambda p,d: p.write_bytes(np.random.default_rng(0).bytes(5000))), 'sound.m4a': ('has no video, only audio', lambda p,d: sound(p)),
    'sound.mp4': ('has no video, only audio', lambda p,d: sound(p)), 'folder.mp4': ('is a folder', lambda p,d: p.mkdir()), 'broken_link.mp4': ('does not exist', lambda p,d: p.symlink_to('gone.mp4')),
    'gap.ts': ('time stamps jump', lambda p,d: film(p, ms=(0, 250, 3_000_000))),
    'playlist.mp4': ('cannot be read as a video', lambda p,d: p.write_text(f"#EXTM3U\n#EXTINF:2,\n{film(d/'x.mp4')}\n#EXT-X-ENDLIST\n"))}

def made(name, make, folder):
    (folder/'aside').mkdir()
    make(folder/name, folder/'aside')
    return folder/name

@pytest.mark.parametrize('name', READ)
def test_odd_but_good(name, tmp_path):
    video = Video(made(name, READ[name], tmp_path))
    frames = list(video.frames(4, most=64))
    assert abs(len(frames) - 8)<=(1 if name in ('uneven.mp4', 'animated.gif') else 0) and abs(video.seconds - 2)<.3
    assert len({f.shape for f in frames})==1 and frames[0].dtype==np.uint8

@pytest.mark.parametrize('name', ALMOST)
def test_damaged_or_extreme(name, tmp_path):
    (least,most),make = ALMOST[name]
    frames = list(Video(made(name, make, tmp_path)).frames(4, most=64))
    assert least<=len(frames)<=most and len({f.shape for f in frames})==1 and min(frames[0].shape[:2])<=64

def colours(frames): return frames.mean((1, 2))

@pytest.mark.parametrize('name', REFUSED)
def test_refused_with_a_sentence(name, tmp_path):
    message,make = REFUSED[name]
    path = made(name, make, tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as e: list(Video(path).frames(4, most=64))
    assert name in str(e.value)
    ended = extract_video(str(path), (f'python:{__name__}.colours', 4., 1, 1, False), str(tmp_path/'x.h5'))
    assert ended.status=='failed' and message in ended.last

@contextmanager
def somebody():
    "Not the administrator, who may read everything"
    me = os.geteuid()
    if me==0: os.seteuid(65534)
    try: yield
    finally: os.seteuid(me)

def test_no_permission():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = film(Path(folder)/'secret.mp4')
        path.chmod(0)
        with somebody(), pytest.raises(ValueError, match='secret.mp4: this user may not read it'): list(Video(path).frames(4))
        with somebody(): ended = extract_video(str(path), (colours, 4., 1, 1, False), str(Path(folder)/'x.h5'))
        assert ended.status=='failed' and 'this user may not read it' in ended.last

def test_all_in_one_batch(tmp_path, monkeypatch):
    "Every file above in one folder: what can be read is, what cannot is listed, and the batch goes on to its end"
    monkeypatch.setenv('PYTHONPATH', str(Path(__file__).parent))
    (tmp_path/'all').mkdir()
    makers = {**READ, **{k: m for k,(_,m) in ALMOST.items()}, **{k: m for k,(_,m) in REFUSED.items()}}
    for i,(name,make) in enumerate(makers.items()):
        (tmp_path/f'{i}').mkdir()
        # names in the features are stems: two files of one stem would be refused
        made(name, make, tmp_path/f'{i}').rename(tmp_path/'all'/f'{i}_{name}')
    ended = extract(Extraction(videos=str(tmp_path/'all'), encoder=f'python:{__name__}.colours', rate=4., window=1, features=str(tmp_path/'f.hdf5'), workers=1), lambda line: None)
    by = {f'{i}_{Path(name).stem}': name for i,name in enumerate(makers)}
    taken = {k for k,name in by.items() if Path(name).suffix[1:] in SUFFIXES}                # a picture, a sound file and what has no suffix are not taken for videos
    assert {e.name for e in ended}==taken and len(taken)>=35
    for e in ended: assert e.status==('failed' if by[e.name] in REFUSED else 'done'), e
    assert all(by[e.name] in e.last for e in ended if e.status=='failed')
    assert len(open_features(tmp_path/'f.hdf5').ids)==sum(e.status=='done' for e in ended)
