"""The benchmarks. A new one is one file and one line in PROTOCOLS."""

from fullframe.evaluate.protocol import Protocol
from fullframe.evaluate.protocols import (
    agora,
    coco,
    emdb,
    gestures,
    h36m,
    lspet,
    mpi_inf_3dhp,
    pose2sim,
    synth,
    synth_occluded,
    threedpw,
    threedpw_occ,
)

PROTOCOLS: dict[str, Protocol] = {
    "3dpw": threedpw.PROTOCOL,
    "3dpw-occ": threedpw_occ.PROTOCOL,
    "h36m-p1": h36m.PROTOCOL_1,
    "h36m-p2": h36m.PROTOCOL_2,
    "agora": agora.PROTOCOL,
    "emdb": emdb.PROTOCOL,
    "mpi-inf-3dhp": mpi_inf_3dhp.PROTOCOL,
    "coco": coco.PROTOCOL,
    "lspet": lspet.PROTOCOL,
    "gestures": gestures.PROTOCOL,
    "pose2sim": pose2sim.PROTOCOL,
    "pose2sim-clips": pose2sim.CLIPS,
    "synth": synth.PROTOCOL,
    "synth-occluded": synth_occluded.PROTOCOL,
}
