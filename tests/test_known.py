"What a model of shapes refuses of real questions, and what it answers all the same"
import json
from pathlib import Path
import pytest
from ms2d.config import Config
from ms2d.corpus import Corpus
from ms2d.dataset import read_annotations
from ms2d.known import known_words, refusal
from ms2d.model import build
from ms2d.ranking import predict
from ms2d.retrieval import Retriever
from ms2d.training import train
from workbooks import TINY

@pytest.mark.slow
def test_real_questions_to_a_model_of_shapes(shared):
    "Those about the real clips of Charades; the vocabulary is that of `make train`"
    cfg = Config().resolved()
    corpus = Corpus(cfg)
    model = build(cfg, corpus)
    clips = {p.stem for p in (shared/'data'/'charades_clips').glob('*.mp4')}
    asked = [s.query for s in read_annotations('charades_sta', shared/'data'/'annotations'/'charades_sta')['test'] if s.vid in clips]
    left = {q: known_words(model, corpus.vocab, q) for q in asked if not refusal(model, corpus.vocab, q)}
    print(f'of {len(asked)} questions about {len(clips)} real videos {len(asked) - sum(q in left for q in asked)} are refused; asked are, for one word each: {left}')
    assert len(asked)==59 and sum(q in left for q in asked)<=5
    for split in ('train', 'val', 'test'): assert not [s.query for s in corpus.samples[split] if refusal(model, corpus.vocab, s.query)]

ODD = ['it is the', 'a the and of', 'up and down', 'xyzzy plugh'] # the last one is of no training sentence

def test_a_data_set_is_answered_whatever_its_queries_are(tiny, tmp_path):
    "A report leaves none out: queries that nobody can ask on the page are predicted, and have their part in the rates; training reads such sentences, too"
    folder = tmp_path/'odd'
    folder.mkdir()
    for path in Path(tiny['annotations']).glob('*.json'):
        videos = json.loads(path.read_text())
        if path.name!='world.json':
            for v,odd in zip(sorted(videos), ODD[:3] if path.name=='train.json' else ODD): videos[v]['sentences'][0] = odd
        (folder/path.name).write_text(json.dumps(videos))
    run = train(Config(**tiny | TINY | dict(annotations=str(folder)), out=str(tmp_path/'run')))
    found = predict(run.model, run.corpus)
    queries = {s.qid: s.query for s in run.corpus.samples['test']}
    assert set(ODD)<=set(queries.values()) and found.keys()==queries.keys() and all(len(x) for x in found.values())
    retriever = Retriever(run.folder)
    assert set(ODD) & set(retriever.others)
    rates = retriever.error_rates(run.corpus.samples['test'])
    assert [r['queries'] for r in rates.values()]==[len(queries)]*2
    video = run.corpus.samples['test'][0].vid
    for query in ODD:
        for act in (retriever.search, retriever.saliency, retriever.match_probability, retriever.foreign_share, retriever.maps):
            with pytest.raises(ValueError, match='says nothing to look for|knows none of the words'): act(video, query)
    assert [len(x) for x in retriever.answer(video, retriever.ask(ODD, refuse=False))]==[5]*len(ODD)
    retriever.index([video])
    with pytest.raises(ValueError, match='knows none of the words of .a man opens the door.'): retriever.search_all('a man opens the door')
    assert retriever.learned==run.corpus.learned and f"{run.corpus.learned['videos']} videos" in retriever.about
