from pathlib import Path
import pytest

@pytest.fixture(scope='session')
def root(): return Path(__file__).resolve().parent.parent

@pytest.fixture(scope='session')
def shared(root):
    "The folder with real data that may stand beside the project"
    folder = root.parent/'shared'
    if not folder.is_dir(): pytest.skip('no folder shared/ beside the project')
    return folder
