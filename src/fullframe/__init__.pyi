from .geometry.camera import Camera as Camera
from .models import load_model as load_model
from .recovery.photo import Recoverer as Recoverer
from .recovery.photo import recover as recover
from .recovery.video import recover_video as recover_video
from .results.clip import Clip as Clip
from .results.people import People as People

__version__: str
