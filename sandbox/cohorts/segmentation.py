"""The truth about a synthetic series as a DICOM segmentation (PS3.3 A.51), which viewers and tools' own tests read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sandbox.cohorts.dicom import Series, as_bytes, geometry, new_file, sliced

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

_SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
_DERIVED_BY_SEGMENTATION = ("113076", "DCM", "Segmentation")
_SOURCE = ("121322", "DCM", "Source image for image processing operation")
_CATEGORY = ("49755003", "SCT", "Morphologically Abnormal Structure")
_LESION = ("52988006", "SCT", "Lesion")

_DIMENSIONS = ((0x0062000B, 0x0062000A), (0x00200032, 0x00209113))
"""What tells frames apart, with the group it is in: the segment's number, the position in the patient."""


_ALWAYS: dict[str, object] = {
    "PatientName": "",
    "PatientID": "",
    "AccessionNumber": "",
    "Modality": "SEG",
    "SeriesNumber": 100,
    "InstanceNumber": 1,
    "ImageType": ["DERIVED", "PRIMARY"],
    "ContentLabel": "LESIONS",
    "ContentDescription": "",
    "ContentCreatorName": "",
    "SegmentationType": "BINARY",
    "LossyImageCompression": "00",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 1,
    "BitsStored": 1,
    "HighBit": 0,
    "PixelRepresentation": 0,
}
"""Of every segmentation, which names no patient."""


def as_segmentation(series: Series, slices: Sequence[FileDataset]) -> bytes:
    """The lesion mask as a binary segmentation of one segment, one frame a slice, without the patient's identity."""
    import numpy as np

    frames = sliced(series.volume.mask, series.scanner.plane)
    data = new_file(_SEGMENTATION_STORAGE, series.uid("segmentation"))
    first = slices[0]
    for keyword in ("StudyDate", "StudyTime", "StudyInstanceUID", "StudyID", "ReferringPhysicianName", "PatientSex",
                    "PatientBirthDate", "FrameOfReferenceUID", "PositionReferenceIndicator", "ContentDate",
                    "ContentTime", "Manufacturer", "ManufacturerModelName", "SoftwareVersions",
                    "DeviceSerialNumber"):  # fmt: skip
        setattr(data, keyword, first[keyword].value)
    elements: dict[str, object] = {
        **_ALWAYS,
        "SeriesInstanceUID": series.uid("segmentation series"),
        "NumberOfFrames": len(frames),
        "Rows": frames.shape[1],
        "Columns": frames.shape[2],
        "SegmentSequence": [_segment()],
        "DimensionOrganizationSequence": [item(DimensionOrganizationUID=series.uid("dimensions"))],
        "DimensionIndexSequence": [_index(series, *pointer) for pointer in _DIMENSIONS],
        "SharedFunctionalGroupsSequence": [_shared(first)],
        "PerFrameFunctionalGroupsSequence": [_frame(series, image, index) for index, image in enumerate(slices)],
        "ReferencedSeriesSequence": [
            item(
                SeriesInstanceUID=first.SeriesInstanceUID,
                ReferencedInstanceSequence=[_reference(image) for image in slices],
            )
        ],
    }
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    bits = np.packbits(frames.ravel(), bitorder="little").tobytes()
    data.PixelData = bits + bytes(len(bits) % 2)
    data["PixelData"].VR = "OB"
    return as_bytes(data)


def item(**elements: object) -> Dataset:
    """An item of a sequence with these elements, by keyword."""
    from pydicom.dataset import Dataset

    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _code(code: tuple[str, str, str]) -> list[Dataset]:
    value, scheme, meaning = code
    return [item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)]


def _segment() -> Dataset:
    return item(
        SegmentNumber=1,
        SegmentLabel="Lesion",
        SegmentAlgorithmType="MANUAL",
        SegmentedPropertyCategoryCodeSequence=_code(_CATEGORY),
        SegmentedPropertyTypeCodeSequence=_code(_LESION),
    )


def _index(series: Series, pointer: int, group: int) -> Dataset:
    return item(
        DimensionOrganizationUID=series.uid("dimensions"), DimensionIndexPointer=pointer, FunctionalGroupPointer=group
    )


def _shared(image: FileDataset) -> Dataset:
    measures = item(
        PixelSpacing=image.PixelSpacing,
        SliceThickness=image.SliceThickness,
        SpacingBetweenSlices=image.SpacingBetweenSlices,
    )
    return item(
        PixelMeasuresSequence=[measures],
        PlaneOrientationSequence=[item(ImageOrientationPatient=image.ImageOrientationPatient)],
    )


def _reference(image: FileDataset) -> Dataset:
    return item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)


def _frame(series: Series, image: FileDataset, index: int) -> Dataset:
    source = _reference(image)
    source.PurposeOfReferenceCodeSequence = _code(_SOURCE)
    source.SpatialLocationsPreserved = "YES"
    return item(
        FrameContentSequence=[item(DimensionIndexValues=[1, index + 1])],
        SegmentIdentificationSequence=[item(ReferencedSegmentNumber=1)],
        PlanePositionSequence=[item(ImagePositionPatient=geometry(series.scanner, index)[1])],
        DerivationImageSequence=[
            item(DerivationCodeSequence=_code(_DERIVED_BY_SEGMENTATION), SourceImageSequence=[source])
        ],
    )
