"""How SpikingJelly's two revisions differ from the models' own sources: all of it, one door.

`VARIANTS` names, for each estimator and revision, the module of this package and the `Variant`
in it; `energy.revisions` alone reads it.
"""

VARIANTS: dict[tuple[str, str], str] = {
    ("compute", "spikingjelly-2.0"): "compute_variants:RELEASE",
    ("compute", "spikingjelly-2026-08"): "compute_variants:TUTORIAL",
    ("lemaire", "spikingjelly-2.0"): "lemaire_2_0:VARIANT",
    ("lemaire", "spikingjelly-2026-08"): "lemaire_2026_08:VARIANT",
    ("simple", "spikingjelly-2.0"): "simple_variants:RELEASE",
    ("spikesim", "spikingjelly-2.0"): "spikesim_variants:RELEASE",
    ("spikesim", "spikingjelly-2026-08"): "spikesim_variants:TUTORIAL",
    ("machine", "spikingjelly-2.0"): "machine_variants:RELEASE",
    ("machine", "spikingjelly-2026-08"): "machine_variants:TUTORIAL",
    ("neuromc", "spikingjelly-2.0"): "neuromc_variants:RELEASE",
    ("neuromc", "spikingjelly-2026-08"): "neuromc_variants:TUTORIAL",
}
