"Data whose every text tries to be more than text, and a look at what a report makes of it"
import json, re, shutil
from html.parser import HTMLParser
from pathlib import Path
import h5py, nbformat, numpy as np
from nbconvert import HTMLExporter

# markup, an attribute that closes the one it is in, a formula that matplotlib cannot read, one that MathJax would, a terminal's
# colour, a turn of direction; MARK stands in all of them
EVIL = '''"'><markt onmark=1 href="javascript:MARK">$\\frac{MARK$ `x` &lt;b&gt; pays $5'''
UNSEEN = '\x1b[31m\x07\u202e'

def strange(tiny, folder, films=3):
    "The tiny world under names that are markup, asked in sentences that are; -> parameters of a workbook, names of its films"
    folder = folder/f'in {EVIL}'.replace('/', '')
    name = lambda vid: f'{EVIL}{vid}'
    (ann := folder/'annotations').mkdir(parents=True)
    (videos := folder/'videos').mkdir()
    words = set()
    for split in ('train', 'val', 'test'):
        given = json.loads((Path(tiny['annotations'])/f'{split}.json').read_text())
        rows = [dict(vid=name(vid), duration=v['duration'], query=f'{q} {EVIL}{UNSEEN}' if i % 2 else f'{EVIL} {q}', start=t[0], end=t[1])
                for vid,v in given.items() for i,(q,t) in enumerate(zip(v['sentences'], v['timestamps']))]
        (ann/f'{split}.jsonl').write_text('\n'.join(map(json.dumps, rows)), encoding='utf-8')
        words |= {w for r in rows for w in re.findall(r'\w+', r['query'].lower())}
    with h5py.File(tiny['features']) as old, h5py.File(folder/'features.hdf5', 'w') as new:
        for vid in old: old.copy(vid, new, name(vid))
        new.attrs.update(dict(old.attrs, encoder=EVIL, opened_as=EVIL))
    np.savez(folder/'vectors.npz', words=np.array([*sorted(words), EVIL]), vectors=np.random.default_rng(0).normal(size=(len(words) + 1, 300)).astype('f4'))
    for p in sorted((Path(tiny['annotations'])/'videos').glob('*.mp4'))[:films]: shutil.copy(p, videos/f'{name(p.stem)}.mp4')
    (videos/f'{EVIL}.mp4').write_bytes(b'no video')
    (folder/'queries.txt').write_text('\n'.join(f'{q} {EVIL}{UNSEEN}' for q in ('the red star', 'a blue circle', 'w'*100_000)), encoding='utf-8')
    data = dict(dataset='jsonl', annotations=ann, features=folder/'features.hdf5', vectors=folder/'vectors.npz')
    return data, videos, folder

class Alive(HTMLParser):
    "What of a page came from `EVIL` and is not text"
    def __init__(self):
        super().__init__()
        self.found,self.seen,self.open = [],0,[]
    def handle_starttag(self, tag, attrs):
        if tag == 'markt' or any('onmark' in k for k,_ in attrs): self.found.append(self.get_starttag_text())
        if any('MARK' in (v or '') for k,v in attrs if k in ('href', 'src', 'style', 'class', 'id') or k[:2] == 'on'): self.found.append(self.get_starttag_text()[:300])
        if tag not in ('br', 'img', 'meta', 'link', 'hr', 'input', 'source'): self.open.append((tag, dict(attrs).get('class') or ''))
    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag: pass
    def handle_data(self, text):
        if 'MARK' not in text: return
        self.seen += 1
        tags = {t for t,_ in self.open}
        if tags & {'script', 'style'}: self.found.append(f'in a script: {text[:300]}')
        # where MathJax looks for formulas
        if '$' in text and not tags & {'pre', 'code', 'script', 'title'} and not any('mathjax_ignore' in c for _,c in self.open): self.found.append(f'a formula: {text[:300]}')

def alive(report):
    "-> what of the report's page is not text though it came from data, how often such text is there"
    nb = nbformat.read(report, 4)
    page,_ = HTMLExporter().from_notebook_node(nb)
    parser = Alive()
    parser.feed(page); parser.close()
    other = [t for c in nb.cells for o in c.get('outputs', []) for t,x in o.get('data', {}).items() if t in ('text/markdown', 'text/latex', 'image/svg+xml', 'application/javascript') and 'MARK' in str(x)]
    return parser.found + other, parser.seen
