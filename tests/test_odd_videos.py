"Damaged and odd files: each is read, with the right number of frames, or refused with a sentence; none stops a batch"
import os, tempfile
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
import av, numpy as np
import pytest
from ms2d.features import open_features
from av.stream import Disposition
from ms2d.core import SUFFIXES
from ms2d.extraction import Extraction, extract, extract_video
from ms2d.moments import cut
from ms2d.video import Video

def picture(size, i):
    x = np.zeros((*size, 3), np.uint8)
    x[...] = 40*i % 256
    return av.VideoFrame.from_ndarray(x, format='rgb24')

def film(path, codec='libx264', pix_fmt='yuv420p', size=(48, 64), ms=(0, 250, 500, 750, 1000, 1250, 1500, 1750), turn=0, start=0, fps=4, **options):
    "Eight pictures in 2 s, unless others are asked for; the file is `path`, which says that there are `fps` a second"
    with av.open(str(path), 'w') as out:
        s = out.add_stream(codec, rate=fps, options={'bf': '0', 'g': '4', **options} if codec=='libx264' else options)
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
    'gap.ts': ('no new picture from 0 to 3000 s', lambda p,d: film(p, ms=(0, 250, 3_000_000))),
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

# Films of which each frame shows its number, in bits: the order and the times are compared with what was drawn

def numbered(path, n=60, codec='libx264', ms=None, aside=(), **options):
    "Frame i shows i, from ms[i] on (25 a second, unless others are asked for)"
    with av.open(str(path), 'w') as out:
        for other in aside: other(out)
        s = out.add_stream(codec, rate=25, options={k: str(v) for k,v in (dict(qp=4) | options).items()} if codec=='libx264' else {k: str(v) for k,v in (dict(qscale=2) | options).items()})
        s.height,s.width,s.pix_fmt = 48,64,'yuv420p'
        base = Fraction(1, 1000) if ms else Fraction(1, 25)
        if ms: s.codec_context.time_base = base
        for i in range(n):
            x = np.repeat(np.repeat([[255*(i >> k & 1) for k in range(8)]], 8, axis=1), 48, axis=0)
            f = av.VideoFrame.from_ndarray(np.stack([x]*3, -1).astype(np.uint8), format='rgb24')
            f.pts,f.time_base = ms[i] if ms else i, base
            out.mux(s.encode(f))
        out.mux(s.encode(None))
    return path

def number(f): return sum(int(v > 128) << k for k,v in enumerate(f.to_ndarray(format='gray')[24, 4::8]))

def again(source, path, change=lambda p: p):
    "The packets of a film in another file; those of which `change` makes nothing are left out"
    with av.open(str(source)) as a, av.open(str(path), 'w') as b:
        s = b.add_stream_from_template(a.streams.video[0])
        for p in a.demux(a.streams.video[0]):
            if p.size and change(p):
                p.stream = s
                b.mux(p)
    return path

def by_dts(late=0):
    "Packets whose time of showing is that of decoding, `late` ticks later"
    def change(p):
        p.pts = p.dts = p.dts + late
        return p
    return change

def packed(path, aside):
    "As XviD packs B-frames: a frame and the B-frame that is seen before it in one packet, then one of nothing"
    source,held = numbered(aside/'plain.avi', 61, 'mpeg4', bf=1, g=300),[]
    with av.open(str(source)) as a: held = [bytes(p) for p in a.demux(a.streams.video[0]) if p.size]
    mark,nothing = b'\x00\x00\x01\xb2DivX503b1393p', b'\x00\x00\x01\xb6\x50\x7f'
    data = [mark + held[0]] + [x for k in range(1, 60, 2) for x in (held[k] + held[k+1], nothing)]
    with av.open(str(source)) as a, av.open(str(path), 'w') as b:
        s = b.add_stream_from_template(a.streams.video[0])
        s.codec_context.codec_tag = 'XVID'
        for k,x in enumerate(data):
            p = av.Packet(x)
            p.pts = p.dts = k
            p.time_base,p.stream,p.is_keyframe = Fraction(1, 25), s, not k
            b.mux(p)
    return path

def later(path, frames):
    "A film of which the edit list leaves out the first frames"
    data = path.read_bytes()
    at = data.index(b'elst') + 16                                                  # media_time of the first entry
    began = int.from_bytes(data[at:at+4], 'big')
    path.write_bytes(data[:at] + (began + frames*512).to_bytes(4, 'big') + data[at+4:])
    return path

ORDERED = { # name -> how to make it, with a folder d for what is needed on the way
    'b.mp4': lambda p,d: numbered(p, bf=3), 'b.mkv': lambda p,d: numbered(p, bf=3), 'b.ts': lambda p,d: numbered(p, bf=3), 'b.mov': lambda p,d: numbered(p, bf=3, g=12),
    'deep.mp4': lambda p,d: numbered(p, bf=16), 'h264.avi': lambda p,d: numbered(p, bf=3), 'deep.avi': lambda p,d: numbered(p, bf=8, g=30), 'none.avi': lambda p,d: numbered(p, bf=0),
    'mpeg4.avi': lambda p,d: numbered(p, codec='mpeg4', bf=2), 'packed.avi': packed, 'mpeg2.mpg': lambda p,d: numbered(p, codec='mpeg2video', bf=2),
    'same.mkv': lambda p,d: again(numbered(d/'x.mp4', bf=3), p, by_dts()), 'same.mp4': lambda p,d: again(numbered(d/'x.mp4', bf=3), p, by_dts(1024)),
    'same.ts': lambda p,d: again(numbered(d/'x.ts', bf=3), p, by_dts()), 'deep_same.mkv': lambda p,d: again(numbered(d/'x.mp4', bf=16), p, by_dts())}

@pytest.mark.parametrize('name', ORDERED)
def test_frames_in_the_order_in_which_they_are_seen(name, tmp_path):
    "Every frame, in order, at its time, whatever the file says of B-frames"
    video = Video(made(name, ORDERED[name], tmp_path))
    seen = [(number(f), t0) for t0,_,f in video.shown()]
    n = 61 if name=='packed.avi' else 60
    assert [i for i,_ in seen]==list(range(n))
    assert max(abs(t - i/25) for i,t in seen) < .002 and abs(video.seconds - n/25) < .05

def test_cut_takes_every_frame(tmp_path):
    "27 of 50 before"
    path = numbered(tmp_path/'h264.avi', 100, bf=3)
    assert cut(Video(path), [(1., 3.), (0., .5)], [tmp_path/'a.mp4', tmp_path/'b.mp4'])==[50, 13]
    for name,first,n in (('a.mp4', 25, 50), ('b.mp4', 0, 13)):
        seen = [(number(f), round(25*t)) for t,_,f in Video(tmp_path/name).shown()]
        assert seen==[(first + k, k) for k in range(n)]

def test_uneven_frames_and_b_frames(tmp_path):
    "A variable rate, with B-frames, in two containers"
    ms = [0, *np.random.default_rng(0).choice([10, 40, 300], 59).cumsum().tolist()]
    for name in ('x.mkv', 'x.mp4'):
        seen = [(number(f), t) for t,_,f in Video(numbered(tmp_path/name, ms=ms, bf=3)).shown()]
        assert [i for i,_ in seen]==list(range(60))
        assert all(abs(t - ms[i]/1000) < .002 for i,t in seen)

def test_an_edit_list_that_begins_later(tmp_path):
    "What players leave out is left out, and the rest begins at 0"
    seen = [(number(f), t) for t,_,f in Video(later(numbered(tmp_path/'x.mp4', bf=3), 12)).shown()]
    assert [i for i,_ in seen]==list(range(12, 60)) and max(abs(t - (i - 12)/25) for i,t in seen) < .002

@pytest.mark.parametrize('name', ['b.ts', 'same.ts'])
def test_a_clock_that_starts_anew(name, tmp_path):
    path = made(name, ORDERED[name], tmp_path)
    path.write_bytes(path.read_bytes()*2)
    seen = [(number(f), t) for t,_,f in Video(path).shown()]
    assert [i for i,_ in seen]==[*range(60)]*2 and max(abs(t - k/25) for k,(_,t) in enumerate(seen)) < .1

def test_a_recording_that_begins_within_a_group(tmp_path):
    "The first packets are missing, B-frames refer to them: from the first key frame on all are there, at their distances"
    source,keys = numbered(tmp_path/'x.ts', bf=3, g=12, **{'x264-params': 'open-gop=1'}),[]
    def change(p):
        if p.is_keyframe: keys.append(p.pts)
        return len(keys) > 1
    seen = [(number(f), t) for t,_,f in Video(again(source, tmp_path/'late.ts', change)).shown()]
    first = next(k for k,(i,_) in enumerate(seen) if [j for j,_ in seen[k:]]==list(range(i, 60)))
    assert len(seen) - first >= 45 and all(abs((t - seen[first][1]) - (i - seen[first][0])/25) < .002 for i,t in seen[first:])

@pytest.mark.parametrize('suffix', ['mp4', 'mov'])
def test_a_slide_for_twelve_minutes_with_b_frames(suffix, tmp_path):
    "FFmpeg reckons how long such a file is by the order of decoding: 8 s and not 728"
    v = Video(film(tmp_path/f'slides.{suffix}', ms=(0, 3000, 5000, 725_000, 728_000), bf='2', g='12'))
    assert [round(t0) for t0,_,_ in v.shown()]==[0, 3, 5, 725, 728]

@pytest.mark.parametrize('suffix', ['ts', 'm2ts'])
def test_a_slide_for_twelve_minutes_where_nothing_says_how_long(suffix, tmp_path):
    "It may be a damaged clock: refused with that reason, and what the message says helps"
    path = film(tmp_path/f'slides.{suffix}', ms=(0, 3000, 5000, 725_000, 728_000))
    with pytest.raises(ValueError, match='no new picture from 5 to 725 s: .*does not say how long it is.*convert it to mp4'): [*Video(path).shown()]
    with av.open(str(path)) as a, av.open(str(tmp_path/'x.mp4'), 'w') as b:
        stream = b.add_stream_from_template(a.streams.video[0])
        for p in a.demux():
            if p.dts is None: continue
            p.stream = stream
            b.mux(p)
    assert [round(t0) for t0,_,_ in Video(tmp_path/'x.mp4').shown()]==[0, 3, 5, 725, 728]

@pytest.mark.parametrize('suffix', ['ts', 'gif'])
@pytest.mark.parametrize('ms', [(0,), (0, 2000), (0, 3000, 5000), (0, 3000, 593_000), range(0, 2000, 40)])
def test_few_frames(suffix, ms, tmp_path):
    "One picture, slides of less than ten minutes, an ordinary film: in a stream, and in a GIF"
    path = film(tmp_path/f'x.{suffix}', 'gif', 'rgb8', ms=ms) if suffix=='gif' else film(tmp_path/f'x.{suffix}', ms=ms)
    assert [round(1000*t0) for t0,_,_ in Video(path).shown()]==[*ms]

def test_a_gif_shows_each_picture_as_long_as_it_says(tmp_path):
    "655.35 s at most, in steps of 10 ms"
    from PIL import Image
    some = [Image.fromarray(np.full((48, 64), 60*i, np.uint8)) for i in range(3)]
    some[0].save(tmp_path/'x.gif', save_all=True, append_images=some[1:], duration=[1000, 655_350, 640_000])
    assert [round(t1 - t0, 2) for t0,t1,_ in Video(tmp_path/'x.gif').shown()]==[1, 655.35, 640]

def without_length(path):
    "A Matroska file that does not say how long a frame is seen"
    data = path.read_bytes()
    at = data.index(b'\x23\xe3\x83\x84')                                            # DefaultDuration, 4 bytes: now Void
    path.write_bytes(data[:at] + b'\xec\x86' + bytes(6) + data[at+8:])
    return path

PAUSE = [*range(0, 2000, 40), 62_000, 62_040]                                       # 25 frames a second, and a minute of a slide
@pytest.mark.parametrize('suffix', ['flv', 'mkv', 'ts', 'wmv'])
@pytest.mark.parametrize('ms,seconds', [(PAUSE, 62.08), (range(0, 2000, 100), 2.), ((0, 95, 203, 297, 405, 500, 602, 698, 803, 900), 1.)])
def test_the_last_frame_is_seen_as_long_as_the_others(suffix, ms, seconds, tmp_path):
    "Where the file does not say how long; a pause in the middle does not count"
    path = film(tmp_path/f'x.{suffix}', 'wmv2' if suffix=='wmv' else 'libx264', ms=ms, fps=25)
    if suffix=='mkv': without_length(path)
    video = Video(path)
    spans = [(t0, t1) for t0,t1,_ in video.shown()]
    assert len(spans)==len(ms) and abs(video.seconds - seconds)<.0015 and spans[-1][1]==video.seconds

def test_a_slide_for_twelve_minutes(tmp_path):
    path = film(tmp_path/'x.mkv', ms=(0, 250, 720_250, 720_500))
    video = Video(path)
    assert [round(t1 - t0, 2) for t0,t1,_ in video.shown()][:3]==[.25, 720., .25] and abs(video.seconds - 720.75) < .3
    assert sum(1 for _ in video.frames(1))==round(video.seconds)
    data = path.read_bytes()
    at = data.index(b'\x44\x89\x88') + 3                                            # the duration, as a double: now 3 s
    path.write_bytes(data[:at] + np.array(3000., '>f8').tobytes() + data[at+8:])
    with pytest.raises(ValueError, match='x.mkv: time stamps jump'): list(Video(path).shown())

def test_the_default_of_two_videos(tmp_path):
    "What a player shows: not the first, nor a cover"
    def grey(out, g, default):
        s = out.add_stream('libx264', rate=25, options=dict(qp='4'))
        s.height,s.width,s.pix_fmt = 48,64,'yuv420p'
        s.disposition = Disposition.default if default else Disposition(0)
        return s, [av.VideoFrame.from_ndarray(np.full((48, 64, 3), g, np.uint8), format='rgb24') for _ in range(5)]
    with av.open(str(tmp_path/'x.mkv'), 'w') as out:
        both = [grey(out, 40, False), grey(out, 200, True)]
        for s,frames in both:
            for k,f in enumerate(frames):
                f.pts,f.time_base = k,Fraction(1, 25)
                out.mux(s.encode(f))
            out.mux(s.encode(None))
    assert abs(next(Video(tmp_path/'x.mkv').frames(25)).mean() - 200) < 3

def test_a_film_that_names_other_files(tmp_path):
    "A script of FFmpeg is no video, whatever it is called: it would read what lies beside it"
    film(tmp_path/'x.mp4')
    (tmp_path/'script.mp4').write_text('ffconcat version 1.0\nfile x.mp4\n')
    with pytest.raises(ValueError, match='script.mp4 cannot be read as a video'): list(Video(tmp_path/'script.mp4').shown())

def test_a_giant_picture(tmp_path):
    "Refused before there is memory for it"
    data = film(tmp_path/'x.mkv', 'mjpeg', 'yuvj420p', (48, 64), (0, 250)).read_bytes()
    sof = b'\xff\xc0\x00\x11\x08'                                                    # then height and width
    (tmp_path/'x.mkv').write_bytes(data.replace(sof + bytes([0, 48, 0, 64]), sof + bytes([0x2e, 0xe0, 0x2e, 0xe0])))
    with pytest.raises(ValueError, match='x.mkv.*no frame can be decoded'): list(Video(tmp_path/'x.mkv').shown())
