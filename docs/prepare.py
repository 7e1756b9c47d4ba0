"Turn the notebooks into Sphinx sources in _proc/source: nbdev's processors first, then Quarto's markup to MyST's"
import ast, re, shutil
import yaml
from docutils.nodes import make_id
from execnb.nbio import mk_cell, read_nb, write_nb
from nbdev.config import get_config
from nbdev.processors import FilterDefaults, add_show_docs, exec_show_docs

TAGS = {('echo','false'):'remove-input', ('output','false'):'remove-output', ('code-fold','true'):'hide-input',
        ('code-fold','show'):'hide-input', ('warning','false'):'remove-stderr', ('include','false'):'remove-cell'}
DIRECTIVE = re.compile(r'^#\|\s*([\w-]+):\s*(.*?)\s*$', re.M)
ALT = 'fig-alt' # `#| fig-alt: WORDS` tells what a picture shows, one line for each picture of a cell

TAKEN = ('search', 'genindex') # pages of Sphinx's own

def page(stem):
    "The name of a notebook's page: without its number, and none of Sphinx's own"
    name = re.sub(r'^\d+_', '', stem)
    return f'{name}-module' if name in TAKEN else name

def is_export(cell): return cell.cell_type=='code' and bool({'export', 'exports', 'exporti'} & cell.directives_.keys())
def is_show_doc(cell): return cell.cell_type=='code' and re.search(r'^show_doc\(', cell.source, re.M)

class AddDocs(add_show_docs):
    "nbdev documents functions and classes; this adds the public methods and properties in the body of a class"
    def begin(self):
        super().begin()
        cells = self.nb.cells
        classes = [o for cell in filter(is_export, cells) for o in cell.parsed_() if isinstance(o, ast.ClassDef)]
        methods = {c.name: [o.name for o in c.body if isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef)) and o.name[0]!='_'] for c in classes}
        shown = {cell.source for cell in cells}
        for i,cell in reversed(list(enumerate(cells))):
            name = cell.source.removeprefix('show_doc(').removesuffix(')')
            new = [f'show_doc({name}.{m})' for m in methods.get(name, ())]
            cells[i+1:i+1] = [mk_cell(s) for s in dict.fromkeys(new) if s not in shown]

class RunDocs(exec_show_docs):
    "Run what `show_doc` needs, the exported cells: nbdev would run every cell that imports something, training included"
    def begin(self):
        super().begin()
        for cell in filter(is_export, self.nb.cells):
            for node in ast.walk(ast.Module(cell.parsed_(), [])): self.define(node)

    def define(self, node):
        "A function may name a library in a string annotation, which `show_doc` evaluates, and import it itself or not"
        if isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Constant):
            library,_,name = str(node.returns.value).partition('.')
            if name: self.k.run_cell(f'import {library}')
        if not isinstance(node, (ast.Import, ast.ImportFrom)): return
        for module in [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]:
            self.k.run_cell(f'import {module.split(".")[0]}')
        self.k.run_cell(ast.unparse(node))

    def __call__(self, cell):
        if is_show_doc(cell) or is_export(cell): super().__call__(cell)

class Filter(FilterDefaults):
    def base_procs(self): return [{add_show_docs: AddDocs, exec_show_docs: RunDocs}.get(p, p) for p in super().base_procs()]

def links(text, site):
    "Point links to the published site, and to numbered notebooks, at the page of this build"
    def local(m): return f'({page(m[1])}.ipynb#{make_id(m[2])})'
    text = re.sub(r'\]\((\d+[a-z]?_\w+)\.ipynb', lambda m: f']({page(m[1])}.ipynb', text)
    return re.sub(rf'\({re.escape(site)}/([\w/-]+)\.html#([\w.]+)\)', local, text)

def api(cell, site):
    "The heading, signature and docstring that a `show_doc` cell printed"
    md = ''.join(cell.outputs[0]['data']['text/markdown'])
    md = re.sub(r'^---\n\n|\[source\]\(.*?\)\{.*?\}\n\n|\*Call self as a function\.\*', '', md)
    md = re.sub(r'(?<=^```python\n)def (?=[A-Z])', 'class ', md, flags=re.M)
    return links(md, site)

def is_picture(output): return any(kind.startswith('image/') for kind in output.get('data', {}))

def drawers(folder):
    "What each function of the package that draws says of its picture: the first sentence of its docstring"
    told = {}
    for path in sorted(folder.glob('*.py')):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith('draw_'):
                told[node.name] = (ast.get_docstring(node) or '').split('; returns')[0]
    return told

def calls(source):
    "Every call in a cell, and the name of what is called"
    try: tree = ast.parse(source)
    except SyntaxError: return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call): yield node, getattr(node.func, 'attr', getattr(node.func, 'id', ''))

def titles(source):
    "The titles that a cell gives its figures as plain text"
    texts = []
    for call,name in calls(source):
        if name in ('set_title', 'suptitle'): texts += call.args[:1]
        texts += [k.value for k in call.keywords if k.arg=='title']
    return [t.value for t in texts if isinstance(t, ast.Constant) and isinstance(t.value, str)]

def words_of(cell, heading, told):
    "Alternative text of each picture of a cell: its directive, or the figure's titles, or who drew it, or its section"
    n = sum(map(is_picture, cell.outputs))
    said = [text for key,text in DIRECTIVE.findall(cell.source) if key==ALT]
    drawn = [told[name] for _,name in calls(cell.source) if told.get(name)]
    each = said or titles(cell.source) or drawn or [f'A picture of the section "{heading}"']
    if len(each)==n: return each
    text = '; '.join(dict.fromkeys(each))
    return [text if n==1 else f'{text} ({k} of {n})' for k in range(1, n+1)]

def with_words(cell, heading, told):
    "A cell as one or more, each with one picture at most, which has its alternative text"
    if cell.cell_type!='code' or not any(map(is_picture, cell.outputs)): return [cell]
    parts = []
    for text in words_of(cell, heading, told):
        part = mk_cell(cell.source if not parts else '', 'code')
        part.directives_ = cell.directives_ if not parts else {}
        part.metadata.update(mystnb=dict(image=dict(alt=text)), tags=['remove-input'] if parts else [])
        part.outputs = []
        parts.append(part)
    at = 0
    for output in cell.outputs:
        full = any(map(is_picture, parts[at].outputs))
        if is_picture(output) and full: at += 1
        parts[at].outputs.append(output)
    return parts

def described(cells, told):
    "All cells of a notebook, their pictures with alternative text"
    heading,out = '',[]
    for cell in cells:
        if cell.cell_type=='markdown': heading = ([heading] + re.findall(r'^#+ +(.+)$', cell.source, re.M))[-1]
        if cell.cell_type=='raw': heading = (yaml.safe_load(cell.source.strip().strip('-')) or {}).get('title', heading)
        out += with_words(cell, heading, told)
    return out

def front(text):
    "Title and description of a notebook's first cell, which nbdev made YAML of"
    meta = yaml.safe_load(text.strip().strip('-'))
    return f"# {meta['title']}\n\n{meta.get('description', '')}"

def convert(cell, site):
    "One cell of a processed notebook, for MyST"
    if cell.cell_type=='raw' and cell.source.startswith('---'): return mk_cell(front(cell.source), 'markdown')
    if cell.cell_type=='markdown': return mk_cell(links(cell.source, site), 'markdown')
    if is_show_doc(cell): return mk_cell(api(cell, site), 'markdown')
    if cell.cell_type=='code':
        cell.metadata['tags'] = cell.metadata.get('tags', []) + [TAGS[o] for o in DIRECTIVE.findall(cell.source) if o in TAGS]
        cell.source = DIRECTIVE.sub('', cell.source).lstrip('\n')
    return cell

PARTS = {0: 'Start', 1: 'The task', 2: 'The poster', 3: 'What it grew into', 4: 'Training', 5: 'What it found',
         6: 'Your videos', None: 'Workbooks', 9: 'Appendix: the embedded world'}

def part(path):
    "The part of the book that a notebook belongs to: the tens of its number; None for a workbook"
    return int(path.name[0]) if path.name[0].isdigit() else None

def toctrees(pages):
    "A cell with the site's menu: the parts of the book, each with its pages in the order of their numbers"
    lines = []
    for number,caption in PARTS.items():
        lines += ['```{toctree}', ':hidden:', f':caption: {caption}', '']
        lines += [name for name,path in pages.items() if part(path)==number and name!='index'] + ['```', '']
    return mk_cell('\n'.join(lines), 'markdown')

if __name__=='__main__':
    cfg = get_config()
    site = f"{cfg.doc_host}{cfg.doc_baseurl}".rstrip('/')
    out = cfg.config_path/'_proc'/'source'
    shutil.rmtree(out.parent, ignore_errors=True)
    out.mkdir(parents=True)
    told = drawers(cfg.lib_path)
    pages = {page(p.stem): p for p in sorted(cfg.nbs_path.glob('*.ipynb'))}
    for name,path in pages.items():
        nb = read_nb(path)
        Filter()(nb)
        nb.metadata.pop('widgets', None)                        # the state of widgets, for which a page would fetch scripts from outside
        cells = [c for c in nb.cells if not c.source.startswith('<!-- WARNING')]
        nb.cells = [convert(c, site) for c in described(cells, told)]
        if name=='index': nb.cells.append(toctrees(pages))
        write_nb(nb, out/f'{name}.ipynb')
