"""The README's table, from the results of named runs that docs/readme.json keeps.

python docs/readme.py                              write the table into README.md
python docs/readme.py KEY RUN_FOLDER...            take the numbers of KEY from these runs first (folds: all of them)
"""
import json, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEPT,README = ROOT/'docs'/'readme.json', ROOT/'README.md'
FIGURES = {'R@1 IoU=0.5': 'R@1', 'mIoU': 'mIoU'}
ANSWERS = {'ms2d (ms2d)': 'ms2d', "another video's question": "another video's question",
           'ridge regression (closed form)': 'ridge', 'best constant (reads training times)': 'best constant',
           'random cell (expectation)': 'random moment'}

def pooled(
    runs:list, # what the `results.json` of each says; the folds of one data set, or one run
)->dict: # queries; figure -> who answers -> percent
    "The numbers of several runs over all of their test queries: each figure is a mean over queries"
    tables = [run['tables']['retrieval'] for run in runs]
    weights = [run['queries'] for run in runs]
    out = dict(queries=sum(weights))
    for figure in FIGURES:
        out[figure] = {}
        for answer in ANSWERS:
            total = sum(w*table[answer][figure] for w,table in zip(weights, tables))
            out[figure][answer] = round(total/sum(weights), 1)
    return out

def table(
    kept:dict, # of docs/readme.json
)->list: # lines
    "The table, one number per cell"
    lines = ['| test queries | number | figure | ' + ' | '.join(ANSWERS.values()) + ' |', '|---'*(3 + len(ANSWERS)) + '|']
    for entry in kept.values():
        for figure,name in FIGURES.items():
            numbers = [f'{entry[figure][answer]:.1f}' for answer in ANSWERS]
            lines.append('| ' + ' | '.join([entry['name'], f"{entry['queries']:,}", name, *numbers]) + ' |')
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
