"Odd inputs by meaning: hypothesis draws whole good inputs, spoils some of them, and knows what the good ones say"
import io, json
from dataclasses import dataclass
from math import inf, nan
import h5py, numpy as np
from hypothesis import strategies as st
from .seeds import WORDS

@dataclass
class Input:
    "Files of one input"
    files: dict # name -> bytes
    says: object = None # what must be read from it; None: it is spoiled, and may be refused

ODD = [None, True, False, 0, -1, 1e308, nan, inf, -inf, 10**400, 2**63, 1e-320, 1e15, '', ' ', '...', 'x', '\ud800',
       '\0', 'a\u2028b',
       'a\x85b', 'x'*70_000, [], {}, [[]], [1], [1, 2], [[1, 2]], [[1, 2, 3, 4]], ['a', 'b'], {'a': 1}, '1', '1_0',
       '\u0663', 'nan',
       [None, None], [[None, None]], [nan, nan], [True, False]]
odd = st.sampled_from(ODD) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=5)

def places(x, path=()):
    "Where something can be changed in nested lists and dictionaries"
    yield path
    inner = x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ()
    for key,value in inner: yield from places(value, (*path, key))

def spoil(draw, x):
    "`x` with one place changed, added or taken out"
    *path, last = draw(st.sampled_from([p for p in places(x) if p]))
    inside = x
    for key in path: inside = inside[key]
    how = draw(st.sampled_from(['change', 'change', 'change', 'add', 'remove']))
    if how == 'change': inside[last] = draw(odd)
    elif how == 'remove': del inside[last]
    elif isinstance(inside, list): inside.insert(last, draw(odd))
    else: inside[draw(st.sampled_from(['', 'x', 'DURATION', 'fps', 'query', '\ud800']))] = draw(odd)

def spoiled(draw, x):
    "Spoil `x` or not; -> is it as it was?"
    before = json.dumps(x)
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2]))): spoil(draw, x)
    return json.dumps(x) == before

def as_bytes(x): return json.dumps(x).encode('utf-8', 'surrogatepass')

sentences = st.lists(st.sampled_from([*WORDS, 'été', '男', "dog's", 'a\u2028b', 'a\x85b', '🙂', '##']), min_size=1,
                     max_size=6).map(' '.join).map(
    lambda text: 'a ' + text)
seconds = st.integers(1, 4000).map(lambda n: n/8)

@st.composite
def moments(draw, videos=3, each=3):
    "Good queries: [(vid, query, duration, start, end), ...], video after video"
    out = []
    for i in range(draw(st.integers(1, videos))):
        duration = draw(seconds)
        for _ in range(draw(st.integers(1, each))):
            start, end = sorted(draw(st.tuples(*[st.floats(0, 1, width=16)]*2, )))
            if start == end: start, end = 0., 1.
            out.append((f'vid{i}', draw(sentences), duration, duration*start, duration*end))
    return out

@st.composite
def caption_files(draw, fps=0.):
    "ActivityNet's and TACoS's layout"
    files, says, good = {}, {}, True
    for split in ('train', 'test'):
        rows = draw(moments())
        videos = {}
        for vid,query,duration,start,end in rows:
            rate = fps or 1.
            length = dict(num_frames=duration*rate, fps=rate) if fps else dict(duration=duration)
            v = videos.setdefault(vid, dict(length, timestamps=[], sentences=[]))
            v['timestamps'].append([start*rate, end*rate])
            v['sentences'].append(query)
        good &= spoiled(draw, videos)
        files[f'{split}.json'] = as_bytes(videos)
        says[split] = rows
    return Input(files, says if good else None)

@st.composite
def line_files(draw, name='{}.jsonl', windows=False):
    "A query a line"
    files, says, good = {}, {}, True
    for split in ('train', 'test'):
        rows = draw(moments())
        said = [dict(qid=i, vid=v, query=q, duration=d)
                | (dict(relevant_windows=[[s, e]]) if windows else dict(start=s, end=e))
                for i,(v,q,d,s,e) in enumerate(rows)]
        good &= spoiled(draw, said)
        text = '\n'.join(json.dumps(r, ensure_ascii=draw(st.booleans())) for r in said)
        files[name.format(split)] = text.encode('utf-8', 'surrogatepass')
        says[split] = rows
    return Input(files, says if good else None)

@st.composite
def charades_files(draw):
    "Charades-STA's two tables"
    files, says, good = {}, {}, True
    for split in ('train', 'test'):
        rows = draw(moments())
        lines = [f'{v} {s} {e}##{q}' for v,q,d,s,e in rows]
        table = ['id,length', *dict.fromkeys(f'{v},{d}' for v,q,d,s,e in rows)]
        good &= spoiled(draw, lines) & spoiled(draw, table)
        text = lambda xs: '\n'.join(map(str, xs)).encode('utf-8', 'surrogatepass')
        files |= {f'charades_sta_{split}.txt': text(lines), f'Charades_v1_{split}.csv': text(table)}
        says[split] = rows
    return Input(files, says if good else None)

@st.composite
def prediction_files(draw, samples):
    "Answers to all queries, and what they are"
    rows, says = [], {}
    for s in samples:
        spans = draw(st.lists(st.tuples(st.floats(0, .4), st.floats(.5, 1)), max_size=4))
        windows = [[a*s.duration, b*s.duration, 1 - .1*k] for k,(a,b) in enumerate(spans)]
        says[s.qid] = windows
        rows.append(dict(qid=s.qid, query=s.query, vid=s.vid, pred_relevant_windows=windows))
    good = spoiled(draw, rows)
    text = '\n'.join(json.dumps(r) for r in rows)
    return Input({'p.jsonl': text.encode('utf-8', 'surrogatepass')}, says if good else None)

TYPES = ['f2', 'f4', 'f8', 'i1', 'u1', 'i4', '>f4', 'i8', 'u8']
ODD_TYPES = ['c8', '?', 'S3', 'M8[s]', 'V4', 'O']
FACTS = ['rows_per_second', 'seconds', 'scale', 'encoder', 'checksum', 'frames_per_second', 'window', 'stride',
         'opened_as']
odd_attributes = st.dictionaries(st.sampled_from(FACTS), st.sampled_from(
    [0, -1, nan, inf, 1e308, 2**63 - 1, '', 'x', 'two', True, [1., 2.], [2.], [[]], ['a', 'b'], b'\xff', 1e-320]),
    min_size=1, max_size=2)

@st.composite
def arrays(draw):
    "Rows of one video"
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.uniform(0, 100, (draw(st.integers(1, 9)), 16))
    return x.astype(draw(st.sampled_from(TYPES)))

@st.composite
def odd_arrays(draw):
    "No rows of numbers"
    shape = draw(st.lists(st.integers(0, 5), max_size=4))
    kind = draw(st.sampled_from([*TYPES, *ODD_TYPES]))
    x = np.zeros(shape, kind)
    if x.size and x.dtype.kind == 'f': x.flat[0] = draw(st.sampled_from([nan, inf, 1e5]))
    return x

def npy(x):
    buffer = io.BytesIO()
    np.save(buffer, x, allow_pickle=True)
    return buffer.getvalue()

def npz(**x):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **x)
    return buffer.getvalue()

def hdf5(videos, nested, attributes):
    "An HDF5 file in memory"
    buffer = io.BytesIO()
    with h5py.File(buffer, 'w') as f:
        for name,x in videos.items():
            kind = dict(dtype=h5py.string_dtype()) if x.dtype == object else {}
            data = f.create_dataset(f'{name}/c3d' if nested else name, data=x.astype(str) if kind else x, **kind)
            data.attrs.update(attributes)
    return buffer.getvalue()

@st.composite
def feature_files(draw):
    "Features in every layout"
    videos = {f'v{i}': draw(arrays()) for i in range(draw(st.integers(1, 4)))}
    layout = draw(st.sampled_from(['flat', 'nested', 'npy', 'npz', 'h5']))
    says = {name: x.astype(np.float32) for name,x in videos.items()}
    attributes = draw(st.just({}) | odd_attributes) if layout in ('flat', 'nested', 'h5') else {}
    if draw(st.booleans()):
        videos[draw(st.sampled_from(['v0', 'v9', 'README', 'v_v0', 'a b']))] = draw(odd_arrays())
        says = None
    if attributes: says = None
    if layout in ('flat', 'nested'):
        try: return Input({'f.hdf5': hdf5(videos, layout == 'nested', attributes)}, says)
        except (TypeError, ValueError, OverflowError): return Input({'f.hdf5': b'what HDF5 cannot hold'})
    write = {'npy': npy, 'npz': lambda x: npz(features=x),
             'h5': lambda x: hdf5({'features': x}, False, attributes)}[layout]
    try: return Input({f'd/{name}.{layout}': write(x) for name,x in videos.items()}, says)
    except (TypeError, ValueError, OverflowError): return Input({'d/v0.npy': b'what HDF5 cannot hold'})

@st.composite
def vector_files(draw):
    "Word vectors as text, with a header or without, and as npz"
    says = {w: draw(st.lists(st.integers(-90, 90).map(lambda n: n/10), min_size=8, max_size=8))
            for w in draw(st.sets(st.sampled_from(WORDS), min_size=1))}
    if draw(st.booleans()): return Input({'v.npz': npz(words=np.array([*says]), vectors=np.array([*says.values()]))},
                                         says)
    rows = [[w, *map(str, v)] for w,v in says.items()]
    if draw(st.booleans()): rows.insert(0, [str(len(says)), '8'])
    good = spoiled(draw, rows)
    text = '\n'.join(' '.join(map(str, r)) if isinstance(r, list) else str(r) for r in rows) + '\n'
    return Input({'v.txt': text.encode('utf-8', 'surrogatepass')}, says if good else None)

@st.composite
def query_files(draw):
    "Sentences, one per line"
    lines = draw(st.lists(sentences | st.text(st.characters(exclude_categories=['Cs', 'Cc']), max_size=8), max_size=5))
    end = draw(st.sampled_from(['\n', '\r\n', '\r']))
    says = [*dict.fromkeys(' '.join(l.split()) for l in lines if l.split())]
    data = end.join(lines).encode()
    return Input({'q.txt': draw(st.sampled_from([b'', b'\xef\xbb\xbf'])) + data}, says or None)

@st.composite
def config_files(draw, good):
    "config.json with odd values"
    config = dict(good)
    for name in draw(st.lists(st.sampled_from(sorted(config)), min_size=1, max_size=2,
                              unique=True)): config[name] = draw(odd | numbers)
    return Input({'config.json': as_bytes(config)})

numbers = st.sampled_from([0, 1, -1, 2, 3, .5, -.5, 1e-9, 1e9, 1e30, 10**9, 2**31, 2**62, 2**63, nan, inf, -inf])

@st.composite
def workbooks(draw, books):
    "Parameters as papermill hands them to a workbook"
    kind = draw(st.sampled_from(sorted(books)))
    names = sorted(books[kind].__dataclass_fields__)
    given = {name: draw(odd | numbers) for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=2,
        unique=True))}
    return Input({'given.json': as_bytes([kind, given])})
