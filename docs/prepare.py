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
        "A function may import a library itself and name it in a string annotation, which `show_doc` evaluates"
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
    def local(m): return f'({m[1]}.ipynb#{make_id(m[2])})'
    text = re.sub(r'\]\(\d+[a-z]?_(\w+\.ipynb)', r'](\1', text)
    return re.sub(rf'\({re.escape(site)}/([\w/-]+)\.html#([\w.]+)\)', local, text)

def api(cell, site):
    "The heading, signature and docstring that a `show_doc` cell printed"
    md = ''.join(cell.outputs[0]['data']['text/markdown'])
    md = re.sub(r'^---\n\n|\[source\]\(.*?\)\{.*?\}\n\n|\*Call self as a function\.\*', '', md)
    md = re.sub(r'(?<=^```python\n)def (?=[A-Z])', 'class ', md, flags=re.M)
    return links(md, site)

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
        options = DIRECTIVE.findall(cell.source)
        cell.metadata['tags'] = [TAGS[o] for o in options if o in TAGS]
        if alt := dict(options).get('fig-alt'): cell.metadata['mystnb'] = dict(image=dict(alt=alt))
        cell.source = DIRECTIVE.sub('', cell.source).lstrip('\n')
    return cell

def toctree(pages): return mk_cell('\n'.join(['```{toctree}', ':hidden:', *pages, '```']), 'markdown')

if __name__=='__main__':
    cfg = get_config()
    site = f"{cfg.doc_host}{cfg.doc_baseurl}".rstrip('/')
    out = cfg.config_path/'_proc'/'source'
    shutil.rmtree(out.parent, ignore_errors=True)
    out.mkdir(parents=True)
    # in the order of their numbers, then the workbooks
    pages = {re.sub(r'^\d+_', '', p.stem): p for p in sorted(cfg.nbs_path.glob('*.ipynb'), key=lambda p: (not p.name[0].isdigit(), p.name))}
    for name,path in pages.items():
        nb = read_nb(path)
        Filter()(nb)
        nb.metadata.pop('widgets', None)                        # the state of widgets, for which a page would fetch scripts from outside
        nb.cells = [convert(c, site) for c in nb.cells if not c.source.startswith('<!-- WARNING')]
        if name=='index': nb.cells.append(toctree(p for p in pages if p!='index'))
        write_nb(nb, out/f'{name}.ipynb')
