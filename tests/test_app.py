"The page as a person uses it: `make app` on a trained run and real videos, in a real Chromium"
import os, re, shutil, signal, socket, subprocess, time, urllib.error, urllib.request
from pathlib import Path
from types import SimpleNamespace
import pytest
from ms2d.retrieval import Retriever
from ms2d.training import Config, train
from test_odd_videos import film

BROWSER = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not BROWSER, reason='no browser is installed: .ci/browser installs Chromium'), pytest.mark.timeout(900)]
QUIET = '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'.split()
# a computed colour as its contrast with what lies behind it, for every element that holds text
CONTRAST = """() => [...document.querySelectorAll('.ms2d *')].filter(e => e.checkVisibility() && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())).map(e => {
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(x => (x /= 255) <= .04045 ? x/12.92 : ((x + .055)/1.055)**2.4); return .2126*r + .7152*g + .0722*b + .05 }
  let behind = e
  while (behind && getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement
  const [a, b] = [getComputedStyle(e).color, behind ? getComputedStyle(behind).backgroundColor : 'rgb(255, 255, 255)'].map(light)
  return [Math.max(a, b)/Math.min(a, b), e.textContent] })"""

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

def until(true, seconds=120):
    "Wait until something holds"
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic()<end, f'not within {seconds} s'
        time.sleep(.1)

def listens(port, host='127.0.0.1'):
    try: return not socket.create_connection((host, port), 5).close()
    except ConnectionRefusedError: return False

def start(root, temporary, port, args):
    "What a user types; its temporary files go to a folder that can be looked at"
    temporary.mkdir()
    return subprocess.Popen(['make', 'app', f'PORT={port}', f'ARGS={args}'], cwd=root, start_new_session=True, stdout=(temporary.parent/'app.log').open('w'), stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),                # which is ignored where the tests themselves run in the background
        env={**os.environ, 'TMPDIR': str(temporary), 'OMP_NUM_THREADS': '1'})

def stop(process):
    os.killpg(process.pid, signal.SIGINT)
    process.wait(60)

@pytest.fixture(scope='module')
def app(root, tiny, tmp_path_factory):
    "The page of a tiny run, with a video of the world, one in a format that browsers do not play, and a file that is none"
    folder = tmp_path_factory.mktemp('app')
    train(Config(**tiny, clips=16, dim=16, align_dim=32, updates=8, epochs=3, batch_size=8, accelerator='cpu', out=str(folder/'run')))
    (folder/'videos').mkdir()
    shutil.copy(Path(tiny['annotations'])/'videos'/'test0001.mp4', folder/'videos'/'shapes.mp4')
    film(folder/'videos'/'old.avi', 'mpeg4', size=(96, 128), ms=range(0, 6000, 40))
    (folder/'videos'/'torn.mp4').write_bytes((folder/'videos'/'shapes.mp4').read_bytes()[:3000])
    port = free_port()
    process = start(root, folder/'temporary', port, f"-p run {folder/'run'} -p videos {folder/'videos'} -p limit 1")
    try:
        until(lambda: listens(port) or process.poll() is not None, 400)
        assert process.poll() is None, (folder/'app.log').read_text()
        yield SimpleNamespace(url=f'http://127.0.0.1:{port}/', port=port, folder=folder, process=process, retriever=Retriever(folder/'run'))
    finally:
        if process.poll() is None: stop(process)

@pytest.fixture(scope='module')
def chromium():
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=QUIET)
        yield browser
        browser.close()

@pytest.fixture
def page(app, chromium):
    "The page, just opened; whatever it asks for is asked of this machine, and nothing fails in it"
    page,asked,wrong = chromium.new_page(viewport=dict(width=1280, height=900)),[],[]
    page.set_default_timeout(200_000)                                               # a machine may be busy with other tests
    page.on('request', lambda r: asked.append(r.url))
    page.on('pageerror', lambda e: wrong.append(str(e)))
    page.goto(app.url)
    page.get_by_label('Video', exact=True).wait_for()
    yield page
    page.close()
    assert not wrong and not [u for u in asked if not u.startswith((app.url, 'data:', 'blob:'))]

def clock(t): return f'{int(round(t, 1)//60)}:{round(t, 1) % 60:04.1f}'
def choose(page, name):
    page.get_by_label('Video', exact=True).select_option(name)
    page.wait_for_function("name => document.querySelector('.ms2d select').value === name && document.querySelector('video').readyState >= 2", arg=name)
def message(page, text, kind):
    page.wait_for_function("text => document.querySelector('[role=status]').textContent.includes(text)", arg=text)
    assert kind in page.locator('[role=status]').get_attribute('class')
def now(page): return page.evaluate("document.querySelector('video').currentTime")
def focused(page): return page.evaluate('document.activeElement.textContent')

def test_a_typed_query_shows_the_seconds(app, page):
    "What is shown is what `Retriever.search` finds; the player stands at the first answer, and goes to the one that is chosen by keyboard"
    choose(page, 'shapes')
    query = page.get_by_label('What happens?')
    query.fill('a red box appears')
    query.press('Enter')
    page.locator('ol li').nth(4).wait_for()
    assert page.evaluate("document.querySelector('video').src").endswith('/0.mp4')     # the file itself, not a copy
    found = app.retriever.search(app.folder/'videos'/'shapes.mp4', 'a red box appears')
    assert page.locator('ol .label').all_inner_texts()==[f'{clock(a)} – {clock(b)}' for a,b in found[['start', 'end']].values]
    assert page.locator('.sure').all_text_contents()==[f'sure: {s:.2f}' for s in found.score] and page.locator('.strip img').count()==12
    assert abs(now(page) - found.start[0])<.01 and page.evaluate("document.querySelector('video').paused")
    box = page.locator('.strip').bounding_box()
    for bar,a,b in zip(page.locator('.bar').all(), found.start, found.end):
        drawn = bar.bounding_box()
        assert abs((drawn['x'] - box['x'])/box['width'] - a/app.retriever.encode(app.folder/'videos'/'shapes.mp4').duration)<.01
    for _ in range(3): page.keyboard.press('ArrowDown')                              # from the query to the third answer
    page.keyboard.press('Enter')
    page.wait_for_function("!document.querySelector('video').paused")
    assert found.start[2]<=now(page)<found.start[2] + 1.5
    page.wait_for_function("end => document.querySelector('video').paused && document.querySelector('video').currentTime >= end", arg=float(found.end[2]) - .01)
    assert now(page)<found.end[2] + 1                                               # it stopped where the moment does
    page.locator('.bar').nth(1).click()
    page.wait_for_function("start => Math.abs(document.querySelector('video').currentTime - start) < 1.5", arg=float(found.start[1]))
    assert page.locator('[aria-current]').inner_text().split()[0]=='2'

def test_a_page_that_hears_nothing_asks_once_more_and_then_says_so(app, chromium):
    "As on a machine so busy that the kernel's first words are lost"
    page,deaf,asked = chromium.new_page(),[True],[]
    def listen(socket): asked.append(socket) if deaf else socket.connect_to_server()
    def wait(times, seconds):
        "Let time pass, once the page has asked for its kernel"
        while len(asked)<times: page.wait_for_timeout(100)
        page.clock.fast_forward(1000*seconds)
    page.set_default_timeout(200_000)
    page.clock.install()
    page.route_web_socket(re.compile('/channels'), listen)
    page.goto(app.url)
    with page.expect_navigation(): wait(1, 121)
    wait(2, 121)
    page.get_by_text('The page did not load').wait_for()
    assert page.locator('.ms2d').count()==0
    deaf.clear()
    page.reload()
    page.get_by_label('Video', exact=True).wait_for()
    wait(2, 121)                                                                        # what works is left alone
    assert page.get_by_label('Video', exact=True).is_visible() and not page.get_by_text('The page did not load').count()
    page.close()

def test_what_cannot_be_answered_is_said(app, page):
    page.get_by_role('button', name='Find').click()
    message(page, 'Choose or upload a video first.', 'error')
    page.get_by_label('Video', exact=True).select_option('torn')
    message(page, 'torn.mp4 cannot be read as a video', 'error')
    assert str(app.folder) not in page.locator('[role=status]').inner_text() and page.get_by_label('Video', exact=True).input_value()==''
    choose(page, 'shapes')
    query = page.get_by_label('What happens?')
    for text,said,kind in [('', 'Type what happens, in a few words', 'error'), ('xyzzy plugh', 'knows none of the words', 'error'), ('a red xyzzy spins', 'not looked for: xyzzy.', ''),
                           (' ?! ', 'Type what happens', 'error')]:
        query.fill(text)
        query.press('Enter')
        message(page, said, kind)
    assert page.locator('ol li').count()==5                                         # the last good answers stay

def test_uploading(app, page, tmp_path):
    "A good file is chosen at once; a bad and a large one are refused with a sentence; what was uploaded goes with the page"
    upload = page.get_by_label('Upload a video')
    assert 'up to 1 MB' in page.locator('#ms2d-limit').inner_text()
    (tmp_path/'letter.mp4').write_text('Dear Sir,\n'*50)
    upload.set_input_files(tmp_path/'letter.mp4')
    message(page, 'letter.mp4 cannot be read as a video', 'error')
    (tmp_path/'large.mp4').write_bytes(bytes(1_200_000))
    upload.set_input_files(tmp_path/'large.mp4')
    message(page, 'large.mp4 has 1.2 MB, and no more than 1 MB can be uploaded', 'error')
    film(tmp_path/'mine.mp4')
    upload.set_input_files(tmp_path/'mine.mp4')
    page.wait_for_function("document.querySelector('video').readyState >= 2")
    assert page.get_by_label('Video', exact=True).input_value()=='mine.mp4' and page.locator('[role=status]').inner_text()==''
    home = next((app.folder/'temporary').glob('*/media'))/page.evaluate("document.querySelector('video').src").split('/')[-2]
    assert (home/'upload3.mp4').read_bytes()==(tmp_path/'mine.mp4').read_bytes()
    page.close(run_before_unload=True)
    until(lambda: not home.exists())

def test_what_the_browser_cannot_play_is_converted(app, page):
    page.get_by_label('Video', exact=True).select_option('old')
    page.wait_for_function("document.querySelector('video').src.endsWith('copy0.mp4') && document.querySelector('video').videoWidth > 0")
    assert page.evaluate("document.querySelector('video').src").endswith('copy0.mp4') and abs(page.evaluate("document.querySelector('video').duration") - 6)<.1
    choose(page, 'shapes')
    page.get_by_label('Video', exact=True).select_option('old')
    page.wait_for_function("document.querySelector('video').src.endsWith('copy0.mp4') && document.querySelector('video').readyState >= 2")

@pytest.mark.parametrize('width', [1280, 390])
def test_keyboard_width_and_contrast(app, page, width):
    page.set_viewport_size(dict(width=width, height=844))
    choose(page, 'shapes')
    page.get_by_label('Video', exact=True).focus()
    page.keyboard.press('Tab')
    assert page.evaluate("document.activeElement.type")=='file' and page.evaluate("getComputedStyle(document.activeElement.parentElement).outlineStyle")=='solid'
    page.keyboard.press('Tab')
    page.keyboard.type('a xyzzy box that meets a red star')
    page.keyboard.press('Tab')
    assert focused(page)=='Find'
    page.keyboard.press('Enter')
    page.locator('ol li').nth(4).wait_for()
    assert page.evaluate('document.documentElement.scrollWidth')<=width
    assert not [x for x in page.evaluate(CONTRAST) if x[0]<4.5]
    assert page.title()=='ms2d: when does it happen?' and page.locator('html').get_attribute('lang')=='en'

def test_only_this_machine_and_only_these_files(app):
    assert listens(app.port) and not listens(app.port, '127.0.0.2')                 # which it would take if it took all addresses
    media = next((app.folder/'temporary').glob('*/media'))
    home = next(media.glob('page-*'))
    (home/'x.txt').write_text('x')
    assert urllib.request.urlopen(f'{app.url}voila/files{home}/x.txt').read()==b'x'
    for path in (media.parent/'app.ipynb', media.parent/'log', home/'..'/'..'/'log', app.folder/'videos'/'shapes.mp4', '/etc/hostname'):
        with pytest.raises(urllib.error.HTTPError, match='403'): urllib.request.urlopen(f'{app.url}voila/files{path}')

def test_a_mistake_is_said_where_the_page_is_started(root, tmp_path):
    for args,said in [('-p run nowhere', 'nowhere holds no trained model'), ('-p run reports/train -p video x', r'did you mean videos\?')]:
        process = start(root, tmp_path/said[:5], free_port(), args)
        assert process.wait(400)
        assert re.search(said, text := (tmp_path/'app.log').read_text()) and 'Traceback' not in text

def test_stopping_leaves_nothing(app):
    "The last test here: Ctrl+C ends the page, and its files go"
    assert list((app.folder/'temporary').glob('*/media'))
    stop(app.process)
    assert not list((app.folder/'temporary').glob('*/media'))
    assert f'{app.url[:-1]} shows the page in a moment, to this machine alone' in (app.folder/'app.log').read_text()
