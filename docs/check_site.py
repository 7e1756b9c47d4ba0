"Every notebook has a page, every exported symbol an anchor, every local link a target; nothing comes from outside and no directive leaks."
import html, re, sys
from pathlib import Path
from docutils.nodes import make_id
from nbdev.config import get_config

sys.path.insert(0, str(get_config().config_path))
from ms2d._modidx import d

def findings(root):
    "One line for each thing that is wrong with the site in folder `root`"
    pages = {p.name: p.read_text() for p in root.glob('*.html')}
    ids = {name: set(re.findall(r'\bid="([^"]+)"', text)) for name,text in pages.items()}
    for nb in get_config().nbs_path.glob('*.ipynb'):
        page = re.sub(r'^\d+_', '', nb.stem) + '.html'
        if page not in pages: yield f'{nb.name}: no page {page}'
        elif '<h1' not in pages[page]: yield f'{page}: no title'
    for module,symbols in d['syms'].items():
        for name,(url,_) in symbols.items():
            page,anchor = url.rsplit('/', 1)[-1].split('#')
            public = not any(part.startswith('_') for part in name.removeprefix(module+'.').split('.'))
            if public and make_id(anchor) not in ids.get(page, ()): yield f'{name}: no anchor {make_id(anchor)} in {page}'
    for name,text in pages.items():
        for link in map(html.unescape, re.findall(r'href="([^"]*)"', text)):
            if re.match(r'[a-z]+:', link): continue
            file,_,anchor = re.sub(r'\?v=\w+$', '', link).partition('#')
            if file and not (root/file).exists(): yield f'{name}: link to a missing file {link}'
            elif anchor and (file or name) in ids and anchor not in ids[file or name]: yield f'{name}: link to a missing place {link}'
        for url in set(re.findall(r'<(?:script|link|img)\b[^>]+(?:src|href)="((?:https?:)?//[^"]+)"', text)): yield f'{name}: fetches {url}'
        prose = re.sub(r'<(script|style|pre|code|math)\b.*?</\1>', '', text, flags=re.S)
        if '$' in prose: yield f'{name}: a formula was not read: {prose[max(0, prose.index("$")-40):][:80]!r}'
        if '#|' in re.sub(r'<[^>]+>', '', text): yield f'{name}: shows a directive (#|)'
        if 'example.org' in text: yield f'{name}: a link to the placeholder site was left'

if __name__=='__main__':
    found = list(findings(Path(sys.argv[1])))
    print('\n'.join(found) or f'{sys.argv[1]}: every page, symbol and link is there')
    sys.exit(bool(found))
