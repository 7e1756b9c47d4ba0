"The poster repaired: the sentence rebuilt from all moments, and nothing else, on the embedded world"
import pytest
from ms2d.config import Config
from ms2d.explained import foreign_words
from ms2d.metrics import evaluate
from ms2d.ranking import predict
from ms2d.baselines import best_constant, constant
from ms2d.training import train

@pytest.mark.slow
def test_reconstruction_alone_finds_moments_and_missing_words(tmp_path):
    "Far above the best constant, which reads times; and a foreign word is named twice as often as by chance"
    run = train(Config(preset='mended', maps=False, accelerator='cpu', out=str(tmp_path/'run')))
    samples = run.corpus.samples['test']
    found = evaluate(predict(run.model, run.corpus), samples)
    fixed = evaluate(constant(samples, best_constant(run.corpus.labelled)), samples)
    for figure in ('R@1 IoU=0.5', 'mIoU'): assert found[figure] > 2*fixed[figure], figure
    told = foreign_words(run, 'test')
    assert told['named'].mean() > 2*told['chance'].mean()
    assert told['foreign'].mean() < 0 < told['own'].mean()
