from pathlib import Path
import pytest
from ms2d.world import make_world

@pytest.fixture(scope='session')
def root(): return Path(__file__).resolve().parent.parent

@pytest.fixture(scope='session')
def shared(root):
    "The folder with real data that may stand beside the project"
    folder = root.parent/'shared'
    if not folder.is_dir(): pytest.skip('no folder shared/ beside the project')
    return folder

@pytest.fixture(scope='session')
def tiny(root):
    "A world of 40 training videos, as parameters of a workbook"
    folder = make_world(root/'data'/'tiny', sizes=(30, 55, 10), steps=60, progress=False)
    return dict(dataset='activitynet_captions', annotations=str(folder), features=str(folder/'features.hdf5'))
