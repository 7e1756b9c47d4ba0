"Highlights: the published figures of a real system, an independent count, and what a file of scores may get wrong"
import gzip, json
import numpy as np, pytest
from ms2d.dataset import read_annotations, Sample
from ms2d.predictions import read_predictions, read_saliency, write_predictions
from ms2d.protocols import highlights_per_query, official_figures, official_highlights
from workbooks import cells, without_kernel

def figures(x, above=''):
    "Nested figures as one level: 'full/MR-R1/0.5' -> percent"
    if not isinstance(x, dict): return {above: x}
    return {name: v for k,part in x.items() for name,v in figures(part, f'{above}/{k}').items()}

def test_every_published_figure_of_a_real_system(shared, tmp_path):
    "VTG-GPT on QVHighlights val, through the workbook, to the last digit; and it beats what it has to beat"
    there = shared/'data'/'predictions'
    code,text = without_kernel(tmp_path/'report.ipynb', notebook='evaluate', predictions=there/'vtggpt_qvhighlights_val.jsonl.gz', dataset='qvhighlights',
        annotations=shared/'data'/'annotations'/'qvhighlights', split='val', out=tmp_path/'out')
    assert code==0 and 'mIoU 54.55, mAP 35.57 (moment-detr)' in text, text[-3000:]
    results = json.loads((tmp_path/'out'/'results.json').read_text())
    tables = results['tables']
    official = json.loads((there/'vtggpt_qvhighlights_val_metrics.json').read_text())
    published = figures(official)
    ours = figures(tables['official'])
    assert tables['official']==official and results['queries']==1550 and len(published)==126 and {k: ours.get(k) for k in published}==published
    assert round(tables['protocols']['moment-detr']['mAP'], 2)==official['full']['MR-mAP']['average']
    shown = ''.join(''.join(o.get('data', {}).get('text/plain', '')) for c in cells(tmp_path/'report.ipynb') for o in c.get('outputs', []))
    for part in ('full', 'short', 'middle', 'long'):
        for x in (*official[part]['MR-R1'].values(), *official[part]['MR-mAP'].values(), official[part]['MR-mIoU']): assert f'{x:.2f}' in shown, (part, x)
    assert tables['highlights']['these predictions']['HL-min-VeryGood']=={'HL-mAP': 34.99, 'HL-Hit1': 61.1}
    assert list(tables['highlights'])==['these predictions', "another query's scores", 'random scores']
    assert all(d['low']>10 for row in tables['highlight_differences'].values() for d in row.values())

def count(scores, ratings, least):
    "HL-mAP and HIT@1 of one query from the definition: thresholds one by one, fractions in the open"
    clips = range(len(ratings))
    padded = [scores[c] if c < len(scores) else 0. for c in clips]
    each = []
    for who in range(len(ratings[0])):
        good = [ratings[c][who]>=least for c in clips]
        steps = {}
        for t in sorted(set(padded), reverse=True):
            shown = [g for x,g in zip(padded, good) if x>=t]
            steps.setdefault(sum(shown), sum(shown)/len(shown))        # the first threshold that finds so many
        found = sorted(k for k in steps if k)
        each.append(sum(max(steps[m] for m in found if m>=k) for k in found)/len(found) if found else 0.)
    first = max(range(len(scores)), key=lambda c: (scores[c], -c))
    return sum(each)/len(each), float(first < len(ratings) and max(ratings[first])>=least)

def test_counted_by_hand():
    "Ties, videos of any length, more and fewer scores than clips, one to four annotators"
    rng = np.random.default_rng(0)
    for k in range(300):
        n = int(rng.integers(1, 9))
        rated = sorted(rng.choice(n, rng.integers(1, n+1), replace=False).tolist())
        people = int(rng.integers(1, 5))
        saliency = tuple((c, tuple(int(r) for r in rng.integers(0, 5, people))) for c in rated)
        s = Sample('q', 'v', 'a dog', 2.*n + rng.choice([0, 1.]), 0., 1., saliency=saliency)
        ratings = [dict(saliency).get(c, (0,)*people) for c in range(n)]
        scores = (rng.integers(0, 4, max(1, n + rng.integers(-2, 3)))/3).tolist()
        got = highlights_per_query({'q': scores}, [s])
        for name,least in dict(Fair=2, Good=3, VeryGood=4).items():
            assert (got[f'HL-min-{name}-mAP'][0], got[f'HL-min-{name}-Hit1'][0])==pytest.approx(count(scores, ratings, least), abs=1e-12), (k, scores, ratings)

@pytest.fixture
def asked(tmp_path):
    "Four queries with ratings as the published file has them; -> samples, write(lines) -> file of predictions"
    rows = [dict(qid=i, query=f'a dog {i}', duration=10, vid=f'v{i}', relevant_clip_ids=[1, 2], saliency_scores=[[i % 5, 4, 0], [3, 3, 3]], relevant_windows=[[2, 6]]) for i in range(4)]
    (tmp_path/'highlight_val_release.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    def write(scores, name='p.jsonl.gz'):
        lines = [dict(qid=r['qid'], query=r['query'], vid=r['vid'], pred_relevant_windows=[[2, 6, .9]]) | ({} if x=='none' else dict(pred_saliency_scores=x)) for r,x in zip(rows, scores)]
        with gzip.open(tmp_path/name, 'wt') as f: f.write('\n'.join(map(json.dumps, lines)))
        return tmp_path/name
    return read_annotations('qvhighlights', tmp_path)['val'], write

def test_out_and_in_again(asked, tmp_path):
    "What is written reads back to the same figures, from what is written for a submission"
    samples,_ = asked
    rng = np.random.default_rng(1)
    answers,told = {s.qid: [[2., 6., .9]] for s in samples},{s.qid: rng.random(5) for s in samples}
    file = write_predictions(tmp_path/'o.jsonl', answers, samples, told)
    back,notes = read_saliency(file, samples)
    assert notes==[] and all((back[q]==x).all() for q,x in told.items())
    assert official_figures(read_predictions(file, samples)[0], samples, back)==official_figures(answers, samples, told)

ODD = {'null': None, 'text': '0.5 0.5', 'a table': [[.5]*5], 'an object': {'0': .5}, 'numbers as text': ['.5']*5, 'true': [True]*5, 'endless': [1e999]*5,
    'not a number': [float('nan')]*5, 'huge': [10**400]*5, 'empty': []}

@pytest.mark.parametrize('what', ODD)
def test_odd_scores_are_named(asked, what):
    "The windows of the line still count; `miss` counts the query as one"
    samples,write = asked
    file = write([[.1, .9, .2, 0, 0]]*3 + [ODD[what]])
    if what in ('not a number', 'huge'): # no JSON at all, for the one, and for the other no number that a float can hold
        assert read_saliency(file, samples, 'miss')[0].keys()=={'0', '1', '2'}
        return
    assert len(read_predictions(file, samples)[0])==4
    says = '1 of 4 queries have no pred_saliency_scores: 3' if what=='null' else r'1 of 4 lines: pred_saliency_scores are finite numbers, .* \[line 4\]'
    with pytest.raises(ValueError, match=says): read_saliency(file, samples)
    told,notes = read_saliency(file, samples, 'miss')
    assert len(told)==3 and notes[-1]=='1 of 4 queries are counted as misses for this'
    assert official_highlights(told, samples)['HL-min-Fair']['HL-Hit1']==75

def test_scores_that_nobody_rated_and_ratings_without_scores(asked, tmp_path):
    samples,write = asked
    assert read_saliency(write(['none']*4), samples)==({}, [])
    with pytest.raises(ValueError, match='nobody rated the clips'): official_highlights({}, [s._replace(saliency=()) for s in samples])
    longer,notes = read_saliency(write([[.1]*9] + [[.1]*5]*3), samples)
    assert notes==['1 queries have more or fewer scores than clips of 2 s: cut, or filled with 0 [0]'] and len(longer['0'])==9
    (tmp_path/'highlight_val_release.jsonl').write_text(json.dumps(dict(qid=1, query='a dog', duration=10, vid='v', relevant_clip_ids=[5], saliency_scores=[[1, 1, 1]], relevant_windows=[[8, 10]])))
    with pytest.raises(ValueError, match='highlight_val_release.jsonl:1: clip 5 of relevant_clip_ids: this video has clips 0 to 4'): read_annotations('qvhighlights', tmp_path)
