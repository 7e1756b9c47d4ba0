"What the site says of its pictures"
import pytest
from execnb.nbio import mk_cell
from workbooks import ROOT, script

prepare,check = script('prepare'),script('check_site')
PICTURE,TEXT = {'output_type': 'display_data', 'data': {'image/png': 'aaaa'}, 'metadata': {}},{'output_type': 'stream', 'name': 'stdout', 'text': ['4\n']}

def cell(source, *outputs):
    c = mk_cell(source, 'code')
    c.directives_,c.outputs = {},list(outputs)
    return c

def alts(cells): return [c.metadata['mystnb']['image']['alt'] for c in cells if 'mystnb' in c.metadata]

@pytest.mark.parametrize('source,words', [
    ('#| fig-alt: A red dot on white.\nplot()', ['A red dot on white.']),
    ("ax.set_title('Where dots are'); fig.suptitle(f'{n} of them')", ['Where dots are']),
    ("ax.set(title='Red')\nbx.set_title('Blue')", ['Red; Blue']),
    ('draw_dots(run);', ['Dots of a run']),
    ('plot()', ['A picture of the section "Dots"']),
    ('%magic !', ['A picture of the section "Dots"'])])
def test_words_of_a_picture(source, words):
    cells = [mk_cell('# Page\n\n## Dots\nprose', 'markdown'), cell(source, TEXT, PICTURE)]
    assert alts(prepare.described(cells, dict(draw_dots='Dots of a run')))==words

def test_every_picture_has_words_of_its_own():
    two = cell('#| fig-alt: One dot here.\n#| fig-alt: Two dots there.\nplot()', TEXT, PICTURE, TEXT, PICTURE, TEXT)
    parts = prepare.described([two], {})
    assert alts(parts)==['One dot here.', 'Two dots there.']
    assert [p.outputs for p in parts]==[[TEXT, PICTURE, TEXT], [PICTURE, TEXT]]
    assert (parts[0].source, parts[1].source, parts[1].metadata['tags'])==(two.source, '', ['remove-input'])
    assert alts(prepare.described([cell('#| fig-alt: Dots of both.\nplot()', PICTURE, PICTURE)], {}))==['Dots of both. (1 of 2)', 'Dots of both. (2 of 2)']

def test_a_cell_without_pictures_stays():
    plain = cell('1+1', TEXT)
    assert prepare.described([plain], {})[0] is plain

def test_what_draws_says_so():
    told = prepare.drawers(ROOT/'ms2d')
    assert told and all(len(t.split())>2 and 'returns' not in t for t in told.values())

def test_words_are_words():
    for alt in ('', 'dots', '_images/0a1b.png', 'x 0123456789abcdef01 y', '3f'*32): assert not check.is_words(alt)
    assert check.is_words('Where the dots are') and list(check.pictures('<p><img src="a.png"/><img alt="a &quot;b&quot; c" src="b.png">'))==['', 'a "b" c']

def test_no_page_takes_the_place_of_sphinx_s_own():
    "A notebook 64_search once lost its page to the site's search"
    assert (prepare.page('64_search'), prepare.page('21_maps'), prepare.page('train'))==('search-module', 'maps', 'train')
    text = '[a](64_search.ipynb#searcher), [b](21_maps.ipynb) and [c](https://x.org/search.html#searcher.rows)'
    assert prepare.links(text, 'https://x.org')=='[a](search-module.ipynb#searcher), [b](maps.ipynb) and [c](search-module.ipynb#searcher-rows)'
