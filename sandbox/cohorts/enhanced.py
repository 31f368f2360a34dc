"""A series as one multi-frame file (Legacy Converted Enhanced CT or MR Image, PS3.3 A.70, A.71), as archives convert.

It is valid, and what newer scanners and archives send; but a tool that was written for one file a slice may stumble.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sandbox.cohorts.dicom import Series, as_bytes, geometry, make_series, new_file
from sandbox.cohorts.model import CohortFiles, CohortRequest
from sandbox.cohorts.phantom import Modality
from sandbox.cohorts.segmentation import item

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

_STORAGE = {Modality.CT: "1.2.840.10008.5.1.4.1.1.2.2", Modality.MR: "1.2.840.10008.5.1.4.1.1.4.4"}
_PER_FRAME = frozenset({
    "SOPClassUID", "SOPInstanceUID", "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "WindowCenter", "WindowWidth", "RescaleIntercept",
    "RescaleSlope", "RescaleType", "PixelData", "ImageType", "ContentTime",
})  # fmt: skip


def make_enhanced(request: CohortRequest) -> CohortFiles:
    """One file `series-001/image-0001.dcm` with every slice of the series as a frame."""
    files = CohortFiles()
    series, slices = make_series(request, 1, files)
    files.inputs[f"{series.folder}/image-0001.dcm"] = as_bytes(_converted(series, slices))
    return files


def _converted(series: Series, slices: Sequence[FileDataset]) -> FileDataset:
    first = slices[0]
    data = new_file(_STORAGE[series.scanner.modality], series.uid("enhanced"))
    for element in first:
        if element.keyword not in _PER_FRAME:
            data.add(element)
    elements: dict[str, object] = {
        "ImageType": _frame_type(series.scanner.modality),
        "ContentTime": first.ContentTime,
        "AcquisitionDateTime": f"{first.StudyDate}{first.StudyTime}",
        "InstanceNumber": 1,
        "NumberOfFrames": len(slices),
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
        "PresentationLUTShape": "INVERSE" if series.scanner.inverted else "IDENTITY",
        "LossyImageCompression": "00",
        "AcquisitionContextSequence": [],
        "DimensionOrganizationSequence": [item(DimensionOrganizationUID=series.uid("dimensions"))],
        "DimensionIndexSequence": [
            item(
                DimensionOrganizationUID=series.uid("dimensions"),
                DimensionIndexPointer=0x00200032,
                FunctionalGroupPointer=0x00209113,
            )
        ],
        "SharedFunctionalGroupsSequence": [_shared(first, series.scanner.modality)],
        "PerFrameFunctionalGroupsSequence": [_frame(series, image, index) for index, image in enumerate(slices)],
        "PixelData": b"".join(image.PixelData for image in slices),
    }
    if series.scanner.modality is Modality.MR:
        elements["ComplexImageComponent"] = "MAGNITUDE"
        elements["AcquisitionContrast"] = "T2"
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    data["PixelData"].VR = "OW"
    return data


def _shared(image: FileDataset, modality: Modality) -> Dataset:
    measures = item(
        PixelSpacing=image.PixelSpacing,
        SliceThickness=image.SliceThickness,
        SpacingBetweenSlices=image.SpacingBetweenSlices,
    )
    rescale = item(
        RescaleIntercept=image.RescaleIntercept, RescaleSlope=image.RescaleSlope, RescaleType=image.RescaleType
    )
    frame_type = item(
        FrameType=_frame_type(modality),
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
    )
    if modality is Modality.MR:
        frame_type.ComplexImageComponent, frame_type.AcquisitionContrast = "MAGNITUDE", "T2"
    shared = item(
        PixelMeasuresSequence=[measures],
        PlaneOrientationSequence=[item(ImageOrientationPatient=image.ImageOrientationPatient)],
        PixelValueTransformationSequence=[rescale],
        FrameVOILUTSequence=[item(WindowCenter=image.WindowCenter, WindowWidth=image.WindowWidth)],
        UnassignedSharedConvertedAttributesSequence=[item()],
    )
    setattr(shared, f"{modality}ImageFrameTypeSequence", [frame_type])
    return shared


def _frame_type(modality: Modality) -> list[str]:
    return ["DERIVED", "PRIMARY", "AXIAL" if modality is Modality.CT else "M", "NONE"]


def _frame(series: Series, image: FileDataset, index: int) -> Dataset:
    source = item(
        ReferencedSOPClassUID=image.SOPClassUID,
        ReferencedSOPInstanceUID=image.SOPInstanceUID,
        InstanceNumber=image.InstanceNumber,
    )
    return item(
        FrameContentSequence=[item(DimensionIndexValues=[index + 1], FrameAcquisitionNumber=1)],
        PlanePositionSequence=[item(ImagePositionPatient=geometry(series.scanner, index)[1])],
        ConversionSourceAttributesSequence=[source],
        UnassignedPerFrameConvertedAttributesSequence=[item()],
    )
