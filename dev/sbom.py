"""The bill of materials of the dependency layer, in CycloneDX: ``python -m dev.sbom FILE`` (`make sbom`).

It lists what is in the layer, by the metadata of the distributions there. The same lock gives the same file.
"""

import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from cdk.bundle import dependency_layer

LAYER = "video-reclaim-layer"


def bill(layer: Path) -> Bom:
    """Return the bill of a layer's folder."""
    found = sorted(distributions(path=[str(layer / "python")]), key=lambda one: one.name)
    components = [_component(one) for one in found]
    identity = " ".join(f"{one.name}=={one.version}" for one in found)
    root = Component(name=LAYER, type=ComponentType.APPLICATION, bom_ref=LAYER)
    bom = Bom(
        components=components,
        metadata=BomMetaData(component=root),
        serial_number=uuid5(NAMESPACE_URL, f"{LAYER} {identity}"),
    )
    bom.register_dependency(root, components)
    return bom


def render(bom: Bom) -> str:
    """Return a bill as JSON, without the time at which it was made."""
    bom.metadata.timestamp = None  # type: ignore[assignment]
    return str(JsonV1Dot6(bom).output_as_string(indent=2)) + "\n"


def _component(distribution: Distribution) -> Component:
    name, version = distribution.name.lower(), distribution.version
    purl = PackageURL(type="pypi", name=name, version=version)
    return Component(
        name=distribution.name,
        version=version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=str(purl),
        licenses=[LicenseFactory().make_from_string(text) for text in _licenses(distribution)],
    )


def _licenses(distribution: Distribution) -> Iterable[str]:
    for field in ("License-Expression", "License"):
        if field in distribution.metadata:
            return [distribution.metadata[field]]
    return []


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(render(bill(dependency_layer("aws"))))
    print(file)
