"Every notebook has a page, every symbol an anchor, every link a target, every picture words; nothing comes from outside, no directive leaks."
import html, re, sys
from pathlib import Path
from docutils.nodes import make_id
from nbdev.config import get_config

sys.path[:0] = [str(get_config().config_path), str(Path(__file__).parent)]
from prepare import page as page_of
from ms2d._modidx import d

def is_words(alt):
    "Is an alternative text one for people? A file's name or hash is none"
    return len(alt.split())>2 and not re.search(r'\.(?:png|jpe?g|gif|svg)\b|\b[0-9a-f]{16,}\b', alt)

def pictures(text):
    "The alternative text of every picture of a page, '' where there is none"
    for tag in re.findall(r'<img\b[^>]*>', text): yield html.unescape((re.findall(r'\balt="([^"]*)"', tag) or [''])[0])

def findings(root):
    "One line for each thing that is wrong with the site in folder `root`"
    pages = {p.name: p.read_text() for p in root.glob('*.html')}
    ids = {name: set(re.findall(r'\bid="([^"]+)"', text)) for name,text in pages.items()}
    for nb in get_config().nbs_path.glob('*.ipynb'):
        page = f'{page_of(nb.stem)}.html'
        if page not in pages: yield f'{nb.name}: no page {page}'
        elif '<h1' not in pages[page]: yield f'{page}: no title'
    for module,symbols in d['syms'].items():
        for name,(url,_) in symbols.items():
            page,anchor = url.rsplit('/', 1)[-1].split('#')
            page = f"{page_of(page.removesuffix('.html'))}.html"
            public = not any(part.startswith('_') for part in name.removeprefix(module+'.').split('.'))
            if public and make_id(anchor) not in ids.get(page, ()): yield f'{name}: no anchor {make_id(anchor)} in {page}'
    for name,text in pages.items():
        for link in map(html.unescape, re.findall(r'href="([^"]*)"', text)):
            if re.match(r'[a-z]+:', link): continue
            file,_,anchor = re.sub(r'\?v=\w+$', '', link).partition('#')
            if file and not (root/file).exists(): yield f'{name}: link to a missing file {link}'
            elif anchor and (file or name) in ids and anchor not in ids[file or name]: yield f'{name}: link to a missing place {link}'
        for url in set(re.findall(r'<(?:script|link|img)\b[^>]+(?:src|href)="((?:https?:)?//[^"]+)"', text)): yield f'{name}: fetches {url}'
        text_alone = re.sub(r'<table\b[^>]*\bmathjax_ignore\b.*?</table>', '', text, flags=re.S)  # sums of money are no formulas
        prose = re.sub(r'<(script|style|pre|code|math)\b.*?</\1>', '', text_alone, flags=re.S)
        if '$' in prose: yield f'{name}: a formula was not read: {prose[max(0, prose.index("$")-40):][:80]!r}'
        if '#|' in re.sub(r'<[^>]+>', '', text): yield f'{name}: shows a directive (#|)'
        if 'skip_exec' in prose: yield f'{name}: shows the settings of the notebook (skip_exec)'
        for alt in pictures(text):
            if not is_words(alt): yield f'{name}: a picture whose alternative text is no words but {alt!r}: add #| fig-alt: WORDS to its cell'
        if 'example.org' in text: yield f'{name}: a link to the placeholder site was left'

if __name__=='__main__':
    found = list(findings(Path(sys.argv[1])))
    print('\n'.join(found) or f'{sys.argv[1]}: every page, symbol, link and alternative text is there')
    sys.exit(bool(found))
