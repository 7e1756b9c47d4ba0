"What leaves is read back by other programs: OpenTimelineIO and FFmpeg, from real files of many kinds"
import re, shutil, subprocess
from fractions import Fraction
import av, numpy as np, opentimelineio as otio, pandas as pd, pytest
from ms2d.moments import cut, film_of, write_found
from ms2d.video import Video
from test_odd_videos import picture

NTSC = Fraction(30_000, 1001)
ffmpeg = pytest.mark.skipif(not shutil.which('ffmpeg'), reason='no ffmpeg is installed')

def timed(path, stamps, base, metadata=None, format=None):
    "A film of grey frames: one at each stamp of the time base"
    with av.open(str(path), 'w', format=format) as out:
        out.metadata.update(metadata or {})
        s = out.add_stream('mpeg4', rate=round(1/base) if base.numerator==1 else 1/base)
        s.width,s.height,s.pix_fmt = 64,48,'yuv420p'
        s.time_base = s.codec_context.time_base = base
        for t in stamps:
            f = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 100, np.uint8), format='rgb24')
            f.pts,f.time_base = t,base
            out.mux(s.encode(f))
        out.mux(s.encode())
    return path

def steady(path, rate, n=200, **kw): return timed(path, range(n), 1/Fraction(rate), **kw)
def found(*spans): return {'a red star': pd.DataFrame([dict(start=a, end=b, score=.5, scale=0) for a,b in spans])}

def read_edl(path, rate):
    "(first frame, frames) of each cut, and its clip"
    line = otio.adapters.read_from_file(str(path), rate=float(rate))
    return [(c.source_range.start_time.value, c.source_range.duration.value, c) for c in line.tracks[0]]

@pytest.mark.parametrize('rate', [Fraction(24_000, 1001), 24, 25, NTSC, 30, 50, 2*NTSC, 60])
@pytest.mark.parametrize('suffix', ['mp4', 'mkv'])
def test_cuts_of_every_list_are_the_frames_of_the_clip(tmp_path, rate, suffix):
    path = steady(tmp_path/f'x.{suffix}', rate)
    spans = [(.5, 2.), (1.999, 2.6), (2.9, 9.), (.31, .3101)]
    about = film_of(Video(path))
    assert (about.rate, about.steady, about.drop, about.frames)==(rate, True, rate in (NTSC, 2*NTSC), 200)
    write_found(found(*spans), tmp_path/'out', path)
    want = cut(Video(path), spans, [tmp_path/f'{k}.mp4' for k in range(4)])
    starts = [t for t,*_ in Video(path).shown()]
    first = [next((k for k,t in enumerate(starts) if a<=t<b), sum(t<=a for t in starts) - 1) for a,b in spans]
    edl = read_edl(tmp_path/'out'/'moments.edl', rate)
    assert [c[:2] for c in edl]==[*zip(first, want)]
    line = otio.adapters.read_from_file(str(tmp_path/'out'/'moments.otio'))
    assert [(c.source_range.start_time.value, c.source_range.duration.value) for c in line.tracks[0]]==[*zip(first, want)]
    assert {c.media_reference.target_url for c in line.tracks[0]}=={path.as_uri()}=={c.media_reference.target_url for *_,c in edl}

def test_a_variable_rate_is_counted_by_time(tmp_path):
    gaps = np.random.default_rng(0).choice([20, 33, 50, 66], 200)
    path = timed(tmp_path/'phone.mp4', [0, *gaps.cumsum().tolist()], Fraction(1, 1000))
    about = film_of(Video(path))
    assert not about.steady
    write_found(found((1.5, 3.25)), tmp_path/'out', path)
    [(start,length,_)] = read_edl(tmp_path/'out'/'moments.edl', about.rate)
    assert abs(start/about.rate - 1.5)<=1/about.rate and abs((start + length)/about.rate - 3.25)<=1/about.rate

@ffmpeg
@pytest.mark.parametrize('code,drop', [('01:02:03;04', True), ('10:00:00:00', False)])
def test_the_time_code_of_a_camera(tmp_path, code, drop):
    steady(tmp_path/'x.mp4', NTSC)
    subprocess.run(['ffmpeg', '-v', 'error', '-i', tmp_path/'x.mp4', '-c', 'copy', '-timecode', code, tmp_path/'x.mov'], check=True)
    about = film_of(Video(tmp_path/'x.mov'))
    assert about.drop==drop and otio.opentime.to_timecode(otio.opentime.RationalTime(about.first, float(NTSC)), float(NTSC), drop)==code
    write_found(found((0., 1.)), tmp_path/'out', tmp_path/'x.mov')
    text = (tmp_path/'out'/'moments.edl').read_text()
    assert f' {code} ' in text and ('FCM: DROP' in text)==drop
    line = otio.adapters.read_from_file(str(tmp_path/'out'/'moments.otio'))
    assert line.tracks[0][0].media_reference.available_range.start_time.value==about.first
    start = re.search(r'<asset [^>]*start="([\d/]+)s"', (tmp_path/'out'/'moments.fcpxml').read_text())
    assert Fraction(start[1])==about.first/NTSC

def test_a_file_that_does_not_say_how_long_it_is(tmp_path):
    path = steady(tmp_path/'x.m4v', 25, format='m4v')
    assert Video(path).claimed==0
    write_found(found((1., 3.), (2., 4.)), tmp_path/'out', path)
    assert [c[:2] for c in read_edl(tmp_path/'out'/'moments.edl', 25)]==[(25, 50), (50, 50)]

def test_names_of_files_and_videos_in_several_folders(tmp_path):
    names = ['Été & "mer" 100%.mp4', '猫/x.mp4', 'b/x.mp4']
    for name in names:
        (tmp_path/name).parent.mkdir(exist_ok=True)
        steady(tmp_path/name, 25)
    table = pd.DataFrame([dict(video=str(tmp_path/n), start=float(k), end=k + 2., score=.5, scale=0) for k,n in enumerate(names)])
    made = write_found({'"quoted" & <marked>\nof two lines': table}, tmp_path/'out')
    assert sorted(p.name for p in made)==sorted(p.name for p in (tmp_path/'out').iterdir())
    assert sum(p.suffix=='.ffmeta' for p in made)==3
    line = otio.adapters.read_from_file(str(tmp_path/'out'/'moments.otio'))
    assert [otio.url_utils.filepath_from_url(c.media_reference.target_url) for c in line.tracks[0]]==[str(tmp_path/n) for n in names]
    assert len({re.sub(' .*', '', l[5:]) for l in (tmp_path/'out'/'moments.edl').read_text().splitlines() if l[:1].isdigit()})==3

def test_rows_without_a_file_have_no_frames(tmp_path):
    made = write_found({'a': pd.DataFrame([dict(video='3MSZA', start=0., end=1., score=.5, scale=0)])}, tmp_path)
    assert [p.suffix for p in made]==['.csv', '.json', '.vtt', '.ffmeta']

@ffmpeg
@pytest.mark.parametrize('suffix', ['mp4', 'mkv'])
def test_chapters_in_a_copy_of_the_video(tmp_path, suffix):
    "The command that 59_exports tells, and what is in the file then"
    path = steady(tmp_path/'x.mp4', 25)
    write_found({'first = one; #1': found((1., 3.), (2., 4.5))['a red star'], 'second': found((6., 7.))['a red star']}, tmp_path, path)
    copy = tmp_path/f'copy.{suffix}'
    subprocess.run(['ffmpeg', '-v', 'error', '-i', path, '-i', tmp_path/'moments.ffmeta', '-map', '0', '-map_chapters', '1', '-codec', 'copy', copy], check=True)
    with av.open(str(copy)) as f: have = [(float(c['start']*c['time_base']), c['metadata']['title']) for c in f.chapters()]
    assert [t for t,_ in have]==[0., 1., 2., 6.]
    assert [name for _,name in have]==['…', 'first = one; #1 (1: 0.50, until 00:00:03.000)', 'first = one; #1 (2: 0.50, until 00:00:04.500)', 'second (1: 0.50, until 00:00:07.000)']
    assert [p.size for p in packets(copy)]==[p.size for p in packets(path)]

def packets(path):
    with av.open(str(path)) as f: return [p for p in f.demux(video=0) if p.size]

@pytest.mark.parametrize('kind', ['mp4', 'mkv', 'avi', 'ts', 'webm', 'mov', 'flv', 'wmv'])
@ffmpeg
def test_clips_have_the_sound_of_every_kind_of_file(tmp_path, kind):
    "A beep at each second is heard where it was"
    sound = dict(mp4='aac', mkv='libmp3lame', avi='pcm_s16le', ts='aac', webm='libopus', mov='pcm_s24le', flv='aac', wmv='wmav2')[kind]
    picture = 'libvpx' if kind=='webm' else 'libx264' if kind in ('mp4', 'ts', 'flv') else 'mpeg4'
    beep = "aevalsrc='if(lt(mod(t,1),0.04),0.8*sin(2*PI*1000*t),0)':s=48000:d=6"
    subprocess.run(['ffmpeg', '-v', 'error', '-f', 'lavfi', '-i', 'testsrc=s=64x48:r=25:d=6', '-f', 'lavfi', '-i', beep, '-c:v', picture, '-c:a', sound, '-ac', '2', tmp_path/f'x.{kind}'], check=True)
    assert film_of(Video(tmp_path/f'x.{kind}')).channels==2
    cut(Video(tmp_path/f'x.{kind}'), [(1.52, 4.5), (3.9, 60.)], [tmp_path/'a.mp4', tmp_path/'b.mp4'])
    for name,want in ('a.mp4', [.48, 1.48, 2.48]), ('b.mp4', [.1, 1.1]):
        heard,long = beeps(tmp_path/name)
        assert len(heard)==len(want) and np.allclose(heard, want, atol=.06)
        assert abs(long - sum(b - a for a,b,_ in Video(tmp_path/name).shown()))<.06

def beeps(path):
    "When (s) a beep begins, and when the sound ends"
    out,end = [],0.
    with av.open(str(path)) as f:
        for a in f.decode(audio=0):
            [even] = av.AudioResampler('fltp', 'mono').resample(a)
            at = float(a.pts*a.time_base) + np.flatnonzero(abs(even.to_ndarray()[0])>.25)/a.sample_rate
            out += [t for t in at[:1] if not out or t>out[-1] + .5]
            end = float(a.pts*a.time_base) + a.samples/a.sample_rate
    return out, end

def test_damaged_sound_spoils_no_clip(tmp_path):
    "Pictures are what was asked for"
    with av.open(str(tmp_path/'x.mkv'), 'w') as out:
        seen,heard = out.add_stream('libx264', rate=25), out.add_stream('aac', rate=16000)
        (seen.height, seen.width), seen.pix_fmt = (48, 64), 'yuv420p'
        for i in range(100): out.mux(seen.encode(picture((48, 64), i)))
        noise = av.AudioFrame.from_ndarray(np.random.default_rng(0).uniform(-1, 1, (1, 64000)).astype(np.float32), format='fltp', layout='mono')
        noise.rate = 16000
        out.mux(heard.encode(noise))
        for s in (seen, heard): out.mux(s.encode(None))
    with av.open(str(tmp_path/'x.mkv')) as f: sound = [bytes(p) for p in f.demux(audio=0) if p.size>40]
    data = (tmp_path/'x.mkv').read_bytes()
    for s in sound[::2]: data = data.replace(s, bytes(reversed(s)))
    assert data != (tmp_path/'x.mkv').read_bytes()
    (tmp_path/'broken.mkv').write_bytes(data)
    assert cut(Video(tmp_path/'broken.mkv'), [(1., 3.)], [tmp_path/'a.mp4'])==[50]
