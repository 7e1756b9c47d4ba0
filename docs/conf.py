"Sphinx's settings: everything is local, formulas are MathML, notebooks are shown as they were stored"
import re
from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)

project = html_title = 'ms2d'
author = 'ms2d developers'
extensions = ['myst_nb', 'sphinx_copybutton']
nb_execution_mode = 'off'
nb_code_prompt_show = 'Show source'
myst_enable_extensions = ['dollarmath', 'amsmath', 'attrs_inline', 'colon_fence']
myst_dmath_double_inline = True # $$ within a paragraph, as our notebooks write it
myst_heading_anchors = 4
myst_heading_slug_func = 'docutils.nodes.make_id'
suppress_warnings = ['myst.header'] # nbdev puts a function's heading two levels below the text around it

html_theme = 'furo'
html_static_path = ['ms2d.css']
html_css_files = ['ms2d.css']
html_copy_source = False
html_math_renderer = 'mathml'
pygments_style = 'friendly'

SPELL = {r'\big': '', r'\Big': '', r'\bigg': '', r'\Bigg': '', r'\dots': r'\ldots', r'\bm': r'\boldsymbol', r'\textbf': r'\mathbf', r'\texttt': r'\mathtt'}

def mathml(node, **kwargs):
    "MathML of a formula; one that docutils cannot read is a warning that names it"
    tex = re.sub(r'\\[A-Za-z]+', lambda m: SPELL.get(m[0], m[0]), node.astext())
    try: return tex2mathml(tex, **kwargs)
    except (MathError, IndexError) as e:
        logger.warning('a formula that cannot be read: %s (%s)', e, node.astext(), location=node)
        return ''

def inline_math(self, node):
    self.body.append(mathml(node))
    raise nodes.SkipNode

def block_math(self, node):
    self.body.append(f'<div class="math">{mathml(node, as_block=True)}</div>')
    raise nodes.SkipNode

def setup(app): app.add_html_math_renderer('mathml', (inline_math, None), (block_math, None))
