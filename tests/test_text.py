"Text from data is text in every report"
import nbformat, pandas as pd, pytest
from strange import EVIL, alive, strange
from workbooks import TINY, papermill, without_kernel

def text_stays_text(report, ran):
    "The report is whole, shows the names and sentences, and nothing in them is alive"
    code,said = ran
    assert code==0, said[-3000:]
    found,seen = alive(report)
    assert not found, found[:3]
    assert seen, 'the texts are not shown at all'

def test_what_is_alive_is_found(tmp_path):
    "The look at a report sees what it is there to see"
    frame = pd.DataFrame([dict(query=EVIL)])
    with pd.option_context('display.html.use_mathjax', True): formula = frame.to_html()     # `theme`, called by another test, turns it off
    for html,n in ((frame.style.to_html(), 2), (formula, 1), (frame.to_html(classes='mathjax_ignore'), 0), (f'<video title="{EVIL}">', 1), ('<script>let x = "MARK"</script>', 1)):
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell('', outputs=[nbformat.v4.new_output('display_data', {'text/html': html})])])
        nbformat.write(nb, tmp_path/'r.ipynb')
        assert len(alive(tmp_path/'r.ipynb')[0])>=n and bool(alive(tmp_path/'r.ipynb')[0])==bool(n), html

def test_text_stays_text_in_data(tiny, tmp_path):
    data,*_ = strange(tiny, tmp_path)
    text_stays_text(tmp_path/'data.ipynb', without_kernel(tmp_path/'data.ipynb', notebook='data', **data))

@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_text_stays_text_in_every_report(tiny, tmp_path):
    "Each in its own kernel"
    data,videos,folder = strange(tiny, tmp_path)
    run,encoder = folder/'run',f"world:{tiny['annotations']}"
    def report(name, notebook, **given): text_stays_text(tmp_path/f'{name}.ipynb', papermill(tmp_path/f'{name}.ipynb', notebook=notebook, **given))
    report('data', 'data', **data)
    report('train', 'train', **data, **TINY, out=run)
    report('evaluate', 'evaluate', predictions=run/'predictions.jsonl', against=run/'predictions.jsonl', dataset='jsonl', annotations=data['annotations'], out=folder/'eval')
    report('retrieve', 'retrieve', run=run, video=next(p for p in sorted(videos.iterdir()) if p.stat().st_size>1000), queries=folder/'queries.txt', encoder=encoder, out=folder/'found')
    report('extract', 'extract', videos=videos, encoder=encoder, features=folder/'own.hdf5')
    report('pixels', 'pixels', videos=videos, encoder=encoder, against=data['features'], run=run, dataset='jsonl', annotations=data['annotations'], variants=1, minutes=.1, shown=3, out=folder/'pixels')
