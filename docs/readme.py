"""The README's table, from the results of named runs that docs/readme.json keeps.

python docs/readme.py                              write the table into README.md
python docs/readme.py KEY RUN_FOLDER...            take the numbers of KEY from these runs first (folds: all of them)
"""
import json, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEPT,README = ROOT/'docs'/'readme.json', ROOT/'README.md'
FIGURES = {'R@1 IoU=0.3': 'R@1 .3', 'R@1 IoU=0.5': 'R@1 .5', 'R@1 IoU=0.7': 'R@1 .7', 'mIoU': 'mIoU'}
OTHERS = ("another video's question", 'ridge regression (closed form)', 'best constant (reads training times)',
          'random cell (expectation)') # kept of every run beside its own answers, which are the first row of its table
# of the README's table -> key of docs/readme.json, who answers
ROWS = {'ms2d, sentences by wordllama': ('sentences', 'ms2d (ms2d)'), 'ms2d, GloVe': ('charades', 'ms2d (ms2d)'),
        "the poster's captioner, repaired (mended)": ('mended', 'ms2d (mended)'),
        'learned from true times (supervised)': ('supervised', 'ms2d (supervised)'),
        'ridge, a closed form': ('charades', 'ridge regression (closed form)'),
        'two linear layers (align)': ('align', 'ms2d (align)'),
        'best constant': ('charades', 'best constant (reads training times)'),
        "ms2d, asked another video's question": ('charades', "another video's question")}

def pooled(
    runs:list, # what the `results.json` of each says; the folds of one data set, or one run
)->dict: # queries; figure -> who answers -> percent
    "The numbers of several runs over all of their test queries: each figure is a mean over queries"
    tables = [run['tables']['retrieval'] for run in runs]
    weights = [run['queries'] for run in runs]
    out = dict(queries=sum(weights))
    for figure in FIGURES:
        out[figure] = {}
        for answer in (next(iter(tables[0])), *OTHERS):
            total = sum(w*table[answer][figure] for w,table in zip(weights, tables))
            out[figure][answer] = round(total/sum(weights), 1)
    return out

def table(
    kept:dict, # of docs/readme.json
)->list: # lines
    "The table, one number per cell"
    lines = [f"| {kept['charades']['queries']:,} queries | " + ' | '.join(FIGURES.values()) + ' |', '|---'*(1 + len(FIGURES)) + '|']
    for name,(key,answer) in ROWS.items():
        lines.append('| ' + ' | '.join([name, *(f'{kept[key][figure][answer]:.1f}' for figure in FIGURES)]) + ' |')
    return lines

def written(
    text:str, # of the README
    kept:dict, # of docs/readme.json
)->str:
    "The README with this table in the place of the one that it has"
    lines = text.splitlines()
    old = [i for i,line in enumerate(lines) if line.startswith('|')]
    return '\n'.join(lines[:old[0]] + table(kept) + lines[old[-1]+1:]) + '\n'

if __name__=='__main__':
    kept = json.loads(KEPT.read_text())
    if key := sys.argv[1:2]:
        runs = [json.loads((Path(folder)/'results.json').read_text()) for folder in sys.argv[2:]]
        kept[key[0]].update(pooled(runs), version=runs[0]['versions']['commit'], seed=runs[0]['seed'])
        KEPT.write_text(json.dumps(kept, indent=1) + '\n')
    README.write_text(written(README.read_text(), kept))
