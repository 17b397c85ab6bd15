import pytest
from synthetic_smpl import synthetic_smpl, write_npz

from fullframe.body import BodyModel, load_body


@pytest.fixture(scope="session")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BodyModel]:
    """Made-up SMPL of three genders, each with other shapes."""
    folder = tmp_path_factory.mktemp("smpl")
    return {
        gender: load_body(
            f"smpl-{gender}", write_npz(folder / f"SMPL_{gender.upper()}.npz", synthetic_smpl(seed=seed))
        )
        for seed, gender in enumerate(("neutral", "male", "female"))
    }
